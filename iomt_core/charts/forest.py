"""Differences of A and B: a forest plot for the drawing, every episode's pair, and where tasks went."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.comparison import ticks
from iomt_core.charts.style import SERVER_COLOURS, figure
from iomt_core.paired import Paired

# An axis ends at this multiple of the middle change, so that one huge change does not flatten the others; its text says it.
LONGEST = 6.0
A_COLOUR, B_COLOUR = SERVER_COLOURS[0], SERVER_COLOURS[1]
VERDICTS = {
    "better": "B better, interval excludes 0",
    "worse": "B worse, interval excludes 0",
    "other": "changed, neither better nor worse",
    "open": "interval contains 0, or there is none",
}


def verdict(pair: Paired) -> str:
    """A key of `VERDICTS`."""
    if not pair.excludes_zero:
        return "open"
    if not pair.figure.better:
        return "other"
    return "better" if (pair.difference < 0) == (pair.figure.better == "lower") else "worse"


def forest(pairs: Sequence[Paired]) -> dict[str, Any]:
    """One row a figure: mean relative change of B against A in % of A's mean, with its 95 % interval; for the drawing.

    A figure that is 0 in A has no relative change; its row says so.
    """
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        at = None if pair.relative is None else _percent(pair.relative)
        ends = None if pair.relative_interval is None else [_percent(x) for x in pair.relative_interval]
        rows.append({"label": pair.figure.label, "at": at, "ends": ends, "kind": verdict(pair), "text": _text(pair)})
    reach = [max(abs(x) for x in (row["at"], *(row["ends"] or ()))) for row in rows if row["at"]]
    limit = min(max(reach), LONGEST * statistics.median(reach)) if reach else 1.0
    known = [x for row in rows if row["at"] is not None for x in (row["at"], *(row["ends"] or ()))]
    low, high = (max(-limit, min(known, default=0.0)), min(limit, max(known, default=0.0)))
    room = 0.06 * max(high - low, 1e-6)
    low, high = min(low, 0.0) - room, max(high, 0.0) + room
    positive = [t for t in ticks(max(high, -low)) if t]
    marks = [*(-t for t in reversed(positive) if -t >= low), 0, *(t for t in positive if t <= high)]
    words = "; ".join(f"{row['label']} {row['text']}" for row in rows)
    return {
        "rows": rows,
        "low": low,
        "high": high,
        "ticks": marks,
        "verdicts": {kind: VERDICTS[kind] for kind in VERDICTS if any(row["kind"] == kind for row in rows)},
        "axis": "change from A to B (% of A's mean), with 95 % interval",
        "axis_short": "change (% of A's mean)",
        "text": f"Relative change of every figure from A to B: {words}.",
    }


def _percent(x: float) -> float:
    return float(f"{100 * x:.6g}")


def _text(pair: Paired) -> str:
    if pair.same:
        return "±0"
    if pair.relative is None:
        return f"A is 0; B - A = {pair.difference * pair.figure.factor:+.3g} {points(pair)}".rstrip()
    text = f"{100 * pair.relative:+.3g} %"
    if pair.relative_interval is None:
        return text
    low, high = pair.relative_interval
    return f"{text} ({100 * low:+.3g} to {100 * high:+.3g})"


def points(pair: Paired) -> str:
    """The unit of a difference: of two shares in per cent, percentage points."""
    return "pp" if pair.figure.unit == "%" else pair.figure.unit


def episode_pairs(pair: Paired) -> go.Figure:
    """A figure of every episode on both sides, joined where they are one episode."""
    numbers = list(range(1, len(pair.a) + 1))
    a, b = ([x * pair.figure.factor for x in side] for side in (pair.a, pair.b))
    joins_x = [x for n in numbers for x in (n, n, None)]
    joins_y = [y for low, high in zip(a, b, strict=True) for y in (low, high, None)]
    unit = f" {pair.figure.unit}".rstrip()
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "x": joins_x, "y": joins_y, "mode": "lines", "line": {"color": "#8a8f98", "width": 1.5},
            "hoverinfo": "skip", "showlegend": False,
        },
        *(
            {
                "type": "scatter", "x": numbers, "y": values, "mode": "markers", "name": name,
                "marker": {"color": colour, "symbol": symbol, "size": 9},
                "hovertemplate": f"episode %{{x}}, {name}: %{{y:.5g}}{unit}<extra></extra>",
            }
            for name, values, colour, symbol in (("A", a, A_COLOUR, "circle"), ("B", b, B_COLOUR, "diamond"))
        ),
    ]  # fmt: skip
    title = pair.figure.label + (f" ({pair.figure.unit})" if pair.figure.unit else "")
    layout = {
        "height": 300,
        "xaxis": {"title": {"text": "episode"}, "tickformat": "d"},
        "yaxis": {"title": {"text": title}},
    }
    return figure(data, layout)


def flow_map(counts: pd.DataFrame) -> go.Figure:
    """How many tasks run where in A (rows) and in B (columns); off the diagonal stands what changed."""
    total = max(1, int(counts.to_numpy().sum()))
    share = counts / total * 100
    data = [
        {
            "type": "heatmap", "x": [f"{name} " for name in counts.columns], "y": counts.index.tolist(),
            "z": share.to_numpy().tolist(), "text": counts.to_numpy().tolist(), "texttemplate": "%{text}",
            "colorscale": [[0, "#f2f5f9"], [1, "#3182bd"]], "zmin": 0, "xgap": 2, "ygap": 2,
            "colorbar": {"title": {"text": "tasks (%)"}},
            "hovertemplate": "A: %{y}, B: %{x}: %{text} tasks, %{z:.1f} %<extra></extra>",
        }
    ]  # fmt: skip
    layout = {
        "height": 90 + 42 * len(counts.index),
        "xaxis": {"title": {"text": "device in B"}, "side": "top"},
        "yaxis": {"title": {"text": "device in A"}, "autorange": "reversed"},
        "margin": {"l": 100, "r": 12, "t": 60, "b": 12},
    }
    return figure(data, layout)
