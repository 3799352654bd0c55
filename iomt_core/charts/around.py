"""Delay, energy and cost of several policies over the whole range of one parameter, around its present value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.curves import Curve, curve_panels
from iomt_core.charts.figure import step_line
from iomt_core.charts.live import BOUND_LABEL, PANELS
from iomt_core.charts.style import BOUND, Look
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.scenario import Meta

# Summaries of `experiments.evaluation` by policy, by the parameter's value (SI); a policy that cannot decide there is missing.
Points = Mapping[float, Mapping[str, Mapping[str, Any]]]


def around_curves(
    points: Points, meta: Meta, now: float, labels: Mapping[str, str], looks: Sequence[Look], subtitle: str = ""
) -> go.Figure:
    """Mean delay, mean energy and cost of one episode for each value of a parameter; a click on a point sends the value.

    meta: of the parameter; now: its present value, which is marked; labels: of the policies by name, that on the map first;
    looks: how each is drawn. The bound is that of the steps which the first policy played.
    """
    values = sorted(points)
    x = [_shown(value, meta) for value in values]
    curves = [
        Curve(
            label, x, {metric: [_value(points[v].get(name), metric) for v in values] for metric in PANELS}, look, values
        )
        for (name, label), look in zip(labels.items(), looks, strict=True)
    ]
    bound = [_value(points[v].get(next(iter(labels))), "lower_bound") for v in values]
    if any(value is not None for value in bound):
        curves.append(Curve(BOUND_LABEL, x, {"cost": bound}, BOUND, values))
    low, high = (_shown(end, meta) for end in (meta.low or 0.0, meta.high or 0.0))
    axis: dict[str, Any] = {"title": {"text": _axis_title(meta)}}
    if meta.log and low > 0:
        axis |= {
            "type": "log",
            "range": [math.log10(low) - 0.03, math.log10(high) + 0.03],
            "dtick": "D2" if high < 100 * low else 1,
        }
    else:
        axis["range"] = [low - 0.02 * (high - low), high + 0.02 * (high - low)]
    title = f"Over {_axis_title(meta)[:1].lower()}{_axis_title(meta)[1:]}"
    return curve_panels(curves, PANELS, axis, [step_line(_shown(now, meta))], title, subtitle)


def around_table(points: Points, meta: Meta, labels: Mapping[str, str]) -> pd.DataFrame:
    """The table of `around_curves`: a row for each value and policy."""
    metrics = (*(METRICS[name] for name in PANELS), CONTEXT["lower_bound"])
    return pd.DataFrame(
        {
            _axis_title(meta): _shown(value, meta),
            "policy": labels[name],
            **{m.heading: float(f"{found[m.name] * m.factor:.6g}") for m in metrics if m.name in found},
        }
        for value in sorted(points)
        for name, found in points[value].items()
        if name in labels
    )


def _shown(value: float, meta: Meta) -> float:
    return float(f"{value * meta.shown_factor:.6g}")


def _axis_title(meta: Meta) -> str:
    unit = meta.unit if meta.shown_unit is None else meta.shown_unit
    return f"{meta.label or meta.symbol}" + (f" ({unit})" if unit else "")


def _value(found: Mapping[str, Any] | None, name: str) -> float | None:
    """A metric of a summary; None where the policy cannot decide or the metric has no value."""
    value = None if found is None else found.get(name)
    return value if value is not None and math.isfinite(value) else None
