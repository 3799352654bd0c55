"""Learning and loss curves: a figure for each metric, with a line for each run.

Runs that differ only in their seed are joined: a line for their mean, and a band from the lowest to the highest of them.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, SERVER_COLOURS
from iomt_core.metrics import METRICS, TRAINING, Metric
from iomt_core.runs.curves import Curves, thinned

DASHES = ("solid", "dash", "dot", "dashdot")
REFERENCE_DASHES = MappingProxyType(
    {
        "optimum": "5px,2px",
        "price-response": "2px,3px",
        "greedy": "9px,3px",
        "random": "1px,5px",
        "bound": "solid",
        "start": "12px,2px",
    }
)
REFERENCE_COLOUR = "#8a8f98"
GOALS = ("optimum", "price-response", "start", "bound")  # references that are always drawn
MARGIN = 0.5  # others are drawn if they are at most this part of the range outside of it, and named at the edge if not
CLOSE = 0.07  # fraction of the range; labels of references closer than this would overlap
LETTER = 6.2  # width of a letter in a label, pixels
BIG = 360  # height of a big chart, pixels


@dataclass(frozen=True)
class Curve:
    """One learning curve: a metric while exploring, on held-out episodes, or both.

    training: its column in metrics.jsonl, None if it is not there; evaluated: whether evaluations.jsonl and references.json
    contain it, under the metric's name; logarithmic: whether its values are always positive and span powers of ten.
    """

    metric: Metric
    training: str | None = None
    evaluated: bool = False
    logarithmic: bool = False


LEARNING = (
    Curve(METRICS["gap"], evaluated=True),
    Curve(METRICS["cost"], "cost", evaluated=True),
    Curve(METRICS["mean_delay_s"], "delay_s", evaluated=True),
    Curve(METRICS["mean_energy_j"], "energy_j", evaluated=True),
    Curve(TRAINING["return"], "return"),
)
RETURN_GAP = Curve(METRICS["return_gap"], evaluated=True)  # takes the place of the gap where batteries bind
LOSSES = (
    *(Curve(TRAINING[name], name, logarithmic=True) for name in ("loss_19", "loss_26")),
    *(Curve(TRAINING[name], name) for name in ("loss_21", "loss_27")),
)


@dataclass(frozen=True)
class Line:
    """A line of the charts: one run, or several that differ only in their seed."""

    label: str
    runs: Sequence[Curves]
    number: int  # sets colour and dash

    @property
    def colour(self) -> str:
        """The line's colour."""
        return SERVER_COLOURS[self.number % len(SERVER_COLOURS)]

    @property
    def dash(self) -> str:
        """The line's dash, so that colour is not the only difference."""
        return DASHES[self.number % len(DASHES)]


@dataclass(frozen=True)
class Reference:
    """What another policy reaches on the same held-out episodes, in the metric's unit."""

    name: str
    label: str
    value: float


def references(curve: Curve, found: Curves, shown: Sequence[str], labels: Mapping[str, str]) -> list[Reference]:
    """The reference lines of a chart: the policies `shown`, where a fine-tuned run started, and the certified bound.

    The bound is a line in the charts of the cost and of both gaps, where it is 0.
    """
    metric = curve.metric
    if not curve.evaluated:
        return []
    lines = [
        Reference(name, labels.get(name, name), found.references[name][metric.name] * metric.factor)
        for name in shown
        if metric.name in found.references.get(name, {})
    ]
    start = found.start.get(metric.name)
    if start is not None:
        lines.append(Reference("start", "start", start * metric.factor))
    if lines and metric.name in ("gap", "return_gap"):
        lines.append(Reference("bound", "bound", 0.0))
    elif lines and metric.name == "cost" and found.bound is not None:
        lines.append(Reference("bound", "bound", found.bound))
    return lines


