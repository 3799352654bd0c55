"""One step's tasks: where their time goes, and one task's alternatives."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.style import KIND_COLOURS, device_colour, device_name, figure


def delay_split(table: pd.DataFrame, deadline: float) -> go.Figure:
    """Delay of each task of a step (ms), split into transmission and execution; custom data (step, user, task)."""
    t = table.sort_values("delay_s", ascending=False)
    names = [f"{u}.{j}" for u, j in zip(t["user"], t["task"], strict=True)]
    data = t[["step", "user", "task"]].to_numpy().tolist()
    where = [device_name(c) for c in t["choice"]]
    common: dict[str, Any] = {"type": "bar", "x": names, "customdata": data}
    bars = [
        {
            **common,
            "y": (t["delay_exe_s"] * 1e3).tolist(),
            "name": "execution (1)",
            "marker": {"color": [device_colour(c) for c in t["choice"]]},
            "text": where,
            "textposition": "none",
            "hovertemplate": "task %{x} on %{text}: execution %{y:.3g} ms<extra></extra>",
        },
        {
            **common,
            "y": (t["delay_tx_s"] * 1e3).tolist(),
            "name": "transmission (7)",
            "marker": {"color": "#e9ecef", "line": {"color": "#333", "width": 1}, "pattern": {"shape": "x", "fgcolor": "#333"}},
            "text": where,
            "textposition": "none",
            "hovertemplate": "task %{x} on %{text}: transmission %{y:.3g} ms<extra></extra>",
        },
    ]
    longest = float(t["delay_s"].max()) if len(t) else 0.0
    line = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": deadline * 1e3, "y1": deadline * 1e3}
    layout: dict[str, Any] = {
        "height": 300,
        "barmode": "stack",
        "clickmode": "event+select",
        "xaxis": {"title": {"text": "task (user.task), slowest first"}, "type": "category"},
        "yaxis": {"title": {"text": "delay (ms)"}},
        "margin": {"l": 56, "r": 12, "t": 28, "b": 60},
    }
    if longest > 0.5 * deadline:
        layout["shapes"] = [{**line, "line": {"color": "#d62728", "dash": "dot"}}]
        layout["annotations"] = [
            {"x": 1, "xref": "paper", "y": deadline * 1e3, "text": "deadline", "showarrow": False, "yanchor": "bottom"}
        ]
    return figure(bars, layout)


def kind_costs(table: pd.DataFrame) -> go.Figure:
    """Mean cost of each task kind, with its number of tasks."""
    groups = table.groupby("kind", observed=True).agg(cost=("cost", "mean"), tasks=("cost", "size"))
    colours = [KIND_COLOURS[n % len(KIND_COLOURS)] for n in range(len(groups))]
    data = [
        {
            "type": "bar", "x": groups.index.astype(str).tolist(), "y": groups["cost"].tolist(), "marker": {"color": colours},
            "text": [f"{n} tasks" for n in groups["tasks"]], "hovertemplate": "%{x}: mean cost %{y:.4f}<extra></extra>",
        }
    ]  # fmt: skip
    return figure(data, {"height": 300, "yaxis": {"title": {"text": "mean task cost"}}, "xaxis": {"title": {"text": "task kind"}}})


def alternatives(frame: pd.DataFrame) -> go.Figure:
    """Delay (ms) and energy (µJ) of one task under each of its K + 1 alternatives; the chosen one is outlined."""
    devices = frame["device"].tolist()
    line = {"width": [3 if c else 0 for c in frame["chosen"]], "color": "#d62728"}
    colours = [device_colour(c) for c in frame["choice"]]
    bars = [
        {
            "type": "bar", "x": devices, "y": (frame["delay_s"] * 1e3).tolist(), "name": "delay", "offsetgroup": "1",
            "marker": {"color": colours, "line": line}, "hovertemplate": "%{x}: %{y:.4g} ms<extra></extra>",
        },
        {
            "type": "bar", "x": devices, "y": (frame["energy_j"] * 1e6).tolist(), "name": "energy", "yaxis": "y2",
            "offsetgroup": "2", "hovertemplate": "%{x}: %{y:.4g} µJ<extra></extra>",
            "marker": {"color": colours, "opacity": 0.6, "line": line, "pattern": {"shape": "\\"}},
        },
    ]  # fmt: skip
    layout = {
        "height": 260,
        "barmode": "group",
        "yaxis": {"title": {"text": "delay (ms)"}},
        "yaxis2": {"title": {"text": "energy (µJ), hatched"}, "overlaying": "y", "side": "right", "showgrid": False},
        "margin": {"l": 52, "r": 52, "t": 8, "b": 36},
        "showlegend": False,
    }
    return figure(bars, layout)
