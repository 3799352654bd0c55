"""Delay, energy and cost in each step of an episode, which run along with the ward's player."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.curves import Curve, curve_panels
from iomt_core.charts.figure import step_line
from iomt_core.charts.style import BOUND, Look
from iomt_core.experiments.evaluation import step_sums
from iomt_core.metrics import CONTEXT, METRICS, Metric
from iomt_core.record import Record

PANELS = ("mean_delay_s", "mean_energy_j", "cost")
BOUND_LABEL = "certified bound"


def per_step(record: Record, metrics: Sequence[Metric]) -> dict[str, list[float | None]]:
    """The metrics of each step by name, SI units; None in a step without tasks."""
    sums = {name: values.tolist() for name, values in step_sums(record).items()}
    found = {metric.name: metric.per_episode(sums) for metric in metrics if metric.numerator in sums}
    return {name: [v if math.isfinite(v) else None for v in values] for name, values in found.items()}


def live_curves(records: Mapping[str, Record], looks: Sequence[Look], step: int, subtitle: str = "") -> go.Figure:
    """Mean delay, mean energy and cost of each step of the episode, for several policies, and the bound of the cost.

    records: the played episode by the policy's label, that of the policy on the map first; looks: how each is drawn; step: the
    present step.
    """
    metrics = [METRICS[name] for name in PANELS]
    curves = [
        Curve(label, record.step.tolist(), per_step(record, metrics), look)
        for (label, record), look in zip(records.items(), looks, strict=True)
    ]
    first = next(iter(records.values()))
    bound = per_step(first, [CONTEXT["lower_bound"]])
    if bound:
        curves.append(Curve(BOUND_LABEL, first.step.tolist(), {"cost": bound["lower_bound"]}, BOUND))
    x_axis = {"title": {"text": "step"}, "range": [0.5, first.scenario.T + 0.5]}
    return curve_panels(curves, PANELS, x_axis, [step_line(step)], "Each step of the episode", subtitle, step=True)


def live_table(records: Mapping[str, Record]) -> pd.DataFrame:
    """The table of `live_curves`: a row for each policy and step."""
    metrics = (*(METRICS[name] for name in PANELS), CONTEXT["lower_bound"])
    tables = []
    for label, record in records.items():
        values = per_step(record, metrics)
        columns = {
            m.heading: [None if v is None else v * m.factor for v in values[m.name]]
            for m in metrics
            if m.name in values
        }
        tables.append(pd.DataFrame({"policy": label, "step": record.step.tolist(), **columns}))
    return pd.concat(tables, ignore_index=True)
