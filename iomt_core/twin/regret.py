"""Regret, task by task: by how much moving one task alone would lower the step's total weighted cost.

All other tasks keep their devices; shares follow the policy's rule, as in `northbound.why`. Compared with the best device
for the one task, regret is never negative. Compared with the device that the optimum chooses for it, it can be: the optimum
moves the other tasks too.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action
from iomt_core.policies.base import Sharing, with_shares
from iomt_core.record import Record

BATCH = 400_000  # tasks priced at a time: bounds the memory


def alternatives(record: Record, row: int, rule: Sharing, user: int, task: int) -> Tensor:
    """Every task's cost with task `task` of user `user` (from 1) on each device, all else fixed; (K + 1, U, J)."""
    at = torch.tensor([(user - 1) * record.scenario.tasks + task - 1])
    return _costs(record, row, rule, at)[0]


def changes(record: Record, row: int, rule: Sharing) -> Tensor:
    """Change of the step's total weighted cost if each task alone moved to each device, (U, J, K + 1).

    Exact: each entry prices the whole ward again. 0 at the device that was chosen; NaN where there is no task.
    """
    s = record.scenario
    _, u, j, k = record.snapshot.shape
    chunk = max(1, BATCH // (u * j * (k + 1)))
    weight = record.snapshot.weight[row]
    totals = [
        (_costs(record, row, rule, part) * weight).sum((-2, -1))
        for part in torch.arange(s.users * s.tasks).split(chunk)
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
    snapshot = record.snapshot.select(torch.full((count,), row))
    now = record.action.select(slice(row, row + 1))
    choice = now.choice.flatten(1).repeat(count, 1)
    place = tasks.repeat_interleave(k + 1)[:, None]
    choice.scatter_(1, place, torch.arange(k + 1).repeat(len(tasks))[:, None])
    action = Action(choice.view(count, u, j), now.cpu.repeat(count, 1, 1), now.bandwidth.repeat(count, 1, 1))
    return outcome(snapshot, with_shares(action, snapshot, s, rule), s).cost.view(len(tasks), k + 1, u, j)


def regrets(record: Record, row: int, rule: Sharing, optimum: Tensor) -> pd.DataFrame:
    """One row a task of the step; `optimum` (U, J) are the optimum's devices for the same step.

    `regret_best` compares with the best device for the task alone, `regret_optimum` with the optimum's device for it, both
    in weighted cost.
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
