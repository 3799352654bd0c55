"""Decisions that differ between two records of the same episode: which tasks, from where to where, and what it did to them."""

from __future__ import annotations

import pandas as pd
import torch

from iomt_core.model.snapshot import device_name
from iomt_core.record import Record

PLACE = ["episode", "step", "user", "task"]
BOTH = ["choice", "delay_s", "energy_j", "cost", "data_bits", "cycles", "deadline_missed"]
COLUMNS = {
    "step": "step, from 1",
    "user": "user, from 1",
    "task": "task of the user, from 1",
    "priority": "P in B",
    "device_a": "where A computes it",
    "device_b": "where B computes it",
    "delay_ms_a": "delay (9) in A, ms",
    "delay_ms_b": "delay (9) in B, ms",
    "delay_ms_change": "B - A, ms",
    "energy_uj_a": "energy (10) in A, µJ",
    "energy_uj_b": "energy (10) in B, µJ",
    "energy_uj_change": "B - A, µJ",
    "cost_a": "α_T T/T_max + α_E E/E_ref in A",
    "cost_b": "the same in B, with B's parameters",
    "cost_change": "B - A",
    "weight": "p = P / mean P in B",
    "weighted_change": "weight × cost in B less weight × cost in A: the task's part of the change of the step's total",
    "data_kb_a": "D in A, KB",
    "data_kb_b": "D in B, KB",
    "kcycles_a": "C in A, kcycles",
    "kcycles_b": "C in B, kcycles",
    "missed_a": "later than T_max in A",
    "missed_b": "later than T_max in B",
}


def changed_decisions(a: Record, b: Record) -> pd.DataFrame:
    """The tasks that stand in both records (same episode, step, user, task) and run on another device in B than in A.

    One row a task with the columns of `COLUMNS` and `choice_a`, `choice_b` (0 local, k server k), the largest change of
    weighted cost first. A server's number is its name: server 4 of A is another device than server 3 of B, wherever they stand.
    """
    keep = [*PLACE, "priority", "weight", *BOTH]
    both = a.table()[keep].merge(b.table()[keep], on=PLACE, suffixes=("_a", "_b"))
    other = both[both["choice_a"] != both["choice_b"]]
    table = pd.DataFrame(
        {
            **{name: other[name] for name in ("step", "user", "task")},
            "priority": other["priority_b"],
            **{f"device_{x}": [device_name(n) for n in other[f"choice_{x}"]] for x in "ab"},
            **_sides(other, "delay_s", "delay_ms", 1e3),
            **_sides(other, "energy_j", "energy_uj", 1e6),
            **_sides(other, "cost", "cost", 1.0),
            "weight": other["weight_b"],
            "weighted_change": other["weight_b"] * other["cost_b"] - other["weight_a"] * other["cost_a"],
            **{f"data_kb_{x}": other[f"data_bits_{x}"] / 8000 for x in "ab"},
            **{f"kcycles_{x}": other[f"cycles_{x}"] / 1e3 for x in "ab"},
            **{f"missed_{x}": other[f"deadline_missed_{x}"] for x in "ab"},
            **{f"choice_{x}": other[f"choice_{x}"] for x in "ab"},
        },
        columns=[*COLUMNS, "choice_a", "choice_b"],
    )
    order = table["weighted_change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _sides(frame: pd.DataFrame, name: str, shown: str, factor: float) -> dict[str, pd.Series[float]]:
    a, b = frame[f"{name}_a"] * factor, frame[f"{name}_b"] * factor
    return {f"{shown}_a": a, f"{shown}_b": b, f"{shown}_change": b - a}


def flows(a: Record, b: Record) -> pd.DataFrame:
    """How many tasks that stand in both went where: rows the devices of A, columns those of B."""
    keep = [*PLACE, "choice"]
    both = a.table()[keep].merge(b.table()[keep], on=PLACE, suffixes=("_a", "_b"))
    rows, columns = range(a.scenario.servers + 1), range(b.scenario.servers + 1)
    counts = pd.crosstab(both["choice_a"], both["choice_b"]).reindex(index=rows, columns=columns, fill_value=0)
    counts.index, counts.columns = (pd.Index([device_name(k) for k in x]) for x in (rows, columns))
    return counts


def marks(shown: Record, other: Record) -> list[list[list[int]]]:
    """For the map: what `other` chose where it chose otherwise, by [step][user][task] of `shown`; -1 elsewhere.

    Each record is of one episode.
    """
    s, o = shown.scenario, other.scenario
    theirs = torch.full((max(s.T, o.T), max(s.users, o.users), max(s.tasks, o.tasks)), -1)
    theirs[other.step - 1, : o.users, : o.tasks] = torch.where(other.snapshot.active, other.action.choice, -1)
    theirs = theirs[shown.step - 1, : s.users, : s.tasks]
    mine = torch.where(shown.snapshot.active, shown.action.choice, -1)
    found: list[list[list[int]]] = torch.where((mine >= 0) & (theirs != mine), theirs, -1).tolist()
    return found