def learning_figure(
    curve: Curve,
    lines: Sequence[Line],
    known: Sequence[Reference] = (),
    episodes: int = 0,
    smoothing: float = 0.0,
    subtitle: str = "",
    logarithmic: bool = False,
    big: bool = False,
) -> go.Figure:
    """The chart of one curve.

    known: reference lines; episodes: end of the horizontal axis; smoothing: weight of the past, 0 to below 1, in the moving
    average of what was measured while exploring (the raw line stays, faint); logarithmic: scale of the vertical axis; big:
    whether it is the page's main chart.
    """
    traces: list[dict[str, Any]] = []
    for line in lines:
        parts = [part | {"showlegend": False} for part in _parts(curve, line, smoothing)]
        if parts:
            parts[-1]["showlegend"] = True  # one entry of the legend shows and hides the whole line
        traces += parts
    values = np.concatenate([np.asarray(trace["y"], float) for trace in traces] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    drawn, beyond = _within(known, values)
    end = max([episodes, *(trace["x"][-1] for trace in traces if trace["x"])], default=1)
    traces += [_reference_trace(reference, end, curve.metric) for reference in drawn]
    span = np.ptp([*values, *(reference.value for reference in drawn)]) if len(values) or drawn else 1.0
    metric = curve.metric
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "episodes"}, "range": [0, end]},
        "yaxis": {
            "title": {"text": metric.axis_title},
            "type": "log" if logarithmic else "linear",
            "exponentformat": "power",
        },
        "annotations": [*_labels(drawn, float(span)), *_edge(beyond, metric)],
        "hovermode": "x unified" if len(lines) > 1 else "closest",
        "showlegend": len(lines) > 1,
        "uirevision": f"{metric.name} {logarithmic}",
    }
    if big:
        layout["height"] = BIG
    return figure(traces, layout, metric.label, _words(curve, lines, drawn), subtitle)


def _parts(curve: Curve, line: Line, smoothing: float) -> Iterable[dict[str, Any]]:
    """The traces of one line: while exploring (raw and smoothed), the seeds' band, and the evaluations with their points."""
    label = html.escape(line.label, quote=False)
    base = {"type": "scatter", "mode": "lines", "name": label, "legendgroup": label}
    stroke = {"color": line.colour, "dash": line.dash}
    unit = f" {curve.metric.unit}".rstrip()

    def hover(words: str) -> str:
        return f"%{{y:.4~g}}{unit}, {words}<br>episode %{{x:,.0f}}<extra>{label}</extra>"

    faint = 0.4 if curve.evaluated else 1.0
    if curve.training is not None:
        for found in line.runs:
            columns = found.metrics
            raw_opacity = 0.22 if smoothing else faint
            for column, opacity, words in (
                (columns, raw_opacity, "while exploring"),
                (_smoothed(columns, curve.training, smoothing), faint, "while exploring, smoothed"),
            )[: 2 if smoothing else 1]:
                x, y = thinned(column, curve.training)
                if x:
                    yield base | {
                        "x": x, "y": _scaled(y, curve), "opacity": opacity, "line": stroke | {"width": 1.6},
                        "hovertemplate": hover(words),
                    }  # fmt: skip
    if not curve.evaluated:
        return
    table = _by_episode(line, curve.metric.name)
    if table.empty:
        return
    x = table.index.to_list()
    if table.shape[1] > 1:
        whole = table.dropna()
        low, high = (_scaled(whole.agg(name, axis=1).to_list(), curve) for name in ("min", "max"))
        xs = whole.index.to_list()
        yield base | {
            "x": [*xs, *reversed(xs)], "y": [*high, *reversed(low)], "fill": "toself", "opacity": 0.18, "hoverinfo": "skip",
            "fillcolor": line.colour, "line": {"width": 0},
        }  # fmt: skip
    words = "evaluated" if table.shape[1] == 1 else f"evaluated, mean of {table.shape[1]} seeds"
    yield base | {
        "x": x, "y": _scaled(table.mean(axis=1).to_list(), curve), "mode": "lines+markers", "opacity": 1.0,
        "line": stroke | {"width": 2.4}, "marker": {"size": 7, "color": line.colour}, "hovertemplate": hover(words),
    }  # fmt: skip


