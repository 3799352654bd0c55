"""Bars: axes hold every bar, ticks are even, a value that is no number has no bar, every bar says what it shows."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as some

from iomt_core.charts.bars import Bars, panel

VALUES = some.lists(
    some.one_of(some.just(0.0), some.floats(1e-9, 1e6), some.floats(-1e6, -1e-9)), min_size=1, max_size=20
)


@given(VALUES)
def test_every_bar_stands_within_its_axis_and_ticks_are_even(values: list[float]) -> None:
    names = [f"user {n}" for n in range(len(values))]
    drawn = panel(names, [Bars("load", values, ["#000"] * len(values))], "load (%)", "users", " %")
    low, high, marks = drawn["low"], drawn["high"], drawn["ticks"]
    assert low <= min(0.0, *values)
    assert max(0.0, *values) <= high
    assert 2 <= len(marks) <= 8
    assert all(low <= mark <= high for mark in marks)
    between = [(b - a) / (marks[1] - marks[0]) for a, b in itertools.pairwise(marks)]
    assert all(math.isclose(one, 1, rel_tol=1e-4) for one in between)
    words = [f"{name}, load: {value:.4g} %" for name, value in zip(names, values, strict=True)]
    assert [bar["text"] for bar in drawn["series"][0]] == words


def test_what_is_not_finite_has_no_bar_and_says_so() -> None:
    bars = Bars("delay", [1.0, math.inf, math.nan], ["#000"] * 3)
    drawn = panel(["a", "b", "c"], [bars], "delay (ms)", "devices", " ms")
    assert [bar["value"] for bar in drawn["series"][0]] == [1.0, None, None]
    assert drawn["series"][0][1]["text"] == "b, delay: inf ms"
    assert drawn["low"] == 0 < 1 <= drawn["high"]
