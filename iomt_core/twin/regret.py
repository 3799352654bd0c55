"""Regret of each task: by how much moving this task alone would lower what the step costs.

That is the step's total weighted cost, plus what its energy costs in later steps: the price κ of a user's battery times the
energy, see `episode_dual.py`. κ is 0 where no battery runs short. All other tasks stay on their devices. Shares follow the
policy's rule, as in `northbound.why`. Regret against the best device for the task is never negative. Regret against the device
that the optimum chooses for it may be negative, because the optimum moves the other tasks too.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from iomt_core.record import Record
from iomt_core.twin.moves import SKIPPED, UNKNOWN, Moves, ShareRule, devices


def alternatives(record: Record, row: int, rule: ShareRule, user: int, task: int) -> Tensor:
    """Cost of every task of the step with one task moved to each device, (K + 1, U, J).

    user: number in the whole ward; task: from 1.
    """
    s = record.scenario
    return Moves(record, row, rule).costs(s.user_numbers.index(user) * s.tasks + task - 1)


def cost_changes(record: Record, row: int, rule: ShareRule, user: int | None = None) -> Tensor:
    """Change of what the step costs, now and later, if one task alone moved to a device, for each task and device, (U, J, K + 1).

    Exact, see `moves.py`. 0 at the chosen device; NaN where there is no task. user: number in the whole ward of the user whose
    tasks alone are moved, (1, J, K + 1); None for all.
    """
    s, moves = record.scenario, Moves(record, row, rule)
    tasks = moves.active.nonzero().flatten()
    if user is not None:
        tasks = tasks[tasks // s.tasks == s.user_numbers.index(user)]
    found = torch.full((s.users * s.tasks, s.servers + 1), torch.nan, dtype=torch.float64)
    found[tasks] = moves.changes(tasks).sum(-1)
    found = found.view(s.users, s.tasks, -1)
    return found if user is None else found[s.user_numbers.index(user)][None]


def regrets(record: Record, row: int, rule: ShareRule, optimum: Tensor | None, user: int | None = None) -> pd.DataFrame:
    """Table of regrets in one step, one row for each task.

    optimum: (U, J) int64, the devices that the optimum chooses in the same step, see `devices`; None while they are not known.
    user: number in the whole ward of the user whose tasks are wanted; None for all. Column `regret_best` compares with the best
    device for the task alone, `regret_optimum` with the optimum's device for it, NaN if the optimum skips the task or is not
    known; both are weighted costs. Users and devices have their numbers in the whole ward; `SKIPPED` is that of a skipped task,
    `UNKNOWN` that of a device that is not known.
    """
    s = record.scenario
    numbers = torch.tensor((*s.device_numbers, UNKNOWN, SKIPPED))  # the last ones are those of the indices -2 and -1
    change, chosen = cost_changes(record, row, rule, user), devices(record, row)
    there = slice(None) if user is None else slice(i := s.user_numbers.index(user), i + 1)
    chosen, active = chosen[there], record.snapshot.active[row, there]
    optimum = torch.full_like(chosen, UNKNOWN) if optimum is None else optimum[there]
    best = change.nan_to_num(0.0).argmin(-1)
    saved = (-change.amin(-1)).clamp_min(0.0)
    saved_optimum = -change.gather(2, optimum.clamp_min(0)[..., None]).squeeze(2)
    alike = optimum == chosen
    saved_optimum = torch.where(alike, 0.0, saved_optimum.masked_fill(optimum < 0, torch.nan))
    u, j = active.shape
    columns = {
        "step": torch.full((u, j), int(record.step[row])),
        "user": torch.tensor(s.user_numbers)[there, None].expand(u, j),
        "task": torch.arange(1, j + 1).expand(u, j),
        "choice": numbers[chosen],
        "optimum": numbers[optimum],
        "best": numbers[torch.where(saved > 0, best, chosen)],
        "weight": record.snapshot.weight[row, there],
        "cost": record.outcome.cost[row, there],
        "regret_best": saved + 0.0,  # + 0.0 makes -0.0 a plain 0
        "regret_optimum": saved_optimum + 0.0,
    }
    return pd.DataFrame({name: x[active].numpy() for name, x in columns.items()})
