"""Results of a sweep, finished or running: curves with 95 % bands over one parameter, heat maps over two.

A running sweep has the same traces as a finished one, with fewer points, so that a chart is updated in place.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts import heat_map as heat
from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, DASHES, SERVER_COLOURS, SYMBOLS
from iomt_core.experiments.sweeps.spec import Axis, is_whole
from iomt_core.metrics import METRICS

MOST_NUMBERS = 120  # cells of a heat map up to which the numbers are printed
MOST_TICKS = 12
HEIGHT = 360
LEGEND_ROW = 20  # px
LEAST_SPAN = 0.2  # of the largest value: a heat map's colours differ no more than its values mean
BOUND, RETURN_BOUND = "certified lower bound", "certified bound of the return"


def look(number: int) -> tuple[str, str, str]:
    """Colour, dash and symbol of the policy of this number, from 0."""
    return SERVER_COLOURS[number % len(SERVER_COLOURS)], DASHES[number % len(DASHES)], SYMBOLS[number % len(SYMBOLS)]


def curves(
    table: pd.DataFrame, axis: Axis, name: str, labels: Mapping[str, str], subtitle: str = "", log_y: bool = False
) -> go.Figure:
    """A metric over an axis, one line for each policy with its 95 % interval as a band.

    `table` is `sweeps.run.results_table` of one axis, or one value's rows of the other; `labels` names the policies, in the
    order of their colours. Where a policy could not decide its line is broken. Cost, return and their gaps show the certified
    bound too. Open marks are points at which not everything was done, see `partial`.
    """
    shown = METRICS[name]
    data: list[dict[str, Any]] = []
    for number, (policy, label) in enumerate(labels.items()):
        rows = table[table["policy"] == policy].sort_values(axis.parameter)
        colour, dash, symbol = look(number)
        x = [axis.shown(v) for v in rows[axis.parameter]]
        text = html.escape(label, quote=False)
        middle, low, high = (_in_unit(rows[name + end], shown.factor) for end in ("", "_low", "_high"))
        data.append(
            {
                "type": "scatter", **_bands(x, low, high), "fill": "toself", "fillcolor": _translucent(colour), "mode": "lines",
                "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": policy,
            }
        )  # fmt: skip
        left_out = partial(rows)
        words = [
            _interval(a, b, shown.unit) + f"<br>{note}" * bool(note)
            for a, b, note in zip(low, high, (_left_out(row) for row in rows.to_dict("records")), strict=True)
        ]
        data.append(
            {
                "type": "scatter", "x": x, "y": middle, "customdata": words, "name": text, "legendgroup": policy,
                "mode": "lines+markers", "line": {"color": colour, "dash": dash, "width": 2},
                "marker": {"color": colour, "symbol": [f"{symbol}{'-open' * part}" for part in left_out], "size": 8},
                "hovertemplate": f"{text}: %{{y:.4g}} {shown.unit}%{{customdata}}<extra></extra>",
            }
        )  # fmt: skip
    data += _bound(table, axis, name)
    layout = {
        "height": HEIGHT + LEGEND_ROW * (len(labels) // 2),
        "hovermode": "x unified",
        "uirevision": f"{name} {log_y}",
        "xaxis": {"title": {"text": axis.title}, **_axis_range(axis)},
        "yaxis": {
            "title": {"text": shown.axis_title},
            "rangemode": "normal" if "utility" in name else "nonnegative",
            **({"type": "log", "dtick": "D2", "tickformat": ",~g"} if log_y else {}),
        },
    }  # fmt: skip
    alt = f"{shown.axis_title} over {axis.title}, a line for each policy with its 95 % interval: {', '.join(labels.values())}."
    return figure(data, layout, f"{shown.label} over {axis.title}", alt, subtitle)


def heat_map(
    table: pd.DataFrame, axes: Sequence[Axis], name: str, policy: str, span: tuple[float, float], subtitle: str = ""
) -> go.Figure:
    """One policy's metric over two axes, the first to the right; colours run over `span`, see `colour_span`.

    Cells show their numbers while they are few, and "n/a" where the policy could not decide.
    """
    shown, (right, up) = METRICS[name], axes
    rows = table[table["policy"] == policy]
    known = {
        (a, b): math.nan if state == "unavailable" else value * shown.factor
        for a, b, value, state in zip(
            rows[right.parameter], rows[up.parameter], rows[name], rows["state"], strict=True
        )
    }  # fmt: skip
    grid = [[known.get((a, b)) for a in right.values] for b in up.values]
    numbers = len(right.values) * len(up.values) <= MOST_NUMBERS
    text = [["" if v is None or not numbers else "n/a" if math.isnan(v) else f"{v:.3g}" for v in line] for line in grid]
    columns, names = ([f"{axis.shown(v):.4g}" for v in axis.values] for axis in (right, up))
    end = f"<br>{shown.label} "
    hover = [
        [
            f"{right.title} {a}<br>{up.title} {b}{end}{v or 0:.4g} {shown.unit}"
            for a, v in zip(columns, row, strict=True)
        ]
        for b, row in zip(names, grid, strict=True)
    ]
    trace = heat.cells(
        [[math.nan if v is None else v for v in line] for line in grid], span, columns, names, text, hover,
        heat.ORANGES if shown.better == "lower" else heat.BLUES, showscale=True,
        colorbar={"title": {"text": shown.axis_title, "side": "right"}, "thickness": 14},
    )  # fmt: skip
    axis = {"type": "category", "showgrid": False}
    layout = {
        "height": HEIGHT,
        "uirevision": name,
        "xaxis": {**axis, "title": {"text": right.title}},
        "yaxis": {**axis, "title": {"text": up.title}},
        "margin": {"l": 56, "r": 12, "t": 12, "b": 44},
    }
    title = f"{shown.label} over {right.title} and {up.title}"
    return figure([trace], layout, title, f"{title}; colours and numbers are in {shown.axis_title}.", subtitle)


def colour_span(table: pd.DataFrame, name: str) -> tuple[float, float]:
    """Ends of the colours: smallest and largest value of any policy, so that maps of several policies can be compared.

    If they are closer than `LEAST_SPAN` of the largest, the span is widened: nearly equal values have nearly equal colours.
    """
    values = table[name].dropna() * METRICS[name].factor
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return min(low, high - LEAST_SPAN * abs(high)), high or 1.0


def bound_line(table: pd.DataFrame, axis: Axis, column: str = "lower_bound") -> tuple[list[float], list[float]]:
    """The certified bound over an axis, of the policy that played most steps: the bound of the cost covers steps played."""
    known = table.dropna(subset=[column]).sort_values("steps")
    rows = known.groupby(axis.parameter, sort=True).last()
    return [axis.shown(float(v)) for v in rows.index], [float(v) for v in rows[column]]


def partial(table: pd.DataFrame) -> list[bool]:
    """Of each point, whether episodes ended early there or tasks were skipped: cost, delay and energy leave that out."""
    return ((table["episodes_ended_by_battery"] > 0) | (table["skipped_share"] > 0)).tolist()


def _left_out(row: Mapping[Any, Any]) -> str:
    """What was not done at a point, in words; empty if everything was."""
    ended, skipped = row["episodes_ended_by_battery"], row["skipped_share"]
    parts = [f"{ended:.0f} of {row['episodes']:.0f} episodes ended early"] if ended > 0 else []
    return ", ".join([*parts, *([f"{100 * skipped:.2g} % of the tasks skipped"] if skipped > 0 else [])])


def _axis_range(axis: Axis) -> dict[str, Any]:
    """Range and ticks of the whole axis, also while only some points are known."""
    ends, found = [axis.shown(axis.values[0]), axis.shown(axis.values[-1])], dict[str, Any](type="linear")
    if axis.spacing == "logarithmic":
        ends, found = [math.log10(end) for end in ends], {"type": "log", "dtick": "D2", "tickformat": ",~g"}
    if is_whole(axis.parameter) and len(axis.values) <= MOST_TICKS:  # there are no half servers
        found["tickvals"] = [axis.shown(value) for value in axis.values]
    room = 0.04 * (ends[1] - ends[0]) or 0.5
    return {**found, "range": [ends[0] - room, ends[1] + room]}


BOUND_COLUMNS = {"cost": "lower_bound", "gap": "lower_bound", "return": "return_bound", "return_gap": "return_bound"}


def _bound(table: pd.DataFrame, axis: Axis, name: str) -> list[dict[str, Any]]:
    """The bound in the chart of a metric: that of the cost or the return, zero for their gaps, nothing for other metrics."""
    if name not in BOUND_COLUMNS:
        return []
    x, y = bound_line(table, axis, BOUND_COLUMNS[name])
    label = BOUND if BOUND_COLUMNS[name] == "lower_bound" else RETURN_BOUND
    return [
        {
            "type": "scatter", "x": x, "y": [0.0] * len(x) if name.endswith("gap") else y, "mode": "lines", "name": label,
            "line": {"color": BOUND_COLOUR, "dash": "longdash", "width": 1.5},
            "hovertemplate": f"{label}: %{{y:.4g}}<extra></extra>",
        }
    ]  # fmt: skip


def _in_unit(column: pd.Series[float], factor: float) -> list[float | None]:
    return [None if math.isnan(v) else float(v) * factor for v in column]


def _bands(
    x: list[float], low: list[float | None], high: list[float | None]
) -> dict[str, list[float | None]]:  # fmt: skip
    """Polygons around stretches of neighbouring points that have an interval, one after another with gaps between them."""
    found: dict[str, list[float | None]] = {"x": [], "y": []}
    run: list[tuple[float, float, float]] = []
    for point in (*zip(x, low, high, strict=True), (0.0, None, None)):
        if point[1] is not None and point[2] is not None:
            run.append((point[0], point[1], point[2]))
        elif run:
            back = run[::-1]
            found["x"] += [*(p[0] for p in (*run, *back)), None]
            found["y"] += [*(p[2] for p in run), *(p[1] for p in back), None]
            run = []
    return found


def _interval(low: float | None, high: float | None, unit: str) -> str:
    return "" if low is None or high is None else f" ({low:.4g} to {high:.4g} {unit})".replace(" )", ")")


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
