"""Learning curves as Vega-Lite, which adds new points without redrawing, so that a live curve never flickers or loses its zoom.

While a run trains, only the table of points changes. The specification depends only on the runs and lines shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from iomt_core.charts.style import BOUND_COLOUR, SERVER_COLOURS
from iomt_core.metrics import METRICS, TRAINING, Metric
from iomt_core.runs.curves import Curves, thinned

DASHES = ((1, 0), (7, 3), (2, 2), (8, 3, 2, 3))
REFERENCE_DASHES = MappingProxyType(
    {"optimum": (5, 2), "price-response": (2, 3), "greedy": (9, 3), "random": (1, 5), "bound": (1, 0)}
)
HEIGHT = 230
CLOSE = 0.12  # fraction of the lines' range; labels of lines closer than this would overlap
LETTER = 5.6  # width of a letter in a label, pixels
EXPLORING, EVALUATED = "while exploring", "evaluated"
ZOOM = "zoom"  # name of the Vega-Lite selection that stores the zoom


@dataclass(frozen=True)
class Curve:
    """One learning curve: a metric while exploring, on held-out episodes, or both.

    training: its column in metrics.jsonl, None if it is not there; evaluated: whether evaluations.jsonl and references.json
    contain it, under the metric's name.
    """

    metric: Metric
    training: str | None = None
    evaluated: bool = False

    @property
    def columns(self) -> tuple[tuple[str, str, str], ...]:
        """Kind, source (`metrics` or `evaluations` of `Curves`) and column of each line."""
        both = ((EXPLORING, "metrics", self.training), (EVALUATED, "evaluations", self.metric.name))
        return tuple((kind, source, name) for kind, source, name in both[: 1 + self.evaluated] if name is not None)


LEARNING = (
    Curve(TRAINING["return"], "return"),
    Curve(METRICS["cost"], "cost", evaluated=True),
    Curve(METRICS["gap"], evaluated=True),
    Curve(METRICS["mean_delay_s"], "delay_s", evaluated=True),
    Curve(METRICS["mean_energy_j"], "energy_j", evaluated=True),
    Curve(TRAINING["temperature"], "temperature"),
)
LOSSES = tuple(Curve(TRAINING[name], name) for name in ("loss_19", "loss_26", "loss_21", "loss_27"))


def points(curve: Curve, runs: Mapping[str, Curves]) -> pd.DataFrame:
    """The points of a chart, with columns episodes, value, run, kind; at most `curves.MOST_POINTS` rows for each run and kind."""
    parts = []
    for run, found in runs.items():
        for kind, source, name in curve.columns:
            x, y = thinned(getattr(found, source), name)
            if x:
                parts.append(pd.DataFrame({"episodes": x, "value": y, "run": run, "kind": kind}))
    if not parts:
        empty = {"episodes": [0.0], "value": [0.0], "run": "", "kind": ""}
        return pd.DataFrame(empty).iloc[:0]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(value=table["value"] * curve.metric.factor)


def reference_lines(
    curve: Curve, found: Curves, shown: Sequence[str], labels: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Reference lines of a chart: the results of the policies `shown`, and in the cost chart also the lower bound."""
    metric = curve.metric
    if not curve.evaluated:
        return []
    lines = [
        {"name": name, "label": labels.get(name, name), "value": found.references[name][metric.name] * metric.factor}
        for name in shown
        if metric.name in found.references.get(name, {})
    ]
    if metric.name == "cost" and found.bound is not None and lines:
        lines.append({"name": "bound", "label": "bound", "value": found.bound})
    return lines


