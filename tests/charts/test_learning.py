"""Learning curves show what was measured, in the units that their axes name."""

from __future__ import annotations

from typing import Any

import pytest

from iomt_core.charts.learning import LEARNING, LOSSES, Curve, Line, learning_figure, references
from iomt_core.metrics import METRICS
from iomt_core.runs.curves import Curves

DELAY = next(curve for curve in LEARNING if curve.metric is METRICS["mean_delay_s"])
GAP = next(curve for curve in LEARNING if curve.metric is METRICS["gap"])
EPISODES = [32.0, 64.0, 96.0]


def run(delays: list[float], gaps: list[float]) -> Curves:
    metrics = {"episodes": EPISODES, "delay_s": delays, "loss_19": delays}
    known = {
        name: {"gap": gap, "cost": 1 + gap}
        for name, gap in (("optimum", 0.01), ("price-response", 0.02), ("greedy", 1.05))
    }
    return Curves(metrics, {"episodes": [0.0, *EPISODES], "gap": gaps}, known)


def traces(curve: Curve, *runs: Curves, **more: Any) -> list[Any]:
    return list(learning_figure(curve, [Line("a", runs, 0)], **more).data)


def test_the_smoothed_line_is_the_moving_average_and_the_raw_one_stays_behind_it() -> None:
    raw, smooth = traces(DELAY, run([1.0, 2.0, 4.0], [0.1, 0.1, 0.1, 0.1]), smoothing=0.5)[:2]
    assert list(raw.y) == [1e3, 2e3, 4e3]  # milliseconds
    assert list(smooth.y) == pytest.approx([1e3, (0.5 + 2) / 1.5 * 1e3, (0.25 + 1 + 4) / 1.75 * 1e3])
    assert raw.opacity < smooth.opacity
    (only,) = traces(LOSSES[0], run([1.0, 2.0, 4.0], []))
    assert list(only.y) == [1.0, 2.0, 4.0]


def test_runs_that_differ_in_their_seed_are_a_mean_and_a_band_over_all_of_them() -> None:
    seeds = run([1, 1, 1], [0.04, 0.03, 0.02, 0.01]), run([1, 1, 1], [0.06, 0.02, 0.04, 0.01])
    band, line = traces(GAP, *seeds)
    assert list(line.x) == [0, 32, 64, 96]
    assert list(line.y) == pytest.approx([5.0, 2.5, 3.0, 1.0])
    upper, lower = list(band.y)[:4], list(reversed(band.y))[:4]
    assert upper == pytest.approx([6.0, 3.0, 4.0, 1.0])
    assert lower == pytest.approx([4.0, 2.0, 2.0, 1.0])


def test_a_policy_far_from_the_curve_is_named_and_does_not_flatten_it() -> None:
    near, far = run([1, 1, 1], [0.04, 0.03, 0.03, 0.03]), run([1, 1, 1], [1.06, 0.9, 0.5, 0.3])
    for found, beyond in ((near, True), (far, False)):
        known = references(GAP, found, ("optimum", "price-response", "greedy"), {})
        shown = learning_figure(GAP, [Line("a", [found], 0)], known)
        drawn = {trace.name for trace in shown.data}
        assert {"optimum", "price-response"} <= drawn
        assert ("greedy" in drawn) is not beyond
        assert any("not in this range: greedy 105 %" in note.text for note in shown.layout.annotations) is beyond


def test_zoom_is_kept_while_points_arrive_and_the_axis_names_its_unit() -> None:
    first, later = (
        learning_figure(DELAY, [Line("a", [run([0.004] * 3, gaps)], 0)], episodes=320) for gaps in ([0.1], [0.1] * 4)
    )
    assert first.layout.uirevision == later.layout.uirevision
    assert tuple(first.layout.xaxis.range) == tuple(later.layout.xaxis.range) == (0, 320)
    assert first.layout.yaxis.title.text == "Mean delay (ms)"
    loss = {kind: learning_figure(LOSSES[0], [], logarithmic=kind == "log") for kind in ("log", "linear")}
    assert {kind: shown.layout.yaxis.type for kind, shown in loss.items()} == {"log": "log", "linear": "linear"}


def test_a_name_from_outside_is_shown_literally() -> None:
    shown = learning_figure(GAP, [Line("<b>bold</b>", [run([1, 1, 1], [0.1] * 4)], 0)])
    assert shown.data[-1].name == "&lt;b&gt;bold&lt;/b&gt;"


def test_the_start_of_a_fine_tuned_run_and_the_bound_are_lines_in_the_chart_of_the_gap() -> None:
    fresh = run([1.0, 2.0, 4.0], [0.03, 0.02, 0.02, 0.01])
    tuned = Curves(
        fresh.metrics, {**fresh.evaluations, "tuning": [0.1] * 4, "compared_by_return": [0.0] * 4}, fresh.references
    )
    values = {one.name: one.value for one in references(GAP, tuned, ("optimum",), {})}
    assert values == pytest.approx({"optimum": 1.0, "start": 3.0, "bound": 0.0})
    assert "start" not in {one.name for one in references(GAP, fresh, ("optimum",), {})}
    assert not tuned.compared_by_return
    batteries = Curves(fresh.metrics, {**tuned.evaluations, "compared_by_return": [1.0] * 4}, fresh.references)
    assert batteries.compared_by_return
