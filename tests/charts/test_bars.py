"""Grouped bars: every value has a bar within its axis and says what it shows; a value that is no number has none."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as some

from iomt_core.charts.bars import Bars, grouped_bars

VALUES = some.lists(
    some.one_of(some.just(0.0), some.floats(1e-9, 1e6), some.floats(-1e6, -1e-9)), min_size=1, max_size=20
)


@settings(deadline=None)
@given(VALUES)
def test_every_bar_stands_within_its_axis_and_says_what_it_shows(values: list[float]) -> None:
    names = [f"user {n}" for n in range(len(values))]
    figure = grouped_bars(names, [Bars("load", values, ["#000"] * len(values))], "Load", "load (%)", unit="%")
    low, high = figure.layout.yaxis.range
    assert low <= min(0.0, *values) <= max(0.0, *values) <= high
    (bars,) = figure.data
    assert list(bars.x) == names
    assert list(bars.hovertext) == [f"{n}, load: {value:.4g} %" for n, value in zip(names, values, strict=True)]


def test_what_is_not_finite_has_no_bar_and_says_so() -> None:
    bars = Bars("delay", [1.0, math.inf, math.nan], ["#000"] * 3)
    figure = grouped_bars(["a", "b", "c"], [bars], "Delay", "delay (ms)", unit="ms")
    assert list(figure.data[0].y) == [1.0, None, None]
    assert "b, delay: inf ms" in figure.layout.meta["alt"]
    assert figure.layout.yaxis.range[0] == 0 < 1 <= figure.layout.yaxis.range[1]


def test_names_are_shown_literally() -> None:
    figure = grouped_bars(["<b>S1</b>"], [Bars("<i>", [1.0], ["#000"])], "Load", "load")
    assert list(figure.data[0].x) == ["&lt;b&gt;S1&lt;/b&gt;"]
    assert figure.data[0].name == "&lt;i&gt;"
