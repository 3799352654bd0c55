"""Delay, energy and cost of several policies over the range of one parameter, around its present value."""

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
from iomt_core.experiments.around import Curves
from iomt_core.experiments.evaluation import is_partial
from iomt_core.metrics import CONTEXT, METRICS

BOUNDS = {"cost": "lower_bound", "return": "return_bound"}
ROOM = 0.03  # beside the first and the last value, as a share of the range


def around_curves(
    found: Curves, now: float | None, labels: Mapping[str, str], looks: Sequence[Look], subtitle: str = ""
) -> go.Figure:
    """Mean delay, mean energy and cost of one episode at each value of the parameter; a click on a point sends the value, SI.

    Where a policy ended an episode early or skipped tasks, also the return, because costs are means of what was done.
    now: the present value, which is marked; labels: of the policies by name, the shown one first; looks: how each is drawn. The
    bound is that of the steps which the first policy plays. Values without a result are left out.
    """
    axis, panels = found.axis, shown_panels(found)
    curves = []
    for (policy, label), look in zip(labels.items(), looks, strict=True):
        values = {name: [y for _, y in found.of(policy, name)] for name in panels}
        curves.append(_curve(found, policy, label, values, look))
    first = next(iter(labels))
    bounds = {name: [y for _, y in found.of(first, bound)] for name, bound in BOUNDS.items() if name in panels}
    curves.append(_curve(found, first, BOUND_LABEL, bounds, BOUND))
    low, high = axis.shown(axis.values[0]), axis.shown(axis.values[-1])
    x_axis: dict[str, Any] = {"title": {"text": axis.title}}
    if axis.spacing == "logarithmic":
        low, high = math.log10(low), math.log10(high)
        x_axis |= {"type": "log", "dtick": "D2" if high - low < 2 else 1}
    room = ROOM * (high - low)
    x_axis["range"] = [low - room, high + room]
    shapes = [] if now is None else [step_line(axis.shown(now))]
    return curve_panels(curves, panels, x_axis, shapes, f"What if: {axis.title}", subtitle)


def shown_panels(found: Curves) -> tuple[str, ...]:
    """The metrics that are drawn: also the return if some policy did not do all tasks at some value."""
    partial = any(not isinstance(result, str) and is_partial(result) for result in found.results.values())
    return (*PANELS, "return") if partial else PANELS


def around_table(found: Curves, labels: Mapping[str, str]) -> pd.DataFrame:
    """The table of `around_curves`: a row for each value and policy; where a policy cannot decide, the reason."""
    panels = shown_panels(found)
    metrics = (*(METRICS[name] for name in panels), *(CONTEXT[BOUNDS[name]] for name in panels if name in BOUNDS))
    rows = []
    for value in found.axis.values:
        for policy, label in labels.items():
            result = found.results.get((value, policy), "not computed yet")
            known, note = ({}, result) if isinstance(result, str) else (result, "")
            numbers = {m.heading: float(f"{known[m.name] * m.factor:.6g}") for m in metrics if m.name in known}
            rows.append({found.axis.title: found.axis.shown(value), "policy": label, **numbers, "note": note})
    return pd.DataFrame(rows)


def _curve(found: Curves, policy: str, label: str, values: Mapping[str, Sequence[float]], look: Look) -> Curve:
    at = [value for value, _ in found.of(policy, "cost")]
    return Curve(label, [found.axis.shown(value) for value in at], values, look, at)
