"""A heat map as an HTML table of numbers in coloured cells.

Screen readers read it as a table, and a page draws several in the time of one Plotly figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from iomt_core.charts.style import BOUND_COLOUR

# From pale to deep.
BLUES = ((234, 242, 250), (33, 113, 181))
ORANGES = ((253, 240, 230), (194, 80, 10))
BLACK, WHITE = "#000000", "#ffffff"  # one of them has a contrast of at least 4.5 to 1 on any colour
FRAME = "border-collapse:separate;border-spacing:1px;width:100%;font-size:12px;text-align:center;border:none"
HEAD = "border:none;font-weight:400;padding:1px 4px"


def heat_table(
    cells: Sequence[Sequence[float]],
    columns: Sequence[str],
    rows: Sequence[str],
    what: str,
    marked: int | None = None,
    digits: int = 3,
    good: bool = True,
    by_column: bool = False,
) -> str:
    """Larger values are darker: blue if `good`, else orange.

    cells: (rows, columns); NaN leaves a cell empty. what: meaning of the numbers, for screen readers. marked: row to outline.
    digits: after the point. by_column: scale colours within each column. Returns HTML.
    """
    values = np.array(cells, dtype=float).reshape(len(rows), len(columns))
    shade = _scaled(values, axis=0 if by_column else None)
    head = "".join(f'<th scope="col" style="{HEAD}">{escape(name)}</th>' for name in columns)
    body = []
    for n, name in enumerate(rows):
        outline = f"outline:3px solid {BOUND_COLOUR};outline-offset:-1px" if n == marked else ""
        row = "".join(_cell(value, part, digits, good) for value, part in zip(values[n], shade[n], strict=True))
        side = f'<th scope="row" style="{HEAD};text-align:right;white-space:nowrap">{escape(name)}</th>'
        body.append(f'<tr style="{outline}">{side}{row}</tr>')
    return (
        f'<div style="overflow-x:auto;padding:3px"><table class="heat" aria-label="{escape(what)}" style="{FRAME}">'
        f'<thead><tr><td style="border:none"></td>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _scaled(values: np.ndarray, axis: int | None) -> np.ndarray:
    """Values scaled to 0 (smallest) to 1 (largest); 0 where all are equal or NaN."""
    there = ~np.isnan(values)
    low = np.where(there, values, np.inf).min(axis=axis, keepdims=True, initial=np.inf)
    high = np.where(there, values, -np.inf).max(axis=axis, keepdims=True, initial=-np.inf)
    spread = np.where(high > low, high - low, 1.0)
    return np.where(there & np.isfinite(low), (np.where(there, values, 0.0) - low) / spread, 0.0)


def _cell(value: float, shade: float, digits: int, good: bool) -> str:
    if np.isnan(value):
        return '<td style="border:none"></td>'
    pale, deep = BLUES if good else ORANGES
    colour = [round(a + (b - a) * shade) for a, b in zip(pale, deep, strict=True)]
    back = _luminance(colour)
    ink = WHITE if 1.05 / (back + 0.05) > (back + 0.05) / 0.05 else BLACK
    return (
        f'<td style="border:none;padding:4px 2px;background:rgb{tuple(colour)};color:{ink}" '
        f'title="{value:.{digits + 2 if digits else 0}f}">{value:.{digits}f}</td>'
    )


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
