"""Differences between A and B: a forest plot, the pair of values of every episode, and where tasks moved."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from iomt_core.charts.axes import marks, ticks
from iomt_core.charts.heat_table import heat_table
from iomt_core.charts.style import SERVER_COLOURS
from iomt_core.experiments.comparison.paired import Paired

# An axis ends at this multiple of the median change, so that one huge change does not flatten the others.
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
    if pair.metric.better == "none":
        return "other"
    return "better" if (pair.difference < 0) == (pair.metric.better == "lower") else "worse"


def forest(pairs: Sequence[Paired]) -> dict[str, Any]:
    """Data of a forest plot, one row for each metric: mean change from A to B in % of A's mean, with its 95 % interval.

    A metric that is 0 in A has no relative change; its row says so.
    """
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        at = None if pair.relative is None else _percent(pair.relative)
        ends = None if pair.relative_interval is None else [_percent(x) for x in pair.relative_interval]
        rows.append({"label": pair.metric.label, "at": at, "ends": ends, "kind": verdict(pair), "text": _text(pair)})
    reach = [max(abs(x) for x in (row["at"], *(row["ends"] or ()))) for row in rows if row["at"]]
    limit = min(max(reach), LONGEST * statistics.median(reach)) if reach else 1.0
    known = [x for row in rows if row["at"] is not None for x in (row["at"], *(row["ends"] or ()))]
    low, high = (max(-limit, min(known, default=0.0)), min(limit, max(known, default=0.0)))
    room = 0.06 * max(high - low, 1e-6)
    low, high = min(low, 0.0) - room, max(high, 0.0) + room
    positive = [t for t in ticks(max(high, -low)) if t]
    both_ways = [*(-t for t in reversed(positive) if -t >= low), 0, *(t for t in positive if t <= high)]
    words = "; ".join(f"{row['label']} {row['text']}" for row in rows)
    return {
        "rows": rows,
        "low": low,
        "high": high,
        "ticks": both_ways,
        "verdicts": {kind: VERDICTS[kind] for kind in VERDICTS if any(row["kind"] == kind for row in rows)},
        "axis": "change from A to B (% of A's mean), with 95 % interval",
        "axis_short": "change (% of A's mean)",
        "text": f"Relative change of every metric from A to B: {words}.",
    }


def _percent(x: float) -> float:
    return float(f"{100 * x:.6g}")


def _text(pair: Paired) -> str:
    if pair.same:
        return "±0"
    if pair.relative is None:
        return f"A is 0; B - A = {pair.metric.show_difference(pair.difference)}"
    text = f"{100 * pair.relative:+.3g} %"
    if pair.relative_interval is None:
        return text
    low, high = pair.relative_interval
    return f"{text} ({100 * low:+.3g} to {100 * high:+.3g})"


def episode_pairs(pair: Paired) -> dict[str, Any]:
    """A metric of every episode on both sides, joined where they are one episode; for the drawing."""
    sides = [[float(f"{x * pair.metric.factor:.6g}") for x in side] for side in (pair.a, pair.b)]
    values = [value for side in sides for value in side] or [0.0]
    pad = 0.08 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
    low, high = min(values) - pad, max(values) + pad
    return {
        "episodes": max(map(len, sides)),
        "sides": [
            {"name": name, "values": side, "colour": colour, "diamond": name == "B"}
            for name, side, colour in zip("AB", sides, (A_COLOUR, B_COLOUR), strict=True)
        ],
        "low": low,
        "high": high,
        "ticks": marks(low, high),
        "axis": pair.metric.axis_title,
        "unit": pair.metric.unit,
        "text": f"{pair.metric.axis_title} of every episode in A and in B; the numbers are in the table below.",
    }


def flow_map(counts: pd.DataFrame) -> str:
    """How many tasks run where in A (rows) and in B (columns); the cells off the diagonal are the changes."""
    rows, columns = [f"A: {name}" for name in counts.index], [f"B: {name}" for name in counts.columns]
    return heat_table(counts.to_numpy().tolist(), columns, rows, "tasks by their device in A and in B", digits=0)
