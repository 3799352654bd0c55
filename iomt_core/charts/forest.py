"""Differences between A and B: a forest plot, the pair of values of every episode, and where tasks moved."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts import heat_map
from iomt_core.charts.figure import figure
from iomt_core.charts.style import SERVER_COLOURS
from iomt_core.experiments.comparison.paired import Paired, percent

# An axis ends at this multiple of the median change, so that one huge change does not flatten the others.
LONGEST = 6.0
LEAST_FLOW = 0.05  # of all tasks: a cell with fewer moved tasks than this never has the darkest colour
ROW = 52  # px, height of a row of the forest plot
A_COLOUR, B_COLOUR = SERVER_COLOURS[0], SERVER_COLOURS[1]
RETURNS = ("return", "return_gap")  # metrics that count what was not done, too
VERDICTS = {
    "better": "B better",
    "worse": "B worse",
    "other": "changed",
    "open": "not distinguishable from 0",
}
# Colour and symbol of a verdict; the symbols differ too, for readers who cannot tell the colours apart.
MARKS = {
    "better": (SERVER_COLOURS[2], "diamond"), "worse": (SERVER_COLOURS[4], "square"),
    "other": (SERVER_COLOURS[0], "triangle-up"), "open": ("#8a8f98", "circle-open"),
}  # fmt: skip


def verdict(pair: Paired, graded: bool = True, by: str = "cost") -> str:
    """A key of `VERDICTS`.

    Not `graded`: two wards in which better and worse mean nothing. by: the metric that the sides are compared by; if it is the
    return, all means of what was done are only changes.
    """
    if not pair.excludes_zero:
        return "open"
    if pair.metric.better == "none" or not graded or (by == "return" and pair.metric.name not in RETURNS):
        return "other"
    return "better" if (pair.difference < 0) == (pair.metric.better == "lower") else "worse"


def forest(pairs: Sequence[Paired], subtitle: str, graded: bool = True, by: str = "cost") -> go.Figure:
    """Mean change of every metric from A to B, % of A's mean, with its 95 % interval; a metric that is 0 in A has no mark.

    A mark beyond the axis stands at its end as an arrow; the numbers are below the names. `graded`, `by`: see
    `verdict`.
    """
    changed = [pair for pair in pairs if pair.relative is not None]
    low, high = _span(changed)
    # Intervals have a line of their own, so that a phone has room for the axis.
    words = {pair.metric.name: pair.change_words.replace(" (", "<br>(") for pair in pairs}
    names = {pair.metric.name: f"<b>{pair.metric.label}</b><br>{words[pair.metric.name]}" for pair in pairs}
    data = []
    for kind in VERDICTS:
        if mine := [pair for pair in changed if verdict(pair, graded, by) == kind]:
            data.append(_marks(mine, kind, [names[pair.metric.name] for pair in mine], low, high))
    room = 0.06 * (high - low)
    layout = {
        "height": 84 + ROW * len(pairs),
        "xaxis": {"title": {"text": "change (% of A's mean)"}, "range": [low - room, high + room], "zeroline": True},
        "yaxis": {
            "type": "category", "categoryorder": "array", "categoryarray": list(names.values()), "fixedrange": True,
            "range": [len(pairs) - 0.5, -0.5], "showgrid": False,
        },
        "margin": {"l": 8, "r": 12, "t": 40, "b": 44},
    }  # fmt: skip
    changes = "; ".join(f"{pair.metric.label} {pair.change_words}" for pair in pairs)
    alt = f"Relative change of every metric from A to B with its 95 % interval: {changes}."
    return figure(data, layout, "Change from A to B, with 95 % intervals", alt, subtitle)


def _marks(pairs: Sequence[Paired], kind: str, rows: Sequence[str], low: float, high: float) -> dict[str, Any]:
    """The trace of the metrics of one verdict; marks and intervals end at the ends of the axis."""
    colour, symbol = MARKS[kind]
    changes = [100 * (pair.relative or 0.0) for pair in pairs]
    ends = [
        [100 * end for end in pair.relative_interval or (change / 100,) * 2]
        for pair, change in zip(pairs, changes, strict=True)
    ]
    x, left, right = (np.clip(values, low, high) for values in (changes, [e[0] for e in ends], [e[1] for e in ends]))
    symbols = ["triangle-right" if c > high else "triangle-left" if c < low else symbol for c in changes]
    return {
        "type": "scatter", "mode": "markers", "name": VERDICTS[kind], "x": x.tolist(), "y": list(rows),
        "error_x": {
            "type": "data", "symmetric": False, "array": (right - x).tolist(), "arrayminus": (x - left).tolist(),
            "thickness": 2.5, "width": 6, "color": colour,
        },
        "marker": {"color": colour, "symbol": symbols, "size": 12, "line": {"width": 2.5, "color": colour}},
        "hovertext": [_hover(pair) for pair in pairs], "hovertemplate": "%{hovertext}<extra></extra>",
    }  # fmt: skip


def _span(pairs: Sequence[Paired]) -> tuple[float, float]:
    """Ends of the axis, in %: 0 and all marks and intervals, as far as `LONGEST` allows."""
    every = [[100 * x for x in (pair.relative or 0.0, *(pair.relative_interval or ()))] for pair in pairs]
    reach = [far for values in every if (far := max(map(abs, values)))]
    limit = min(max(reach), LONGEST * statistics.median(reach)) if reach else 1.0
    ends = [x for values in every for x in values]
    low, high = max(-limit, min(ends, default=0.0)), min(limit, max(ends, default=0.0))
    return min(low, -0.05 * limit), max(high, 0.05 * limit)


def _hover(pair: Paired) -> str:
    metric = pair.metric
    lines = [
        f"<b>{metric.label}</b>",
        f"A {metric.show(pair.mean_a)}, B {metric.show(pair.mean_b)}",
        f"B - A: {metric.show_difference(pair.difference)}",
    ]
    if pair.interval is not None:
        lines[-1] += f" ({pair.interval_text})"
    if pair.relative is not None:
        lines.append(f"{percent(pair.relative)} of A's mean")
    return "<br>".join(lines)


def episode_pairs(pair: Paired, subtitle: str) -> go.Figure:
    """A metric of every episode in A (circle) and in B (diamond), joined where they are one episode."""
    metric = pair.metric
    joins: dict[str, list[float | None]] = {"x": [], "y": []}
    for n, (a, b) in enumerate(zip(pair.a, pair.b, strict=True), 1):
        joins["x"] += [n, n, None]
        joins["y"] += [a * metric.factor, b * metric.factor, None]
    data: list[dict[str, object]] = [
        {"type": "scatter", **joins, "mode": "lines", "line": {"color": "#8a8f98", "width": 1.5}, "hoverinfo": "skip",
         "showlegend": False}
    ]  # fmt: skip
    for name, values, colour, symbol in (("A", pair.a, A_COLOUR, "circle"), ("B", pair.b, B_COLOUR, "diamond")):
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": name, "x": list(range(1, len(values) + 1)),
                "y": [value * metric.factor for value in values],
                "marker": {"color": colour, "symbol": symbol, "size": 10},
                "hovertemplate": f"{name}: %{{y:.5g}} {metric.unit}<extra></extra>",
            }
        )  # fmt: skip
    layout = {
        "hovermode": "x unified",
        "xaxis": {
            "title": {"text": "episode"}, "dtick": max(1, -(-len(pair.a) // 12)), "unifiedhovertitle": {"text": "episode %{x}"},
        },
        "yaxis": {"title": {"text": metric.axis_title}},
    }  # fmt: skip
    alt = f"{metric.axis_title} of every episode in A and in B; the numbers are in the table below."
    return figure(data, layout, f"{metric.label} of every episode", alt, subtitle)


def flow_map(counts: pd.DataFrame, subtitle: str) -> go.Figure:
    """How many tasks run where in A (rows) and in B (columns); only the changes, off the diagonal, are coloured."""
    rows, columns, values = list(map(str, counts.index)), list(map(str, counts.columns)), counts.to_numpy()
    alike = np.equal.outer(rows, columns)
    moved = np.where(alike, 0, values)
    hover = [
        [f"{n} tasks<br>A: {a}, B: {b}" + "<br>decided alike" * (a == b) for b, n in zip(columns, line, strict=True)]
        for a, line in zip(rows, values, strict=True)
    ]
    span = (0.0, float(max(1.0, moved.max(initial=0), LEAST_FLOW * values.sum())))
    text = [[str(n) for n in line] for line in values]
    trace = heat_map.cells(
        moved.tolist(), span, columns, rows, text, hover, heat_map.BLUES, meta={"values": values.tolist()}
    )
    layout = heat_map.layout(len(rows), "device in B", "device in A")
    layout["shapes"] = [heat_map.outline(n, n, n, heat_map.SOFT) for n in range(min(len(rows), len(columns)))]
    alt = f"Number of tasks by their device in A and in B; {int(moved.sum())} of {int(values.sum())} are on different devices."
    return figure([trace], layout, "Where tasks run in A and in B", alt, subtitle)
