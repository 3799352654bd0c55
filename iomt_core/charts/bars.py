"""Grouped bars, the figure that most charts of one step are."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR

FAINT = 0.55  # opacity of the bars beside a marked one
ROOM = 1.12  # length of the value axis relative to the longest bar, so that a label has room above it
FEW = 9  # groups whose names stand upright, a word a line
MOST_WORDS = 40  # bars that an alternative text lists


@dataclass(frozen=True)
class Bars:
    """Bars of one series, with one entry for each group.

    marked: whether a bar is emphasised; shown: text at its end; points: what a click on it sends, see `plotly_chart`.
    """

    name: str
    values: Sequence[float]
    colours: Sequence[str]
    hatched: bool = False
    marked: Sequence[bool] = ()
    shown: Sequence[str] = ()
    points: Sequence[Any] = ()


@dataclass(frozen=True)
class Line:
    """A dashed line across all bars at a value; its name is in the legend."""

    name: str
    value: float

    @property
    def shape(self) -> dict[str, Any]:
        """The line as a shape of a layout."""
        return {
            "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": self.value, "y1": self.value, "showlegend": True,
            "name": self.name, "line": {"color": BOUND_COLOUR, "width": 2, "dash": "dash"},
        }  # fmt: skip


def grouped_bars(
    groups: Sequence[str], series: Sequence[Bars], title: str, axis: str, x_axis: str = "", subtitle: str = "",
    unit: str = "", end: float | None = None, line: Line | None = None,
) -> go.Figure:  # fmt: skip
    """Vertical bars by group and series; hover shows group, series, exact value and unit.

    axis: title of the value axis with its unit; x_axis: what the groups are; unit: of the values in hover and alternative text.
    line: a value to compare all bars with. A value that is not finite has no bar. Without `end` the axis reaches from 0, or the
    lowest value, to the highest.
    """
    marked = {n for bars in series for n, mark in enumerate(bars.marked) if mark}
    names = [html.escape(name, quote=False) for name in groups]
    finite = [value for bars in series for value in bars.values if math.isfinite(value)]
    finite += [line.value] if line else []
    low, high = ROOM * min(0.0, min(finite, default=0.0)), ROOM * max(0.0, max(finite, default=0.0))
    few = len(names) <= FEW
    lines = [name.replace(" ", "<br>") if few else name for name in names]
    ticks = [f"<b>{name}</b>" if n in marked else name for n, name in enumerate(lines)]
    layout = {
        "barmode": "group",
        "showlegend": len(series) > 1 or line is not None,
        "shapes": [line.shape] if line else [],
        "xaxis": {
            "title": {"text": x_axis},
            "type": "category",
            "tickvals": names,
            "ticktext": ticks,
            "showgrid": False,
            **({"tickangle": 0} if few else {}),
        },
        "yaxis": {"title": {"text": axis}, "range": [low, max(high, low + 1e-12) if end is None else end]},
    }
    traces = [{**_trace(bars, names, unit, marked), "showlegend": len(series) > 1} for bars in series]
    words = f"{title}. {axis}: {_words(groups, series, unit)}.{f' The line is the {line.name}.' if line else ''}"
    return figure(traces, layout, title, words, subtitle)


def _trace(bars: Bars, names: Sequence[str], unit: str, marked: Set[int]) -> dict[str, Any]:
    name = html.escape(bars.name, quote=False)
    marker: dict[str, Any] = {"color": list(bars.colours)}
    if bars.hatched:
        marker["pattern"] = {"shape": "/", "size": 6, "solidity": 0.35, "fillmode": "overlay", "fgcolor": "#ffffff"}
    if marked:
        marker["opacity"] = [1.0 if n in marked else FAINT for n in range(len(names))]
    return {
        "type": "bar",
        "name": name,
        "x": list(names),
        "y": [float(f"{value:.6g}") if math.isfinite(value) else None for value in bars.values],
        "marker": marker,
        "text": list(bars.shown) or None,
        "textposition": "outside",
        "textangle": 0,
        "cliponaxis": False,
        "hovertext": [_word(group, name, value, unit) for group, value in zip(names, bars.values, strict=True)],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": list(bars.points) or None,
    }


def _word(group: str, name: str, value: float, unit: str) -> str:
    return f"{group}, {name}: {value:.4g}{unit and ' '}{unit}"


def _words(groups: Sequence[str], series: Sequence[Bars], unit: str) -> str:
    """The bars in words; only the ends of their range if they are many."""
    if len(groups) * len(series) <= MOST_WORDS:
        return "; ".join(
            _word(group, bars.name, value, unit)
            for bars in series
            for group, value in zip(groups, bars.values, strict=True)
        )
    return "; ".join(
        f"{bars.name} from {min(bars.values):.4g} to {max(bars.values):.4g} {unit}".strip() for bars in series
    )
