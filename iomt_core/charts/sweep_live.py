"""A running sweep as Vega-Lite, which adds new points without flicker, unlike Plotly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from iomt_core.charts.style import BOUND_COLOUR
from iomt_core.charts.sweep import BOUND, bound_of, colour_span, look, whole_ticks
from iomt_core.experiments.sweeps.spec import Axis
from iomt_core.metrics import METRICS

DASHES = {"solid": [1, 0], "dash": [7, 4], "dot": [2, 3], "dashdot": [7, 3, 2, 3]}
SHAPES = {"pentagon": "cross", "hexagon": "triangle-left", "star": "triangle-right"}  # Vega has no such shapes
HEIGHT = 340


def live_curves(
    table: pd.DataFrame, axis: Axis, name: str, labels: Mapping[str, str], log_y: bool = False
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows and specification of `charts.sweep.curves` for the points known so far; the axis spans all values."""
    shown = METRICS[name]
    rows = pd.DataFrame(
        {
            "x": [axis.shown(float(v)) for v in table[axis.parameter]],
            "policy": [labels.get(p, p) for p in table["policy"]],
            "y": table[name] * shown.factor,
            "low": table[f"{name}_low"] * shown.factor,
            "high": table[f"{name}_high"] * shown.factor,
        }
    ).dropna(subset=["y"])
    names, looks = list(labels.values()), [look(n) for n in range(len(labels))]
    at, least = bound_of(table, axis, name)
    if at and not (log_y and name == "gap"):  # zero has no logarithm
        names, looks = [*names, BOUND], [*looks, (BOUND_COLOUR, "dash", "stroke")]
        bound = pd.DataFrame({"x": at, "policy": BOUND, "y": least, "low": least, "high": least})
        rows = pd.concat([rows, bound], ignore_index=True)
    ends = [axis.shown(v) for v in (axis.values[0], axis.values[-1])]
    kind = "log" if axis.spacing == "logarithmic" else "linear"
    x = {
        "field": "x", "type": "quantitative", "title": axis.title,
        "scale": {"type": kind, "domain": ends, "nice": False, "padding": 12},
    }  # fmt: skip
    if ticks := whole_ticks(axis):
        x["axis"] = {"values": ticks, "format": "d"}
    colour, dash, shape = (
        {"field": "policy", "type": "nominal", "title": None, "scale": {"domain": names, "range": values}}
        for values in (
            [c for c, _, _ in looks], [DASHES[d] for _, d, _ in looks], [SHAPES.get(s, s) for _, _, s in looks],
        )
    )  # fmt: skip
    y = {
        "field": "y",
        "type": "quantitative",
        "title": shown.axis_title,
        "scale": {"zero": False, "type": "log" if log_y else "linear"},
    }
    spec = {
        "height": HEIGHT,
        "encoding": {"x": x, "color": {**colour, "legend": {"orient": "top", "symbolOpacity": 1}}},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.18}, "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}}},
            {"mark": {"type": "line"}, "encoding": {"y": y, "strokeDash": dash}},
            {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}, "encoding": {"y": y, "shape": shape}},
        ],
    }  # fmt: skip
    return rows, spec


def live_map(table: pd.DataFrame, axes: Sequence[Axis], name: str, policy: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows and specification of `charts.sweep.heat_map` for the points known so far; the grid is complete."""
    shown, (right, up) = METRICS[name], axes
    mine = table[table["policy"] == policy]
    rows = pd.DataFrame(
        {
            "x": [f"{right.shown(float(v)):g}" for v in mine[right.parameter]],
            "y": [f"{up.shown(float(v)):g}" for v in mine[up.parameter]],
            "z": [v * shown.factor if not math.isnan(v) else None for v in mine[name]],
        }
    ).dropna(subset=["z"])

    def side(axis: Axis, column: str) -> dict[str, Any]:
        domain = [f"{axis.shown(v):g}" for v in axis.values]
        return {"field": column, "type": "ordinal", "title": axis.title, "scale": {"domain": domain}}

    low, high = colour_span(table, name)
    up_side = side(up, "y")
    up_side["scale"]["reverse"] = True
    spec = {
        "height": HEIGHT,
        "mark": {"type": "rect"},
        "encoding": {
            "x": {**side(right, "x"), "axis": {"labelAngle": 0}},
            "y": up_side,
            "color": {
                "field": "z", "type": "quantitative", "title": shown.axis_title,
                "scale": {"scheme": "viridis", "domain": [low, high]},
            },
        },
    }  # fmt: skip
    return rows, spec
