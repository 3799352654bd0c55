"""One decision in detail: Q-values by strategy and task, attention, derivatives, requested and granted shares, regret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from iomt_core.charts.bars import Bars, panel, panels
from iomt_core.charts.heat_table import heat_table
from iomt_core.charts.style import BOUND_COLOUR, device_colour
from iomt_core.model.snapshot import device_name
from iomt_core.twin.mixing import Mixing


def by_strategy(
    cells: Sequence[Sequence[float]],
    tasks: Sequence[str],
    devices: Sequence[int],
    taken: int,
    what: str,
    good: bool = True,
) -> str:
    """HTML table with a row for each strategy and a column for each task of the user; the chosen strategy is outlined.

    cells: values, strategies by tasks; devices: `Scenario.device_numbers`, of the strategies; taken: the chosen strategy; what:
    description; good: whether larger is better.
    """
    names = [device_name(n) for n in devices]
    return heat_table(cells, tasks, names, what, taken, good=good, by_column=True)


def attention(mixing: Mixing) -> str:
    """Attention weights Â of (22): row i holds the weights that agent i gives to every agent."""
    assert mixing.attention is not None
    agents = [f"agent {n}" for n in mixing.users]
    return heat_table(
        mixing.attention.tolist(), agents, agents, "attention weight of agent by agent attended to", digits=4
    )


def slopes(mixing: Mixing, user: int) -> dict[str, Any]:
    """Bars of ∂Q_tot/∂Q_i (25) of every agent; the selected user's bar is outlined, negative bars are red."""
    values = mixing.slopes.tolist()
    colours = ["#0072b2" if v >= 0 else BOUND_COLOUR for v in values]
    marked = [n == user for n in mixing.users]
    bars = Bars("∂Q_tot/∂Q_i", values, colours, marked=marked, shown=[f"{v:.3f}" for v in values])
    return panels(panel([f"agent {n}" for n in mixing.users], [bars], "∂Q_tot/∂Q_i", "agents"))


def share_bars(mine: pd.DataFrame, picked: int) -> dict[str, Any]:
    """Requested (hatched) and granted shares (%) of one user's tasks, CPU on the left, bandwidth on the right."""
    names = [f"task {t}{' ◀' if t == picked else ''}" for t in mine["task"]]
    colours = [device_colour(k) for k in mine["choice"]]

    def one(kind: str, name: str) -> dict[str, Any]:
        requested = Bars(f"{name} requested", (mine[f"{kind}_requested"] * 100).tolist(), colours, hatched=True)
        granted = Bars(f"{name} granted", (mine[f"{kind}_granted"] * 100).tolist(), colours)
        return panel(
            names, [requested, granted], "share of its device (%)", f"{name}: requested (hatched), granted", " %"
        )

    return panels(one("cpu", "CPU"), one("bandwidth", "bandwidth"))


def regret_map(frame: pd.DataFrame, column: str) -> str:
    """HTML table of the regret of every task of a step, users by tasks."""
    table = frame.pivot(index="user", columns="task", values=column)
    columns, rows = [f"task {t}" for t in table.columns], [f"user {u}" for u in table.index]
    return heat_table(table.to_numpy().tolist(), columns, rows, "regret by user and task", good=False)
