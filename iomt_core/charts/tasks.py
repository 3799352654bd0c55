"""The tasks of one step: execution and transmission delay, and the alternatives of one task."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, KIND_COLOURS, device_colour
from iomt_core.metrics import TASK, Metric, three_digits
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record

MOST_NAMED = 90  # tasks that have their name below the bar
TRANSMISSION = "#4b5563"
LIGHT_HATCH = {"shape": "/", "size": 5, "solidity": 0.3, "fillmode": "overlay", "fgcolor": "#ffffff"}


def slowest_first(record: Record, row: int) -> pd.DataFrame:
    """The rows of `Record.table` of one step, slowest task first, with the device's name and delays in milliseconds."""
    table = record.select(slice(row, row + 1)).table().sort_values("delay_s", ascending=False, kind="stable")
    ms = {name: table[f"{name}_s"] * TASK[f"{name}_s"].factor for name in ("delay", "delay_exe", "delay_tx")}
    return table.assign(device=[device_name(k) for k in table["choice"].tolist()], **ms)


def delay_bars(
    record: Record, row: int, picked: tuple[int, int, int] | None = None, subtitle: str = ""
) -> go.Figure:  # fmt: skip
    """Delay of every task of one step, ms, slowest first, split into execution and transmission; `picked` is outlined.

    A click on a bar sends the task's (step, user, task).
    """
    table = slowest_first(record, row)
    tasks: list[dict[Any, Any]] = table.to_dict("records")
    for task in tasks:
        task["name"], task["point"] = f"{task['user']}.{task['task']}", (task["step"], task["user"], task["task"])
        task["words"] = (
            f"task {task['name']} on {task['device']}: {task['delay']:.4g} ms<br>execution {task['delay_exe']:.4g} ms, "
            f"transmission {task['delay_tx']:.4g} ms" + "<br>later than the deadline" * bool(task["deadline_missed"])
        )
        task["outline"] = 3 if task["point"] == picked else 0
    data = []
    for choice in sorted({task["choice"] for task in tasks}):
        here, marker = [t for t in tasks if t["choice"] == choice], {"color": device_colour(choice)}
        data.append(_delays(here, "delay_exe", device_name(choice), marker))
    data.append(_delays(tasks, "delay_tx", "transmission (hatched)", {"color": TRANSMISSION, "pattern": LIGHT_HATCH}))
    names, deadline = [task["name"] for task in tasks], record.scenario.T_max * TASK["delay_s"].factor
    longest = max((task["delay"] for task in tasks), default=1.0)
    line = {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": deadline, "y1": deadline, "showlegend": True,
        "name": f"deadline {deadline:.4g} ms", "line": {"color": BOUND_COLOUR, "width": 2, "dash": "dash"},
    }  # fmt: skip
    layout = {
        "barmode": "stack",
        "bargap": 0.15,
        "legend": {"traceorder": "normal"},
        "xaxis": {
            "title": {"text": "task (user.task), slowest first"}, "type": "category", "categoryarray": names,
            "categoryorder": "array", "showticklabels": len(names) <= MOST_NAMED, "showgrid": False, "tickangle": -90,
            "tickfont": {"size": 11},
        },
        "yaxis": {"title": {"text": TASK["delay_s"].axis_title}, "rangemode": "tozero"},
        "shapes": [line] if deadline < 2 * longest else [],
    }  # fmt: skip
    step = int(record.step[row])
    words = f"Delay of each task in step {step}, slowest {longest:.4g} ms, split into execution and transmission."
    return figure(data, layout, "Delay of every task: execution by device, and transmission", words, subtitle)


def _delays(tasks: list[dict[Any, Any]], part: str, name: str, marker: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": name,
        "x": [task["name"] for task in tasks],
        "y": [round(task[part], 6) for task in tasks],
        "customdata": [task["point"] for task in tasks],
        "hovertext": [task["words"] for task in tasks],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "marker": {**marker, "line": {"color": BOUND_COLOUR, "width": [task["outline"] for task in tasks]}},
    }


def kind_costs(table: pd.DataFrame, subtitle: str = "") -> go.Figure:
    """Mean cost of each task kind, with its number of tasks."""
    groups = table.groupby("kind", observed=True).agg(cost=("cost", "mean"), tasks=("cost", "size"))
    known = list(table["kind"].cat.categories)  # all kinds of the ward, so that each keeps its colour
    colours = [KIND_COLOURS[known.index(name) % len(KIND_COLOURS)] for name in groups.index]
    bars = Bars("mean cost", groups["cost"].tolist(), colours, shown=[f"{n} tasks" for n in groups["tasks"]])
    names = [str(name) for name in groups.index]
    return grouped_bars(names, [bars], "Mean cost of each task kind", "mean task cost", subtitle=subtitle)


def alternatives(frame: pd.DataFrame, subtitle: str = "") -> tuple[go.Figure, go.Figure]:
    """Delay and energy of one task on each device; the chosen device is emphasised."""
    chosen = [bool(c) for c in frame["chosen"]]
    names = [f"{name} (chosen)" if c else str(name) for name, c in zip(frame["device"], chosen, strict=True)]
    colours = [device_colour(c) for c in frame["choice"]]

    def one(metric: Metric) -> go.Figure:
        values = (frame[metric.name] * metric.factor).tolist()
        bars = Bars(
            metric.label.lower(), values, colours, marked=chosen, shown=[three_digits(value) for value in values]
        )
        title = f"{metric.label} of the task on each device"
        return grouped_bars(names, [bars], title, metric.axis_title, subtitle=subtitle, unit=metric.unit)

    return one(TASK["delay_s"]), one(TASK["energy_j"])
