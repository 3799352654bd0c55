"""Heat maps with the number in every cell, drawn from the first row at the top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

INK = "#10141a"  # legible on every colour below
ORANGES = [[0.0, "#fdf6ef"], [1.0, "#f0924c"]]  # darker is worse
BLUES = [[0.0, "#f2f7fc"], [1.0, "#6baed6"]]  # darker is more
ROW = 34  # px, height of a row
STRONG, SOFT = ("#d62728", 3), ("#6b7280", 1.5)  # colour and width of outlines


def cells(
    shade: Sequence[Sequence[float]],
    span: tuple[float, float],
    columns: Sequence[str],
    rows: Sequence[str],
    text: Sequence[Sequence[str]],
    hover: Sequence[Sequence[str]],
    colours: Sequence[Sequence[Any]] = ORANGES,
    **more: Any,
) -> dict[str, Any]:
    """The trace of a heat map of (rows, columns).

    shade: the values behind the colours, palest at the start of `span`, darkest at its end; NaN leaves a cell empty. text: the
    number in each cell; hover: its tooltip. more: properties of the trace, such as `customdata`, which a click sends.
    """
    return {
        "type": "heatmap", "x": list(columns), "y": list(rows), "zmin": span[0], "zmax": span[1], "colorscale": colours,
        "z": [[None if math.isnan(value) else value for value in line] for line in shade],
        "showscale": False, "text": text, "texttemplate": "%{text}", "textfont": {"color": INK}, "hovertext": hover,
        "hovertemplate": "%{hovertext}<extra></extra>", "hoverongaps": False, "xgap": 2, "ygap": 2, **more,
    }  # fmt: skip


def layout(rows: int, across: str, down: str) -> dict[str, Any]:
    """Layout of a heat map with this number of rows; `across` and `down` are the axes' titles."""
    axis = {"type": "category", "showgrid": False, "showline": False, "ticks": "", "fixedrange": True}
    return {
        "height": 64 + ROW * rows,
        "margin": {"l": 8, "r": 8, "t": 56, "b": 8},
        "xaxis": {**axis, "title": {"text": across}, "side": "top"},
        "yaxis": {**axis, "title": {"text": down}, "autorange": "reversed"},
    }


def outline(row: int, first: int, last: int, look: tuple[str, float] = STRONG) -> dict[str, Any]:
    """The shape that outlines the cells of a row from column `first` to `last`, all from 0."""
    return {
        "type": "rect", "x0": first - 0.5, "x1": last + 0.5, "y0": row - 0.5, "y1": row + 0.5,
        "line": {"color": look[0], "width": look[1]},
    }  # fmt: skip
