"""The tasks of one step: execution and transmission delay, and the alternatives of one task."""

from __future__ import annotations

from typing import Any

import pandas as pd

from iomt_core.charts.axes import ticks
from iomt_core.charts.bars import Bars, panel, panels
from iomt_core.charts.style import KIND_COLOURS, device_colour
from iomt_core.metrics import TASK
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record


def delay_bars(record: Record, row: int, picked: tuple[int, int, int] | None = None) -> dict[str, Any]:
    """Data of the drawing of one step's delays, ms, slowest task first, split into execution and transmission."""
    one = record.select(slice(row, row + 1))
    active = one.snapshot.active.flatten()
    step = int(one.step[0])
    tasks = []
    columns = (one.outcome.delay_exe, one.outcome.delay_tx, one.action.choice, one.outcome.missed)
    s, j, unit = record.scenario, record.scenario.tasks, TASK["delay_s"].factor
    for n, (exe, tx, choice, missed) in enumerate(zip(*(x.flatten().tolist() for x in columns), strict=True)):
        if active[n]:
            place, device = (step, s.user_numbers[n // j], n % j + 1), s.device_numbers[choice]
            tasks.append(
                {
                    "id": place,
                    "exe": round(exe * unit, 4),
                    "tx": round(tx * unit, 4),
                    "colour": device_colour(device),
                    "device": device_name(device),
                    "missed": missed,
                    "picked": picked == place,
                }
            )
    tasks.sort(key=lambda task: -task["exe"] - task["tx"])
    longest = max((task["exe"] + task["tx"] for task in tasks), default=1.0)
    deadline = float(f"{record.scenario.T_max * unit:.6g}")
    end = max(longest, deadline) * 1.05 if longest > 0.45 * deadline else longest * 1.05
    return {
        "tasks": tasks,
        "deadline": deadline,
        "end": end,
        "ticks": ticks(end),
        "text": f"Delay of each task in step {step}, slowest {longest:.4g} ms, split into execution and transmission.",
    }


def kind_costs(table: pd.DataFrame) -> dict[str, Any]:
    """Mean cost of each task kind, with its number of tasks."""
    groups = table.groupby("kind", observed=True).agg(cost=("cost", "mean"), tasks=("cost", "size"))
    known = list(table["kind"].cat.categories)  # all kinds of the ward, so that each keeps its colour
    colours = [KIND_COLOURS[known.index(name) % len(KIND_COLOURS)] for name in groups.index]
    bars = Bars("mean cost", groups["cost"].tolist(), colours, shown=[f"{n} tasks" for n in groups["tasks"]])
    return panels(panel([str(name) for name in groups.index], [bars], "mean task cost", "task kind"))


def alternatives(frame: pd.DataFrame, about: str = "") -> dict[str, Any]:
    """Delay and energy of one task under each of its K + 1 alternatives; the chosen one is outlined."""
    devices, chosen = frame["device"].tolist(), [bool(c) for c in frame["chosen"]]
    colours = [device_colour(c) for c in frame["choice"]]
    parts = []
    for name, hatched in (("delay_s", False), ("energy_j", True)):
        metric = TASK[name]
        bars = Bars(metric.label.lower(), (frame[name] * metric.factor).tolist(), colours, hatched, chosen)
        parts.append(panel(devices, [bars], metric.heading, "chosen: outlined", f" {metric.unit}"))
    return panels(*parts, about=about)