def _by_episode(line: Line, name: str) -> pd.DataFrame:
    """The evaluations of a metric by episode, a column for each run that has any."""
    found = {}
    for number, run in enumerate(line.runs):
        x, y = thinned(run.evaluations, name)
        if x:
            found[number] = pd.Series(y, index=x).groupby(level=0).last()
    return pd.DataFrame(found)


def _smoothed(columns: Mapping[str, list[float]], name: str, smoothing: float) -> dict[str, list[float]]:
    """The columns with an exponential moving average in place of `name`, as TensorBoard computes it."""
    values = pd.Series(columns.get(name, ()), dtype=float)
    return {**columns, name: values.ewm(alpha=1 - smoothing).mean().to_list()} if len(values) else dict(columns)


def _scaled(values: Sequence[float], curve: Curve) -> list[float]:
    return [value * curve.metric.factor for value in values]


def _within(known: Sequence[Reference], values: np.ndarray[Any, Any]) -> tuple[list[Reference], list[Reference]]:
    """The references to draw, and those so far from the lines that they would flatten them."""
    if not len(values):
        return list(known), []
    goals = [one.value for one in known if one.name in GOALS]
    low, high = min([float(values.min()), *goals]), max([float(values.max()), *goals])
    room = MARGIN * (high - low)
    near = [one for one in known if low - room <= one.value <= high + room]
    return near, [one for one in known if one not in near]


def _reference_trace(reference: Reference, end: float, metric: Metric) -> dict[str, Any]:
    colour = BOUND_COLOUR if reference.name == "bound" else REFERENCE_COLOUR
    return {
        "type": "scatter", "mode": "lines", "x": [0, end], "y": [reference.value, reference.value], "name": reference.label,
        "showlegend": False, "line": {"color": colour, "width": 1.6, "dash": REFERENCE_DASHES.get(reference.name, "4px,4px")},
        "hovertemplate": f"{reference.label}: %{{y:.4~g}} {metric.unit}<extra></extra>",
    }  # fmt: skip


def _labels(drawn: Sequence[Reference], span: float) -> list[dict[str, Any]]:
    """A label at the right end of each reference line; labels of close lines stand next to each other."""
    found: list[dict[str, Any]] = []
    inset, before = 0.0, None
    for reference in sorted(drawn, key=lambda one: one.value):
        close = before is not None and reference.value - before.value < CLOSE * span
        inset = inset + LETTER * (len(before.label) + 2) if close and before is not None else 0.0
        found.append(
            {
                "x": 1, "xref": "paper", "xanchor": "right", "xshift": -inset, "y": reference.value, "yanchor": "bottom",
                "showarrow": False, "text": reference.label,
                "font": {"size": 11, "color": BOUND_COLOUR if reference.name == "bound" else REFERENCE_COLOUR},
            }
        )  # fmt: skip
        before = reference
    return found


def _edge(beyond: Sequence[Reference], metric: Metric) -> list[dict[str, Any]]:
    """A note above the plot with the references that lie outside of it."""
    words = ", ".join(f"{one.label} {one.value:.3g} {metric.unit}".rstrip() for one in beyond)
    note = {
        "x": 1, "xref": "paper", "xanchor": "right", "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False,
        "text": f"not in this range: {words}", "font": {"size": 11, "color": REFERENCE_COLOUR},
    }  # fmt: skip
    return [note] if beyond else []


def _words(curve: Curve, lines: Sequence[Line], drawn: Sequence[Reference]) -> str:
    """The chart in words, for screen readers."""
    metric, found = curve.metric, []
    for line in lines:
        table = _by_episode(line, metric.name) if curve.evaluated else pd.DataFrame()
        if not table.empty:
            first, last = (metric.show(float(table.iloc[n].mean())) for n in (0, -1))
            found.append(f"{line.label}: {first} at episode {table.index[0]:,.0f}, {last} at {table.index[-1]:,.0f}")
        else:
            found.append(line.label)
    others = "; ".join(f"{one.label} {one.value:.4g} {metric.unit}".rstrip() for one in drawn)
    return f"{metric.axis_title} over episodes. {'; '.join(found)}." + (f" For comparison: {others}." if others else "")
