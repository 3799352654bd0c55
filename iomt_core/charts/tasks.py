"""The tasks of one step: execution and transmission delay, and the alternatives of one task."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, KIND_COLOURS, device_colour
from iomt_core.metrics import TASK, Metric
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record

MOST_NAMED = 90  # tasks that have their name below the bar
TRANSMISSION = "#6b7280"


def slowest_first(record: Record, row: int) -> pd.DataFrame:
    """The rows of `Record.table` of one step, slowest task first, with the device's name and delays in milliseconds."""
    table = record.select(slice(row, row + 1)).table().sort_values("delay_s", ascending=False, kind="stable")
    ms = {name: table[f"{name}_s"] * TASK[f"{name}_s"].factor for name in ("delay", "delay_exe", "delay_tx")}
    return table.assign(device=[device_name(k) for k in table["choice"]], **ms)


def delay_bars(
    record: Record, row: int, picked: tuple[int, int, int] | None = None, subtitle: str = ""
) -> go.Figure:  # fmt: skip
    """Delay of every task of one step, ms, slowest first, split into execution and transmission; `picked` is outlined.

    A click on a bar sends the task's (step, user, task).
    """
    table = slowest_first(record, row)
    step, deadline = int(record.step[row]), record.scenario.T_max * TASK["delay_s"].factor
    names = [f"{user}.{task}" for user, task in zip(table["user"], table["task"], strict=True)]
    table = table.assign(name=names, point=[[step, int(u), int(j)] for u, j in zip(table["user"], table["task"], strict=True)])
    table["outline"] = [3 if picked is not None and tuple(point) == picked else 0 for point in table["point"]]
    table["words"] = [
        f"task {t.name} on {t.device}: {t.delay:.4g} ms<br>execution {t.delay_exe:.4g} ms, transmission {t.delay_tx:.4g} ms"
        + "<br><b>later than its deadline</b>" * bool(t.deadline_missed)
        for t in table.itertuples(index=False)
    ]
    longest = float(table["delay"].max()) if len(table) else 1.0
    data = [
        _delays(part, "delay_exe", f"execution on {device_name(choice)}", {"color": device_colour(choice)})
        for choice, part in table.groupby("choice")
    ]
    hatched = {"color": TRANSMISSION, "pattern": {"shape": "/", "size": 5, "solidity": 0.3, "fillmode": "overlay", "fgcolor": "#ffffff"}}
    data.append(_delays(table, "delay_tx", "transmission", hatched))
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
    words = f"Delay of each task in step {step}, slowest {longest:.4g} ms, split into execution and transmission."
    return figure(data, layout, "Delay of every task", words, subtitle)


def _delays(table: pd.DataFrame, column: str, name: str, marker: dict[str, object]) -> dict[str, object]:
    outline = {"color": BOUND_COLOUR, "width": table["outline"].tolist()}
    return {
        "type": "bar",
        "name": name,
        "x": table["name"].tolist(),
        "y": table[column].round(6).tolist(),
        "customdata": table["point"].tolist(),
        "hovertext": table["words"].tolist(),
        "hovertemplate": "%{hovertext}<extra></extra>",
        "marker": {**marker, "line": outline},
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
    devices, chosen = frame["device"].tolist(), [bool(c) for c in frame["chosen"]]
    names = [f"{name} (chosen)" if c else name for name, c in zip(devices, chosen, strict=True)]
    colours = [device_colour(c) for c in frame["choice"]]

    def one(metric: Metric) -> go.Figure:
        values = (frame[metric.name] * metric.factor).tolist()
        bars = Bars(metric.label.lower(), values, colours, marked=chosen, shown=[f"{value:.3g}" for value in values])
        title = f"{metric.label} of the task on each device"
        return grouped_bars(names, [bars], title, metric.axis_title, subtitle=subtitle, unit=metric.unit)

    return one(TASK["delay_s"]), one(TASK["energy_j"])
