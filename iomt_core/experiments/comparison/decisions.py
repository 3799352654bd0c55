"""Decisions that differ between two records of the same episode: which tasks moved, where to, and at what cost."""

from __future__ import annotations

import pandas as pd
import torch

from iomt_core.record import Record
from iomt_core.twin.moves import SKIPPED
from iomt_core.twin.northbound import place_name

PLACE = ["episode", "step", "user", "task"]
CHANGES = ("delay_s", "energy_j", "cost")  # with their difference, B - A
SIDES = ("data_bits", "cycles", "deadline_missed")


NOBODY, NO_TASK = -2, -1  # what `decided` has for a skipped task, and where there is no task


def decided(record: Record) -> torch.Tensor:
    """The number in the whole ward of each task's device, (R, U, J); `NOBODY` if it is skipped, `NO_TASK` where there is none."""
    numbers = torch.tensor(record.scenario.device_numbers)[record.action.choice]
    return numbers.masked_fill(record.outcome.skipped, NOBODY).masked_fill(~record.snapshot.active, NO_TASK)


def _table(record: Record, columns: list[str]) -> pd.DataFrame:
    """Columns of the record's table, in which a skipped task has the device `SKIPPED`."""
    table = record.table()
    return table.assign(choice=table["choice"].mask(table["skipped"], SKIPPED))[columns]


def changed_decisions(a: Record, b: Record) -> pd.DataFrame:
    """The tasks that are in both records (same episode, step, user, task) and run on another device in B than in A.

    One row for each task, in SI units, the largest change of weighted cost first. Columns: step, user, task; priority and weight
    of B; the values of `metrics.TASK` in A and in B (`_a`, `_b`); B - A of delay, energy and cost (`_change`); `device_a` and
    `device_b`, names; `weighted_change`, the task's part in the change of the step's total cost. Users and servers are
    compared by their number in the whole ward only: server 4 of A and server 3 of B differ even if they are at the same place.
    """
    columns = [*PLACE, "priority", "weight", "choice", *CHANGES, *SIDES]
    both = _table(a, columns).merge(_table(b, columns), on=PLACE, suffixes=("_a", "_b"))
    other = both[both["choice_a"] != both["choice_b"]]
    table = other[["step", "user", "task"]].assign(
        priority=other["priority_b"],
        device_a=[place_name(n) for n in other["choice_a"]],
        device_b=[place_name(n) for n in other["choice_b"]],
    )
    for name in CHANGES:
        before, after = other[f"{name}_a"], other[f"{name}_b"]
        table = table.assign(**{f"{name}_a": before, f"{name}_b": after, f"{name}_change": after - before})
    table = table.assign(
        weight=other["weight_b"],
        weighted_change=other["weight_b"] * other["cost_b"] - other["weight_a"] * other["cost_a"],
        **{f"{name}_{side}": other[f"{name}_{side}"] for name in (*SIDES, "choice") for side in "ab"},
    )
    order = table["weighted_change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def flows(a: Record, b: Record) -> pd.DataFrame:
    """Number of tasks in both records by their device in A (rows) and in B (columns), or that they are skipped."""
    keep = [*PLACE, "choice"]
    both = _table(a, keep).merge(_table(b, keep), on=PLACE, suffixes=("_a", "_b"))
    rows, columns = (
        (*record.scenario.device_numbers, *[SKIPPED] * bool(record.outcome.skipped.any())) for record in (a, b)
    )
    counts = pd.crosstab(both["choice_a"], both["choice_b"]).reindex(index=rows, columns=columns, fill_value=0)
    counts.index, counts.columns = (pd.Index([place_name(k) for k in x]) for x in (rows, columns))
    return counts


def busiest_flows(counts: pd.DataFrame, most: int) -> pd.DataFrame:
    """`flows` of those devices only, at most `most` on each side, that most tasks move from or to."""
    names = list(dict.fromkeys((*counts.index, *counts.columns)))
    square = counts.reindex(index=names, columns=names, fill_value=0)
    stay = pd.Series({name: int(square.loc[name, name]) for name in names})
    moved = (square.sum(axis=0) + square.sum(axis=1) - 2 * stay).sort_values(ascending=False, kind="stable")
    kept = set(moved.index[:most])
    return counts.loc[[name in kept for name in counts.index], [name in kept for name in counts.columns]]


def marks(shown: Record, other: Record) -> list[list[list[int]]]:
    """For the map: the device's number in `other` where it differs, by [step][user][task] of `shown`; -1 elsewhere.

    A task that is skipped in `other` has the number after that of its ward's last server.

    Each record is of one episode. Users and devices are compared by their number in the whole ward.
    """
    s, o = shown.scenario, other.scenario
    theirs = torch.full((max(s.T, o.T), max(s.ward_users, o.ward_users), max(s.tasks, o.tasks)), NO_TASK)
    mine = theirs.clone()
    for devices, record in ((theirs, other), (mine, shown)):
        rows, users = record.step[:, None] - 1, torch.tensor(record.scenario.user_numbers) - 1
        devices[rows, users, : record.scenario.tasks] = decided(record)
    shown_number = torch.where(theirs == NOBODY, o.ward_servers + 1, theirs)
    differs = torch.where((mine != NO_TASK) & (theirs != mine), shown_number, -1)
    found: list[list[list[int]]] = differs[shown.step - 1][:, torch.tensor(s.user_numbers) - 1, : s.tasks].tolist()
    return found
