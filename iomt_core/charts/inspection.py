"""One decision in detail: values and costs by device and task, attention, derivatives, requested and granted shares, regret."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts import heat_map
from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, SERVER_COLOURS, device_colour
from iomt_core.metrics import TASK
from iomt_core.model.snapshot import device_name
from iomt_core.twin.mixing import Mixing
from iomt_core.twin.northbound import place_name

Point = tuple[int, int, int]  # step, user, task, from 1

# Colours show distances in cost: full colour at this share of the step's mean task cost. A difference of 1 % stays pale.
FULL = 0.5


def by_device(
    values: Sequence[Sequence[float]], points: Sequence[Point], task: int, numbers: Sequence[int], chosen: int,
    full: float, expected: bool, subtitle: str,
) -> go.Figure:  # fmt: skip
    """What the network expects of each of a user's tasks, or what each task truly costs, for every device of one task.

    values: Q-values if `expected`, else costs, devices by tasks; points: the tasks of the columns; task: the task that is
    decided; numbers: `Scenario.device_numbers`, of the rows; chosen: the row to outline. Colours show how much worse a value
    is than the column's best; darkest at `full`.
    """
    table = np.array(values, dtype=float)
    worse = table.max(0) - table if expected else table - table.min(0)
    devices = [device_name(n) for n in numbers]
    names = [f"{'▶ ' if point[2] == task else ''}{point[2]}" for point in points]
    what = "expected value" if expected else "true cost"
    hover = [
        [
            f"task {task} on {device}<br>{what} of task {point[2]}: {value:.5f}<br>"
            + (f"{far:.5f} worse than the best device" if far else "best device for this task")
            for point, value, far in zip(points, line, distance, strict=True)
        ]
        for device, line, distance in zip(devices, table, worse, strict=True)
    ]
    trace = heat_map.cells(
        worse.tolist(), (0.0, full), names, devices, [[f"{v:.3f}" for v in line] for line in table], hover,
        customdata=[points] * len(devices), meta={"values": table.tolist()},
    )  # fmt: skip
    layout = heat_map.layout(len(devices), f"task of user {points[0][1]}", f"task {task} on")
    layout["shapes"] = [heat_map.outline(chosen, 0, len(points) - 1)]
    title = (
        "What the network expects: value of each task"
        if expected
        else "What is true: cost of each task, computed by the model"
    )
    alt = f"{title}, for task {task} on each device; {devices[chosen]} is chosen."
    return figure([trace], layout, title, alt, subtitle)


def attention(mixing: Mixing, user: int, subtitle: str) -> go.Figure:
    """Attention weights Â of (22): row i holds the weights that agent i gives; even attention has half the colour."""
    assert mixing.attention is not None
    weights = mixing.attention.tolist()
    names = [str(n) for n in mixing.users]
    hover = [
        [
            f"agent {a} gives agent {b} the weight {w:.4f}<br>even attention: {1 / len(weights):.4f}"
            for b, w in zip(names, line, strict=True)
        ]
        for a, line in zip(names, weights, strict=True)
    ]
    text = [[f"{w:.{4 if len(weights) <= 10 else 3}f}" for w in line] for line in weights]
    trace = heat_map.cells(weights, (0.0, 2 / len(weights)), names, names, text, hover, heat_map.BLUES)
    layout = heat_map.layout(len(weights), "agent that is attended to", "agent")
    layout["shapes"] = [heat_map.outline(mixing.users.index(user), 0, len(weights) - 1)]
    title = "Attention: how much weight each agent gives to every agent"
    alt = f"{title}; agent {user} is outlined. The numbers are in the table below."
    return figure([trace], layout, title, alt, subtitle)


def slopes(mixing: Mixing, user: int, subtitle: str) -> go.Figure:
    """Bars of ∂Q_tot/∂Q_i (25) of every agent; the selected user's bar is emphasised, negative bars are red and hatched."""
    values = mixing.slopes.tolist()
    names, marked = [str(n) for n in mixing.users], [n == user for n in mixing.users]
    colours = [SERVER_COLOURS[0] if v >= 0 else BOUND_COLOUR for v in values]
    bars = Bars("weight", values, colours, min(values) < 0, marked, [f"{v:.3f}" for v in values])
    title = "Weight: by how much the team's value grows with an agent's own value"
    return grouped_bars(names, [bars], title, "weight of the agent's value", "agent", subtitle)


def share_bars(mine: pd.DataFrame, kind: str, task: int, step: int, subtitle: str) -> go.Figure:
    """Requested (hatched) and granted shares of one user's tasks, % of their device; `task` is emphasised.

    mine: `northbound_inspect.grants` of one user; kind: "cpu" or "bandwidth". A click on a bar sends its task.
    """
    names, colours = [str(t) for t in mine["task"]], [device_colour(max(0, k)) for k in mine["choice"]]
    marked = [t == task for t in mine["task"]]
    points = [(step, int(i), int(j)) for i, j in zip(mine["user"], mine["task"], strict=True)]
    series = [
        Bars(name, (mine[f"{kind}_{name}"] * 100).tolist(), colours, name == "requested", marked, points=points)
        for name in ("requested", "granted")
    ]
    what = "CPU" if kind == "cpu" else "Bandwidth"
    title = f"{what}: share requested (hatched) and granted"
    return grouped_bars(
        names, series, title, f"{what} (% of its device)", f"task of user {points[0][1]}", subtitle, "%"
    )


def regret_map(frame: pd.DataFrame, column: str, picked: Point, full: float, title: str, subtitle: str) -> go.Figure:
    """Regret of every task of a step, users by tasks; the selected task is outlined. Darkest at `full`, pale at 0 and below."""
    table = frame.pivot(index="user", columns="task", values=column)
    tasks, users = [int(n) for n in table.columns], [int(n) for n in table.index]
    chosen, best = ([place_name(int(k)) for k in frame[name]] for name in ("choice", "best"))
    words = [f"chosen: {a}, best alone: {b}" for a, b in zip(chosen, best, strict=True)]
    devices = dict(zip(zip(frame["user"], frame["task"], strict=True), words, strict=True))
    values = table.to_numpy()
    text = [["" if np.isnan(v) else "0" if abs(v) < 5e-4 else f"{v:.3f}" for v in line] for line in values]
    hover = [
        [f"user {i}, task {j}: regret {v:.5f}<br>{devices.get((i, j), '')}" for j, v in zip(tasks, line, strict=True)]
        for i, line in zip(users, values, strict=True)
    ]
    step = picked[0]
    points = [[(step, i, j) for j in tasks] for i in users]
    trace = heat_map.cells(
        values.tolist(), (0.0, full), [str(n) for n in tasks], [str(n) for n in users], text, hover, customdata=points
    )
    layout = heat_map.layout(len(users), "task", "user")
    column_of = tasks.index(picked[2])
    layout["shapes"] = [heat_map.outline(users.index(picked[1]), column_of, column_of)]
    worst = frame.sort_values(column).iloc[-1]
    alt = (
        f"{title} in step {step}, users by tasks. Largest: user {worst['user']:.0f}, task {worst['task']:.0f}, "
        f"{TASK['cost'].show(float(worst[column]))}."
    )
    return figure([trace], layout, title, alt, subtitle)
