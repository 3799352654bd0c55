"""Inside a decision: values by strategy and task, attention, slopes, shares before and after scaling, regret."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.heat_table import heat_table
from iomt_core.charts.style import BOUND_COLOUR, device_colour, device_name, figure
from iomt_core.twin.mixing import Mixing


def by_strategy(
    cells: Sequence[Sequence[float]], tasks: Sequence[str], taken: int, what: str, good: bool = True
) -> str:
    """One row a strategy, one column a task of the user; the strategy taken is outlined."""
    devices = [device_name(k) for k in range(len(cells))]
    return heat_table(cells, tasks, devices, what, taken, good=good, by_column=True)


def attention(mixing: Mixing) -> str:
    """Â of (22): row i, how much agent i's weighted value takes from each agent."""
    assert mixing.attention is not None
    agents = [f"agent {n}" for n in range(1, len(mixing.agent_values) + 1)]
    return heat_table(
        mixing.attention.tolist(), agents, agents, "attention weight of agent by agent attended to", digits=4
    )


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


def regret_map(frame: pd.DataFrame, column: str) -> str:
    """Regret of every task of a step, users by tasks."""
    table = frame.pivot(index="user", columns="task", values=column)
    columns, rows = [f"task {t}" for t in table.columns], [f"user {u}" for u in table.index]
    return heat_table(table.to_numpy().tolist(), columns, rows, "regret by user and task", good=False)
