"""Curves of several policies in panels one below the other, one panel a metric, over a common horizontal axis."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND, Look
from iomt_core.metrics import METRICS

PANEL, ROOM = 125, 100  # px: height of a panel, and of legend, axis and its title together
GAP = 0.07  # between two panels, as a share of the height


@dataclass(frozen=True)
class Curve:
    """One policy's values over the horizontal axis, SI units, None where there is none.

    values: by name of the metric, which is a name in `METRICS`; points: what a click sends, x by default.
    """

    label: str
    x: Sequence[float]
    values: Mapping[str, Sequence[float | None]]
    look: Look
    points: Sequence[float] = ()


def curve_panels(
    curves: Sequence[Curve], metrics: Sequence[str], x_axis: Mapping[str, Any], shapes: Sequence[Any], title: str,
    subtitle: str = "", step: bool = False,
) -> go.Figure:  # fmt: skip
    """Figure with a panel for each metric; a click on a point sends its x.

    metrics: names in `METRICS`; x_axis: layout of the horizontal axis; shapes: the line that marks the present value; step: the
    horizontal axis is the step of the episode, see `figure`.
    """
    layout: dict[str, Any] = {
        "height": PANEL * len(metrics) + ROOM,
        "showlegend": True,
        "hovermode": "x unified",
        "xaxis": {**x_axis, "anchor": f"y{len(metrics)}".replace("y1", "y")},
        "shapes": list(shapes),
    }
    size = (1 - GAP * (len(metrics) - 1)) / len(metrics)
    data: list[dict[str, Any]] = []
    for n, name in enumerate(metrics, 1):
        axis, top = "y" if n == 1 else f"y{n}", 1 - (n - 1) * (size + GAP)
        layout[axis.replace("y", "yaxis")] = {
            "title": {"text": METRICS[name].axis_title}, "domain": [max(0.0, top - size), top], "nticks": 5,
        }  # fmt: skip
        known = {trace["legendgroup"] for trace in data}
        data += [_trace(curve, name, axis, curve.label not in known) for curve in curves if name in curve.values]
    return figure(data, layout, title, f"{title}. {_words(curves)}.", subtitle, step)


def _trace(curve: Curve, name: str, axis: str, in_legend: bool) -> dict[str, Any]:
    metric, label = METRICS[name], html.escape(curve.label, quote=False)
    look = curve.look
    return {
        "type": "scatter",
        "mode": "lines" if look == BOUND else "lines+markers",
        "name": label,
        "legendgroup": curve.label,
        "showlegend": in_legend,
        "x": list(curve.x),
        "y": [None if v is None else float(f"{v * metric.factor:.6g}") for v in curve.values[name]],
        "yaxis": axis,
        "customdata": list(curve.points or curve.x),
        "line": {"color": look.colour, "width": look.width, "dash": look.dash},
        "marker": {"symbol": look.symbol, "size": 4 + look.width},
        "hovertemplate": f"%{{y:.4g}} {metric.unit}",
    }


def _words(curves: Sequence[Curve]) -> str:
    """The range of every curve in words."""
    parts = []
    for curve in curves:
        for name, values in curve.values.items():
            finite = [value for value in values if value is not None]
            if finite:
                low, high = METRICS[name].show(min(finite)), METRICS[name].show(max(finite))
                parts.append(f"{curve.label}: {METRICS[name].label.lower()} from {low} to {high}")
    return "; ".join(parts)
