"""Inside a decision: values by strategy and task, attention, slopes, shares before and after scaling, regret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.style import BOUND_COLOUR, device_colour, device_name, figure
from iomt_core.twin.mixing import Mixing

MOST_CELLS = 300  # beyond, numbers in the cells would not be legible
# From the background of a page to what stands out; plotly's own names mean other colours in the browser.
BLUES = [[0.0, "#eaf2fa"], [1.0, "#2171b5"]]
ORANGES = [[0.0, "#fdf0e6"], [1.0, "#c2500a"]]


def heat_map(
    cells: Sequence[Sequence[float]],
    columns: Sequence[str],
    rows: Sequence[str],
    what: str,
    marked: int | None = None,
    digits: int = 3,
    good: bool = True,
    by_column: bool = False,
    x_title: str = "",
) -> go.Figure:
    """Numbers in cells, the larger the darker, blue if that is `good`, else orange; `marked` outlines a row.

    With `by_column` colours compare within a column only.
    """
    values = np.array(cells, dtype=float).reshape(len(rows), len(columns))
    colour = values
    if by_column and values.size:
        spread = np.ptp(values, axis=0)
        colour = (values - values.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    trace: dict[str, Any] = {
        "type": "heatmap", "z": _blank(colour), "customdata": _blank(values), "x": list(columns), "y": list(rows),
        "colorscale": BLUES if good else ORANGES, "showscale": False, "xgap": 1, "ygap": 1,
        "hovertemplate": f"%{{y}}, %{{x}}: {what} %{{customdata:.{digits + 2}f}}<extra></extra>",
    }  # fmt: skip
    if by_column:
        trace |= {"zmin": 0, "zmax": 1}
    if values.size <= MOST_CELLS:
        text = [["" if np.isnan(x) else f"{x:.{digits}f}" for x in row] for row in values]
        trace |= {"text": text, "texttemplate": "%{text}", "textfont": {"size": 11}}
    title = 22 if x_title else 0
    layout: dict[str, Any] = {
        "height": 40 + title + max(24, min(34, 560 // max(1, len(rows)))) * len(rows),
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False},
        "xaxis": {"side": "top", "title": {"text": x_title}, "type": "category", "showgrid": False},
        "margin": {"l": 84, "r": 8, "t": 32 + title, "b": 8},
    }
    if marked is not None:
        layout["shapes"] = [
            {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": marked - 0.5, "y1": marked + 0.5,
             "line": {"color": BOUND_COLOUR, "width": 3}}
        ]  # fmt: skip
    return figure([trace], layout)


def _blank(values: np.ndarray[Any, Any]) -> list[list[float | None]]:
    """As JSON takes it: nothing where there is no number."""
    return [[None if np.isnan(x) else float(x) for x in row] for row in values]


def by_strategy(
    cells: Sequence[Sequence[float]], tasks: Sequence[str], taken: int, what: str, good: bool = True
) -> go.Figure:
    """One row a strategy, one column a task of the user; the strategy taken is outlined."""
    devices = [device_name(k) for k in range(len(cells))]
    return heat_map(cells, tasks, devices, what, taken, good=good, by_column=True)


def attention(mixing: Mixing) -> go.Figure:
    """Â of (22): row i, how much agent i's weighted value takes from each agent."""
    assert mixing.attention is not None
    agents = [f"agent {n}" for n in range(1, len(mixing.agent_values) + 1)]
    return heat_map(mixing.attention.tolist(), agents, agents, "weight", digits=4, x_title="attends to")


def slopes(mixing: Mixing, user: int) -> go.Figure:
    """∂Q_tot/∂Q_i (25) of every agent; the selected user's is outlined, negative ones are red and hatched."""
    values = mixing.slopes.tolist()
    agents = [f"agent {n}" for n in range(1, len(values) + 1)]
    data = [
        {
            "type": "bar", "x": agents, "y": values, "text": [f"{v:.3f}" for v in values], "textposition": "auto",
            "marker": {
                "color": ["#0072b2" if v >= 0 else BOUND_COLOUR for v in values],
                "pattern": {"shape": ["" if v >= 0 else "/" for v in values]},
                "line": {"color": "#e69f00", "width": [3 if n == user - 1 else 0 for n in range(len(values))]},
            },
            "hovertemplate": "%{x}: %{y:.5f}<extra></extra>",
        }
    ]  # fmt: skip
    return figure(
        data, {"height": 280, "yaxis": {"title": {"text": "∂Q_tot/∂Q_i"}, "rangemode": "tozero"}, "showlegend": False}
    )


def share_bars(mine: pd.DataFrame, picked: int) -> go.Figure:
    """Asked (hatched) and granted shares (%) of each of one user's tasks, CPU on the left, bandwidth on the right."""
    names = [f"task {t}{' ◀' if t == picked else ''}" for t in mine["task"]]
    data = []
    for axis, kind in (("", "cpu"), ("2", "bandwidth")):
        for part, opacity, shape in (("asked", 0.55, "/"), ("granted", 1.0, "")):
            data.append(
                {
                    "type": "bar", "x": names, "y": (mine[f"{kind}_{part}"] * 100).tolist(),
                    "name": f"{kind if kind != 'cpu' else 'CPU'} {part}", "xaxis": f"x{axis}", "yaxis": f"y{axis}",
                    "marker": {
                        "color": [device_colour(k) for k in mine["choice"]], "opacity": opacity, "pattern": {"shape": shape},
                    },
                    "hovertemplate": "%{x}: %{y:.2f} %<extra>%{fullData.name}</extra>",
                }
            )  # fmt: skip
    layout = {
        "height": 300,
        "barmode": "group",
        "xaxis": {"domain": [0, 0.46], "title": {"text": "CPU: asked (hatched), granted"}},
        "xaxis2": {"domain": [0.54, 1], "title": {"text": "bandwidth: asked (hatched), granted"}},
        "yaxis": {"title": {"text": "share of its device (%)"}, "rangemode": "tozero"},
        "yaxis2": {"anchor": "x2", "rangemode": "tozero"},
        "showlegend": False,
        "margin": {"l": 56, "r": 8, "t": 8, "b": 48},
    }
    return figure(data, layout)


def regret_map(frame: pd.DataFrame, column: str) -> go.Figure:
    """Regret of every task of a step, users by tasks."""
    table = frame.pivot(index="user", columns="task", values=column)
    return heat_map(
        table.to_numpy().tolist(), [f"task {t}" for t in table.columns], [f"user {u}" for u in table.index], "regret",
        good=False,
    )  # fmt: skip
