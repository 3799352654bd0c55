"""Curves of an episode and over a parameter: their values aggregate to the metrics that the headline shows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from iomt_core.charts.around import around_curves, around_table
from iomt_core.charts.live import BOUND_LABEL, PANELS, live_curves, live_table, per_step
from iomt_core.charts.style import SHOWN, other_policy
from iomt_core.experiments.around import Curves
from iomt_core.experiments.evaluation import evaluate_episode, step_sums
from iomt_core.experiments.sweeps.spec import Axis
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.scenario import PRESETS, WorkloadTask
from iomt_core.scenario.tables import with_workload
from iomt_core.twin.northbound import play

NAMES = [*PANELS, "local_share", "gap"]


@settings(max_examples=12, deadline=None)
@given(some.integers(1, 5), some.integers(1, 4), some.integers(1, 3), some.integers(1, 6), some.integers(0, 99))
def test_the_steps_of_an_episode_aggregate_to_its_metrics(
    users: int, tasks: int, servers: int, steps: int, seed: int
) -> None:
    s = PRESETS["drained"].changed(users=users, tasks=tasks, servers=servers, T=steps)
    record, found = play(s, "greedy", seed), evaluate_episode(s, "greedy", seed)
    sums, values = step_sums(record), per_step(record, [METRICS[name] for name in NAMES])
    for name in NAMES:
        metric = METRICS[name]
        weights = sums[metric.denominator].tolist()
        mean = math.fsum(v * w for v, w in zip(values[name], weights, strict=True)) / math.fsum(weights)
        assert mean == pytest.approx(found[name], rel=1e-9, abs=1e-12)


def test_the_curves_show_every_step_with_the_bound_below_the_cost() -> None:
    s = PRESETS["lecture"]
    records = {name: play(s, name, 0) for name in ("price-response", "greedy")}
    figure = live_curves(records, [SHOWN, other_policy(0)], 3)
    cost, bound = (
        next(trace for trace in figure.data if trace.name == name and trace.yaxis == "y3")
        for name in ("greedy", BOUND_LABEL)
    )
    assert list(cost.x) == list(range(1, s.T + 1))
    assert all(low <= high for low, high in zip(bound.y, cost.y, strict=True))
    assert figure.layout.shapes[0].x0 == 3
    assert len(live_table(records)) == 2 * s.T


def test_a_step_without_tasks_is_a_gap() -> None:
    tasks = tuple(WorkloadTask(step=step, user=1, D=4e5, C=1e5, P=1) for step in (1, 3))
    record = play(with_workload(PRESETS["lecture"].changed(T=3), tasks), "greedy", 0)
    values = per_step(record, [METRICS["cost"], CONTEXT["lower_bound"]])
    assert [value is None for value in values["cost"]] == [False, True, False]


def test_curves_over_a_parameter_show_its_summaries_and_leave_out_who_cannot_decide() -> None:
    s, axis = PRESETS["lecture"], Axis(parameter="F_k", values=(5e8, 1e9, 2e9), spacing="logarithmic")
    results = {(f, "greedy"): evaluate_episode(s.changed(F_k=f), "greedy") for f in axis.values}
    found = Curves(axis, {**results, (5e8, "optimum"): "It cannot."}, 6)
    labels = {"greedy": "Greedy", "optimum": "Optimum"}
    figure = around_curves(found, s.F_k, labels, [SHOWN, other_policy(0)])
    delay = {trace.name: trace for trace in figure.data if trace.yaxis == "y"}
    assert list(delay["Greedy"].x) == [0.5, 1, 2]  # GHz
    assert list(delay["Greedy"].customdata) == list(axis.values)
    assert list(delay["Optimum"].x) == []
    table = around_table(found, labels).query("policy == 'Greedy'")
    assert table["mean delay (ms)"].tolist() == pytest.approx(
        [results[f, "greedy"]["mean_delay_s"] * 1e3 for f in axis.values], rel=1e-5
    )
