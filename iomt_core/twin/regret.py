"""Regret, task by task: what moving one task alone would save the ward.

Of one decision, everything else as it was: the step's total weighted cost with the task where it went, less that with the
task elsewhere. Against the best device for that one task it is never negative. Against the device that the optimum gives
the task it may be: the optimum moves the others too. Shares follow the policy's rule, as in `northbound.why`.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action
from iomt_core.policies.base import Sharing, with_shares
from iomt_core.record import Record

AT_ONCE = 400_000  # tasks priced in one batch


def alternatives(record: Record, row: int, rule: Sharing, user: int, task: int) -> Tensor:
    """Every task's cost with task `task` of user `user` (from 1) on each device, all else fixed; (K + 1, U, J)."""
    at = torch.tensor([(user - 1) * record.scenario.tasks + task - 1])
    return _costs(record, row, rule, at)[0]


def changes(record: Record, row: int, rule: Sharing) -> Tensor:
    """By how much the step's total weighted cost changes with each task alone on each device; (U, J, K + 1).

    Exact: each entry prices the whole ward again. 0 at the device that was taken; NaN where no task is.
    """
    s = record.scenario
    _, u, j, k = record.snapshot.shape
    few = max(1, AT_ONCE // (u * j * (k + 1)))
    weight = record.snapshot.weight[row]
    totals = [
        (_costs(record, row, rule, part) * weight).sum((-2, -1)) for part in torch.arange(s.users * s.tasks).split(few)
    ]
    total = torch.cat(totals).view(u, j, k + 1)
    chosen = record.action.choice[row][..., None]
    found = total - total.gather(2, chosen)
    return found.masked_fill(~record.snapshot.active[row][..., None], torch.nan)


def _costs(record: Record, row: int, rule: Sharing, tasks: Tensor) -> Tensor:
    """Costs with each of `tasks` (numbers i J + j) on each device, (tasks, K + 1, U, J)."""
    s = record.scenario
    _, u, j, k = record.snapshot.shape
    count = len(tasks) * (k + 1)
    snapshot = record.snapshot.worlds(torch.full((count,), row))
    now = record.action.worlds(slice(row, row + 1))
    choice = now.choice.flatten(1).repeat(count, 1)
    place = tasks.repeat_interleave(k + 1)[:, None]
    choice.scatter_(1, place, torch.arange(k + 1).repeat(len(tasks))[:, None])
    action = Action(choice.view(count, u, j), now.cpu.repeat(count, 1, 1), now.bandwidth.repeat(count, 1, 1))
    return outcome(snapshot, with_shares(action, snapshot, s, rule), s).cost.view(len(tasks), k + 1, u, j)


def regrets(record: Record, row: int, rule: Sharing, optimum: Tensor) -> pd.DataFrame:
    """One row a task of the step; `optimum` (U, J) are the optimum's devices.

    `regret_best` is against the best device for the task alone, `regret_optimum` against the optimum's for it, both in
    weighted cost; a step's total is the sum of weight x cost.
    """
    moved = changes(record, row, rule)
    active = record.snapshot.active[row]
    best = moved.nan_to_num(0.0).argmin(-1)
    saved = (-moved.amin(-1)).clamp_min(0.0)
    against = -moved.gather(2, optimum[..., None]).squeeze(2)
    u, j = active.shape
    columns = {
        "step": torch.full((u, j), int(record.step[row])),
        "user": torch.arange(1, u + 1)[:, None].expand(u, j),
        "task": torch.arange(1, j + 1).expand(u, j),
        "choice": record.action.choice[row],
        "optimum": optimum,
        "best": torch.where(saved > 0, best, record.action.choice[row]),
        "weight": record.snapshot.weight[row],
        "cost": record.outcome.cost[row],
        "regret_best": saved + 0.0,
        "regret_optimum": against + 0.0,
    }
    return pd.DataFrame({name: x[active].numpy() for name, x in columns.items()})
