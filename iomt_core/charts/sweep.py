"""Results of a sweep: curves with 95 % bands over one parameter, heat maps over two."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.style import BOUND_COLOUR, DASHES, SERVER_COLOURS, SYMBOLS
from iomt_core.experiments.sweeps.spec import Axis, is_whole
from iomt_core.metrics import METRICS

MOST_NUMBERS = 120  # cells of a heat map up to which the numbers are printed
MOST_TICKS = 12
HEIGHT = 380
BOUND = "certified lower bound"


def look(number: int) -> tuple[str, str, str]:
    """Colour, dash and symbol of the policy of this number, from 0."""
    return SERVER_COLOURS[number % len(SERVER_COLOURS)], DASHES[number % len(DASHES)], SYMBOLS[number % len(SYMBOLS)]


def curves(
    table: pd.DataFrame, axis: Axis, name: str, labels: Mapping[str, str], log_y: bool = False, title: str = ""
) -> go.Figure:
    """A metric over an axis, one line for each policy with its 95 % interval as a band.

    `table` is `sweeps.run.results_table` of one axis, or one value's rows of the other; `labels` names the policies, in the
    order of their colours. Where a policy could not decide its line is broken. Cost and gap show the certified bound too.
    """
    shown = METRICS[name]
    data: list[dict[str, Any]] = []
    for number, (policy, label) in enumerate(labels.items()):
        rows = table[table["policy"] == policy].sort_values(axis.parameter)
        colour, dash, symbol = look(number)
        x = [axis.shown(v) for v in rows[axis.parameter]]
        text = html.escape(label, quote=False)
        middle, low, high = (_in_unit(rows[name + end], shown.factor) for end in ("", "_low", "_high"))
        for part in _bands(x, low, high):
            data.append(
                {
                    "type": "scatter", **part, "fill": "toself", "fillcolor": _translucent(colour), "mode": "lines",
                    "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": policy,
                }
            )  # fmt: skip
        words = [_interval(a, b, shown.unit) for a, b in zip(low, high, strict=True)]
        data.append(
            {
                "type": "scatter", "x": x, "y": middle, "customdata": words, "name": text, "legendgroup": policy,
                "mode": "lines+markers", "line": {"color": colour, "dash": dash, "width": 2},
                "marker": {"color": colour, "symbol": symbol, "size": 8},
                "hovertemplate": f"{text}: %{{y:.4g}} {shown.unit}%{{customdata}}<extra></extra>",
            }
        )  # fmt: skip
    data += _bound(table, axis, name)
    layout = {
        "height": HEIGHT,
        "hovermode": "x unified",
        "xaxis": {"title": {"text": axis.title}, **_axis_range(axis)},
        "yaxis": {
            "title": {"text": shown.axis_title}, "type": "log" if log_y else "linear",
            "rangemode": "normal" if "utility" in name else "nonnegative",
        },
        "margin": {"l": 64, "r": 12, "t": 64 if title else 40, "b": 48},
    }  # fmt: skip
    return _figure(data, {**layout, **_title(title)})


def heat_map(
    table: pd.DataFrame, axes: Sequence[Axis], name: str, policy: str, span: tuple[float, float], title: str = ""
) -> go.Figure:
    """One policy's metric over two axes, the first to the right; colours run over `span`, see `colour_span`.

    Cells show their numbers while they are few, and "n/a" where the policy could not decide.
    """
    shown, (right, up) = METRICS[name], axes
    xs, ys = ([f"{a.shown(v):g}" for v in a.values] for a in (right, up))
    rows = table[table["policy"] == policy]
    known = {
        (a, b): (v, s)
        for a, b, v, s in zip(rows[right.parameter], rows[up.parameter], rows[name], rows["state"], strict=True)
    }
    z: list[list[float | None]] = []
    words: list[list[str]] = []
    for b in up.values:
        line = [known.get((a, b)) for a in right.values]
        z.append([None if p is None or math.isnan(p[0]) else p[0] * shown.factor for p in line])
        words.append(
            ["" if p is None else "n/a" if p[1] == "unavailable" else f"{p[0] * shown.factor:.3g}" for p in line]
        )
    data: dict[str, Any] = {
        "type": "heatmap", "x": xs, "y": ys, "z": z, "text": words, "zmin": span[0], "zmax": span[1], "xgap": 1, "ygap": 1,
        "colorscale": "Viridis", "colorbar": {"title": {"text": shown.axis_title, "side": "right"}}, "hoverongaps": False,
        "hovertemplate": f"{right.title} %{{x}}<br>{up.title} %{{y}}<br>{shown.label} %{{z:.4g}} {shown.unit}<extra></extra>",
    }  # fmt: skip
    if len(xs) * len(ys) <= MOST_NUMBERS:
        data["texttemplate"] = "%{text}"
    layout = {
        "height": HEIGHT,
        "xaxis": {"title": {"text": right.title}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": up.title}, "type": "category", "showgrid": False},
        "margin": {"l": 64, "r": 12, "t": 40 if title else 12, "b": 48},
    }
    return _figure([data], {**layout, **_title(title)})


def colour_span(table: pd.DataFrame, name: str) -> tuple[float, float]:
    """Smallest and largest value of any policy, so that the maps of several policies can be compared."""
    values = table[name].dropna() * METRICS[name].factor
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def bound_line(table: pd.DataFrame, axis: Axis) -> tuple[list[float], list[float]]:
    """The certified lower bound of the cost over an axis, of the policy that played most steps: a bound covers steps played."""
    known = table.dropna(subset=["lower_bound"]).sort_values("steps")
    rows = known.groupby(axis.parameter, sort=True).last()
    return [axis.shown(float(v)) for v in rows.index], [float(v) for v in rows["lower_bound"]]


def bound_of(table: pd.DataFrame, axis: Axis, name: str) -> tuple[list[float], list[float]]:
    """The bound in the chart of a metric: the bound of the cost, zero for the gap, nothing for other metrics."""
    if name not in ("cost", "gap"):
        return [], []
    x, y = bound_line(table, axis)
    return x, y if name == "cost" else [0.0] * len(x)


def whole_ticks(axis: Axis) -> list[float]:
    """Ticks of an axis of whole numbers, so that there are no half servers; empty where ticks may be anywhere."""
    if not is_whole(axis.parameter) or len(axis.values) > MOST_TICKS:
        return []
    return [axis.shown(value) for value in axis.values]


def _axis_range(axis: Axis) -> dict[str, Any]:
    """Range and ticks of the whole axis, also while only some points are known."""
    ends = [axis.shown(axis.values[0]), axis.shown(axis.values[-1])]
    log = axis.spacing == "logarithmic"
    if log:
        ends = [math.log10(end) for end in ends]
    room = 0.04 * (ends[1] - ends[0]) or 0.5
    found: dict[str, Any] = {"type": "log" if log else "linear", "range": [ends[0] - room, ends[1] + room]}
    if ticks := whole_ticks(axis):
        found["tickvals"] = ticks
    return found


def _bound(table: pd.DataFrame, axis: Axis, name: str) -> list[dict[str, Any]]:
    if name not in ("cost", "gap"):
        return []
    x, y = bound_of(table, axis, name)
    return [
        {
            "type": "scatter", "x": x, "y": y, "mode": "lines", "name": BOUND,
            "line": {"color": BOUND_COLOUR, "dash": "longdash", "width": 1.5},
            "hovertemplate": f"{BOUND}: %{{y:.4g}}<extra></extra>",
        }
    ]  # fmt: skip


def _in_unit(column: pd.Series[float], factor: float) -> list[float | None]:
    return [None if math.isnan(v) else float(v) * factor for v in column]


def _bands(
    x: list[float], low: list[float | None], high: list[float | None]
) -> Iterator[dict[str, list[float | None]]]:
    """Polygons around stretches of neighbouring points that have an interval."""
    run: list[tuple[float, float, float]] = []
    for point in (*zip(x, low, high, strict=True), (0.0, None, None)):
        if point[1] is not None and point[2] is not None:
            run.append((point[0], point[1], point[2]))
            continue
        if run:
            back = run[::-1]
            yield {"x": [p[0] for p in (*run, *back)], "y": [*(p[2] for p in run), *(p[1] for p in back)]}
        run = []


def _interval(low: float | None, high: float | None, unit: str) -> str:
    return "" if low is None or high is None else f" ({low:.4g} to {high:.4g} {unit})".replace(" )", ")")


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def _title(text: str) -> dict[str, Any]:
    return {"title": {"text": html.escape(text, quote=False), "font": {"size": 15}}} if text else {}


def _figure(data: list[dict[str, Any]], layout: dict[str, Any]) -> go.Figure:
    """A figure from plain dictionaries; Plotly's validation of each property would take longer than the drawing."""
    base = {
        "margin": {"l": 56, "r": 12, "t": 36, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"namelength": -1},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        "uirevision": "keep",
    }
    return go.Figure({"data": data, "layout": {**base, **layout}}, _validate=False)
