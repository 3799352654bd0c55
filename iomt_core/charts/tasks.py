"""The tasks of one step: execution and transmission delay, and the alternatives of one task."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.bars import Bars, Line, grouped_bars
from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, KIND_COLOURS, device_colour
from iomt_core.metrics import TASK, Metric, three_digits
from iomt_core.record import Record

MOST_NAMED = 90  # tasks that have their name below the bar
TRANSMISSION, LATENCY = "#4b5563", "#c3c7cd"
LIGHT_HATCH = {"shape": "/", "size": 5, "solidity": 0.3, "fillmode": "overlay", "fgcolor": "#ffffff"}


def slowest_first(record: Record, row: int) -> pd.DataFrame:
    """The rows of `Record.table` of one step, slowest task first, with the device's name and delays in milliseconds, and
    where servers have a latency, that too.

    Skipped tasks come last; they have no delay and no device.
    """
    table = record.select(slice(row, row + 1)).table().sort_values("delay_s", ascending=False, kind="stable")
    ms = {name: table[f"{name}_s"] * TASK[f"{name}_s"].factor for name in ("delay", "delay_exe", "delay_tx")}
    if record.scenario.has_latency:
        ms["latency"] = (ms["delay"] - ms["delay_exe"] - ms["delay_tx"]).clip(lower=0)
    devices = [
        "skipped" if skipped else record.scenario.device_label(k)
        for k, skipped in zip(table["choice"].tolist(), table["skipped"], strict=True)
    ]
    return table.assign(device=devices, **ms)


def delay_bars(
    record: Record, row: int, picked: tuple[int, int, int] | None = None, subtitle: str = "", most: int | None = None
) -> go.Figure:  # fmt: skip
    """Delay of every task of one step, ms, slowest first, split into execution and transmission; `picked` is outlined.

    most: at most so many tasks are drawn, the slowest; None for all. A line is the deadline of all tasks, or a mark at every bar
    is its own. Skipped tasks are crosses at 0. A click on a bar sends the task's (step, user, task).
    """
    table = slowest_first(record, row)[:most]
    table = table.assign(due=table["deadline_s"] * TASK["deadline_s"].factor)
    everything: list[dict[Any, Any]] = table.to_dict("records")
    for task in everything:
        task["name"], task["point"] = f"{task['user']}.{task['task']}", (task["step"], task["user"], task["task"])
        task["words"] = _words(task, len(record.scenario.kind_names) > 1)
        task["outline"] = 3 if task["point"] == picked else 0
    tasks = [task for task in everything if not task["skipped"]]
    data = []
    for choice in sorted({task["choice"] for task in tasks}):
        here, marker = [t for t in tasks if t["choice"] == choice], {"color": device_colour(choice)}
        data.append(_delays(here, "delay_exe", html.escape(record.scenario.device_label(choice), quote=False), marker))
    data.append(_delays(tasks, "delay_tx", "transmission (hatched)", {"color": TRANSMISSION, "pattern": LIGHT_HATCH}))
    if record.scenario.has_latency:
        data.append(_delays(tasks, "latency", "latency of the server", {"color": LATENCY}))
    names, dues = [task["name"] for task in everything], sorted({task["due"] for task in everything})
    longest = max((task["delay"] for task in tasks), default=1.0)
    shapes: list[dict[str, Any]] = []
    if len(dues) > 1:
        data.append(_marks([t for t in tasks if t["due"] < 2 * longest], "due", "deadline of the task", "line-ew", 2))
    elif dues and dues[0] < 2 * longest:
        shapes = [Line(f"deadline {dues[0]:.4g} ms", dues[0]).shape]
    skipped = [{**task, "zero": 0.0} for task in everything if task["skipped"]]
    if skipped:
        data.append(_marks(skipped, "zero", "skipped", "x-thin", 2))
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
        "shapes": shapes,
    }  # fmt: skip
    step, late = int(record.step[row]), sum(bool(task["deadline_missed"]) for task in tasks)
    words = (
        f"Delay of each task in step {step}, slowest {longest:.4g} ms, split into execution and transmission. {late} tasks are "
        f"late, {len(skipped)} are skipped."
    )
    return figure(data, layout, "Delay of every task: execution by device, and transmission", words, subtitle)


def _words(task: dict[Any, Any], kinds: bool) -> str:
    """What hovering over a task says."""
    kind = f" ({html.escape(str(task['kind']), quote=False)})" if kinds else ""
    device = html.escape(str(task["device"]), quote=False)
    if task["skipped"]:
        return f"task {task['name']}{kind}: skipped, costs 1"
    latency = f", latency {task['latency']:.4g} ms" if task.get("latency") else ""
    late = "later than its" if task["deadline_missed"] else "within its"
    return (
        f"task {task['name']}{kind} on {device}: {task['delay']:.4g} ms<br>execution {task['delay_exe']:.4g} ms, "
        f"transmission {task['delay_tx']:.4g} ms{latency}<br>{late} deadline of {task['due']:.4g} ms"
    )


def _marks(tasks: list[dict[Any, Any]], height: str, name: str, symbol: str, width: float) -> dict[str, Any]:
    """A mark for each of the tasks."""
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [task["name"] for task in tasks],
        "y": [round(task[height], 6) for task in tasks], "customdata": [task["point"] for task in tasks],
        "marker": {"symbol": symbol, "size": 9, "color": BOUND_COLOUR, "line": {"width": width, "color": BOUND_COLOUR}},
        "hovertext": [task["words"] for task in tasks], "hovertemplate": "%{hovertext}<extra></extra>", "cliponaxis": False,
    }  # fmt: skip


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


def kind_bars(table: pd.DataFrame, subtitle: str = "") -> tuple[go.Figure, go.Figure]:
    """Mean cost of each task kind, and the share of its tasks that are late or skipped, with the kind's deadline.

    table: rows of `Record.table`.
    """
    groups = table.groupby("kind", observed=True).agg(
        cost=("cost", "mean"), tasks=("cost", "size"), missed=("deadline_missed", "sum"), deadline=("deadline_s", "first")
    )  # fmt: skip
    known = list(table["kind"].cat.categories)  # all kinds of the ward, so that each keeps its colour
    colours = [KIND_COLOURS[known.index(name) % len(KIND_COLOURS)] for name in groups.index]
    names = [str(name) for name in groups.index]
    due = [TASK["deadline_s"].show(x).replace(" ", "\u00a0") for x in groups["deadline"]]  # number and unit in one line
    share = (100 * groups["missed"] / groups["tasks"]).tolist()
    counts = [f"{missed} of {n}" for missed, n in zip(groups["missed"], groups["tasks"], strict=True)]
    cost = Bars("mean cost", groups["cost"].tolist(), colours, shown=[f"{n} tasks" for n in groups["tasks"]])
    missed = Bars("late or skipped", share, colours, shown=counts)
    timed = [f"{name}, {words}" for name, words in zip(names, due, strict=True)]
    return (
        grouped_bars(names, [cost], "Mean cost of each task kind", "mean task cost", subtitle=subtitle),
        grouped_bars(timed, [missed], "Tasks later than their kind's deadline, or skipped", "late or skipped (%)",
                     "task kind and its deadline", subtitle, "%", max(5.0, 1.12 * max(share, default=0.0))),
    )  # fmt: skip


def alternatives(frame: pd.DataFrame, subtitle: str = "") -> tuple[go.Figure, go.Figure]:
    """Delay and energy of one task on each device; the chosen device is emphasised, a late one is named so.

    A line is the task's deadline, where it lies near the delays.
    """
    chosen, late = frame["chosen"].tolist(), (frame["deadline_missed"] & ~frame["skipped"]).tolist()
    names = []
    for name, *marks in zip(frame["device"], chosen, late, strict=True):
        words = [word for word, mark in zip(("chosen", "late"), marks, strict=True) if mark]
        names.append(f"{name} ({', '.join(words)})" if words else str(name))
    colours = [device_colour(max(0, c)) for c in frame["choice"]]

    def one(metric: Metric, line: Line | None = None) -> go.Figure:
        values = (frame[metric.name] * metric.factor).tolist()
        bars = Bars(
            metric.label.lower(), values, colours, marked=chosen, shown=[three_digits(value) for value in values]
        )
        title = f"{metric.label} of the task on each device"
        return grouped_bars(names, [bars], title, metric.axis_title, subtitle=subtitle, unit=metric.unit, line=line)

    due, longest = float(frame["deadline_s"].iloc[0]), float(frame["delay_s"].max())
    line = Line(f"deadline {TASK['deadline_s'].show(due)}", due * TASK["deadline_s"].factor)
    return one(TASK["delay_s"], line if due < 2 * longest else None), one(TASK["energy_j"])
