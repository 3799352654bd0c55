"""Grouped bars in panels: the data of the drawing as JSON-ready values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iomt_core.charts.axes import marks

ROOM = 1.05  # length of an axis without a given end, relative to its longest bar


@dataclass(frozen=True)
class Bars:
    """Bars, with one entry for each group: value, colour, whether it is outlined (`marked`), and text at its end (`shown`)."""

    name: str
    values: Sequence[float]
    colours: Sequence[str]
    hatched: bool = False
    marked: Sequence[bool] = ()
    shown: Sequence[str] = ()


def panel(
    groups: Sequence[str], series: Sequence[Bars], axis: str, below: str, unit: str = "", end: float | None = None
) -> dict[str, Any]:
    """One panel: bars by group and series, each with a tooltip of group, series and value.

    axis: title with unit; below: text under the panel; unit: of the tooltips. A value that is not finite has no bar. Without
    `end` the axis reaches from 0, or the lowest value, to the highest.
    """
    finite = [v for bars in series for v in bars.values if math.isfinite(v)]
    low = ROOM * min(0.0, min(finite, default=0.0))
    high = end if end is not None else ROOM * max(0.0, max(finite, default=0.0))
    if high <= low:
        high = low + 1.0
    return {
        "groups": list(groups),
        "series": [
            [
                {
                    "value": float(f"{value:.6g}") if math.isfinite(value) else None,
                    "text": f"{group}, {bars.name}: {value:.4g}{unit}",
                    "colour": bars.colours[n],
                    "hatched": bars.hatched,
                    "marked": bool(bars.marked[n]) if bars.marked else False,
                    "shown": bars.shown[n] if bars.shown else "",
                }
                for n, (group, value) in enumerate(zip(groups, bars.values, strict=True))
            ]
            for bars in series
        ],
        "axis": axis,
        "below": below,
        "low": low,
        "high": high,
        "ticks": marks(low, high),
    }


def panels(*parts: dict[str, Any], about: str = "") -> dict[str, Any]:
    """A drawing of these panels; a screen reader reads `about` before them."""
    return {"panels": list(parts), "about": about}