def spec(
    curve: Curve, runs: Sequence[str], lines: Sequence[Mapping[str, Any]], episodes: int, colours: Mapping[str, int]
) -> dict[str, Any]:
    """The Vega-Lite specification of one chart. episodes: end of the horizontal axis; colours: colour number of each run."""
    palette = [SERVER_COLOURS[colours[run] % len(SERVER_COLOURS)] for run in runs]
    dashes = [list(DASHES[colours[run] % len(DASHES)]) for run in runs]
    quantity = {"type": "quantitative", "title": curve.metric.axis_title}
    x = {"field": "episodes", **quantity, "title": "episodes", "scale": {"domain": [0, episodes], "nice": False}}
    scale = {"zero": False, "padding": 14, "nice": False}
    y = {"field": "value", **quantity, "scale": scale, "axis": {"tickCount": 5}}
    colour = {"field": "run", "type": "nominal", "scale": {"domain": list(runs), "range": palette}, "legend": None}
    dash = {"field": "run", "type": "nominal", "scale": {"domain": list(runs), "range": dashes}, "legend": None}
    tooltip = [
        {"field": "run", "title": "run"},
        {"field": "kind", "title": "episodes played"},
        {"field": "episodes", "type": "quantitative", "format": ",.0f"},
        {"field": "value", **quantity, "format": ".4~g"},
    ]
    encoding = {"x": x, "y": y, "color": colour, "strokeDash": dash, "tooltip": tooltip}
    zoom = {"name": ZOOM, "select": {"type": "interval", "zoom": "wheel![event.ctrlKey]"}, "bind": "scales"}
    faint = 1.0 if len(curve.columns) == 1 else 0.45
    layers: list[dict[str, Any]] = []
    for kind, _, _ in curve.columns:
        mark: dict[str, Any] = {"type": "line", "clip": True, "strokeWidth": 2, "opacity": faint}
        if kind == EVALUATED:
            mark |= {"point": {"size": 36, "filled": True}, "opacity": 1.0, "strokeWidth": 2.2}
        layers.append({"transform": [{"filter": {"field": "kind", "equal": kind}}], "mark": mark, "encoding": encoding})
    layers[0]["params"] = [zoom]
    layers += [_line(line, y, inset) for line, inset in _side_by_side(lines)]
    return {"height": HEIGHT, "layer": layers}


def _side_by_side(lines: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], float]]:
    """The lines with the distance of their labels from the right edge, pixels; labels of close lines stand next to each other."""
    ordered = sorted(lines, key=lambda line: float(line["value"]))
    span = float(ordered[-1]["value"]) - float(ordered[0]["value"]) if ordered else 0.0
    placed: list[tuple[Mapping[str, Any], float]] = []
    inset = 0.0
    for before, line in zip((None, *ordered), ordered, strict=False):
        close = before is not None and float(line["value"]) - float(before["value"]) < CLOSE * span
        inset = inset + LETTER * (len(before["label"]) + 2) if close and before is not None else 0.0
        placed.append((line, inset))
    return placed


def _line(line: Mapping[str, Any], y: Mapping[str, Any], inset: float) -> dict[str, Any]:
    colour = BOUND_COLOUR if line["name"] == "bound" else "#8a8f98"
    tooltip = [{"field": "label", "title": "reference"}, {"field": "value", "type": "quantitative", "format": ".4~g"}]
    dash = list(REFERENCE_DASHES.get(line["name"], (4, 4)))
    rule = {"type": "rule", "strokeDash": dash, "strokeWidth": 1.6, "color": colour, "clip": True}
    text = {
        "type": "text", "align": "right", "baseline": "bottom", "dx": -3, "dy": -1, "fontSize": 11, "color": colour,
        "clip": True,
    }  # fmt: skip
    place = {"y": y, "x": {"value": {"expr": f"width - {inset:g}"}}, "text": {"field": "label"}}
    return {
        "data": {"values": [{"value": line["value"], "label": line["label"]}]},
        "layer": [{"mark": rule, "encoding": {"y": y, "tooltip": tooltip}}, {"mark": text, "encoding": place}],
    }


def words(curve: Curve, runs: Sequence[str]) -> str:
    """Alternative text of a chart; the values are in the table.

    It must not depend on the points: Streamlit makes it part of the specification, so a new text would redraw the chart.
    """
    return f"{curve.metric.axis_title} over the episodes of {', '.join(runs)}."
