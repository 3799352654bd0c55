"""Regret of each task: by how much moving this task alone would lower the step's total weighted cost.

All other tasks stay on their devices. Shares follow the policy's rule, as in `northbound.why`. Regret against the best device
for the task is never negative. Regret against the device that the optimum chooses for it may be negative, because the optimum
moves the other tasks too.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action
from iomt_core.policies.base import Sharing, with_shares
from iomt_core.record import Record

BATCH = 400_000  # tasks evaluated at a time, to limit memory


def move_tasks(record: Record, row: int, rule: Sharing, tasks: Tensor) -> tuple[Action, Outcome]:
    """The step in `row` with one task moved to each device, while the others stay where they are.

    tasks: (n,) int64, positions i J + j of the tasks to be moved, one at a time. Returns the actions and
    their outcomes as a batch of n (K + 1) worlds: first task on device 0 ... K, then the next task.
    """
    _, u, j, k = record.snapshot.shape
    count = len(tasks) * (k + 1)
    rows = torch.full((count,), row)
    snapshot, action = record.snapshot.select(rows), record.action.select(rows)
    devices = torch.arange(k + 1).repeat(len(tasks))[:, None]
    choice = action.choice.flatten(1).scatter(1, tasks.repeat_interleave(k + 1)[:, None], devices)
    moved = with_shares(replace(action, choice=choice.view(count, u, j)), snapshot, record.scenario, rule)
    return moved, outcome(snapshot, moved, record.scenario)


def alternatives(record: Record, row: int, rule: Sharing, user: int, task: int) -> Tensor:
    """Cost of every task of the step with one task moved to each device, (K + 1, U, J).

    user: number in the whole ward; task: from 1.
    """
    s = record.scenario
    return move_tasks(record, row, rule, torch.tensor([s.user_numbers.index(user) * s.tasks + task - 1]))[1].cost


def cost_changes(record: Record, row: int, rule: Sharing) -> Tensor:
    """Change of the step's total weighted cost if one task alone moved to a device, for each task and device, (U, J, K + 1).

    Exact: every entry evaluates the whole ward again. 0 at the chosen device; NaN where there is no task.
    """
    _, u, j, k = record.snapshot.shape
    parts = torch.arange(u * j).split(max(1, BATCH // (u * j * (k + 1))))
    weight = record.snapshot.weight[row]
    totals = [(move_tasks(record, row, rule, part)[1].cost * weight).sum((-2, -1)) for part in parts]
    total = torch.cat(totals).view(u, j, k + 1)
    change = total - total.gather(2, record.action.choice[row][..., None])
    return change.masked_fill(~record.snapshot.active[row][..., None], torch.nan)


def regrets(record: Record, row: int, rule: Sharing, optimum: Tensor) -> pd.DataFrame:
    """Table of regrets in one step, one row for each task.

    optimum: (U, J) int64, the devices that the optimum chooses in the same step. Column `regret_best` compares with the best
    device for the task alone, `regret_optimum` with the optimum's device for it; both are weighted costs. Users and devices have
    their numbers in the whole ward.
    """
    s = record.scenario
    devices = torch.tensor(s.device_numbers)
    change = cost_changes(record, row, rule)
    active = record.snapshot.active[row]
    best = change.nan_to_num(0.0).argmin(-1)
    saved = (-change.amin(-1)).clamp_min(0.0)
    saved_optimum = -change.gather(2, optimum[..., None]).squeeze(2)
    u, j = active.shape
    columns = {
        "step": torch.full((u, j), int(record.step[row])),
        "user": torch.tensor(s.user_numbers)[:, None].expand(u, j),
        "task": torch.arange(1, j + 1).expand(u, j),
        "choice": devices[record.action.choice[row]],
        "optimum": devices[optimum],
        "best": devices[torch.where(saved > 0, best, record.action.choice[row])],
        "weight": record.snapshot.weight[row],
        "cost": record.outcome.cost[row],
        "regret_best": saved + 0.0,  # + 0.0 makes -0.0 a plain 0
        "regret_optimum": saved_optimum + 0.0,
    }
    return pd.DataFrame({name: x[active].numpy() for name, x in columns.items()})
