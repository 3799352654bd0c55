"""Regret of each task: by how much moving this task alone would lower what the step costs.

That is the step's total weighted cost, plus what its energy costs in later steps: the price κ of a user's battery times the
energy, see `episode_dual.py`. κ is 0 where no battery runs short. All other tasks stay on their devices. Shares follow the
policy's rule, as in `northbound.why`. Regret against the best device for the task is never negative. Regret against the device
that the optimum chooses for it may be negative, because the optimum moves the other tasks too.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Sharing, with_shares
from iomt_core.policies.demand import UnitCosts
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.policies.shares import timely_shares
from iomt_core.record import Record

BATCH = 400_000  # tasks evaluated at a time, to limit memory
SKIPPED = -1  # stands for the device of a task that is skipped
# How shares are made again after a move: a policy's sharing, or as an optimum of whole episodes makes them, with the prices of
# the batteries and within the deadlines.
ShareRule = Sharing | Literal["planned"]


def battery_prices(record: Record, row: int) -> Tensor:
    """κ of every user in a step, (U,): weighted cost that one more joule would save later, 1/J; 0 without certificates."""
    if isinstance(record.dual, EpisodeDual):
        return record.dual.battery[row]
    return torch.zeros(record.scenario.users, dtype=torch.float64)


def devices(record: Record, row: int) -> Tensor:
    """The choice for each task of a step, (U, J), `SKIPPED` for a task that is skipped."""
    return record.action.choice[row].masked_fill(record.outcome.skipped[row], SKIPPED)


def move_tasks(record: Record, row: int, rule: ShareRule, tasks: Tensor) -> tuple[Action, Outcome]:
    """The step in `row` with one task moved to each device, while the others stay where they are.

    tasks: (n,) int64, positions i J + j of the tasks to be moved, one at a time. Returns the actions and
    their outcomes as a batch of n (K + 1) worlds: first task on device 0 ... K, then the next task. A task that was skipped is
    computed in each of them; if nobody makes new shares, it requests an even one.
    """
    _, u, j, k = record.snapshot.shape
    count = len(tasks) * (k + 1)
    rows = torch.full((count,), row)
    snapshot, action = record.snapshot.select(rows), record.action.select(rows)
    devices = torch.arange(k + 1).repeat(len(tasks))[:, None]
    at = tasks.repeat_interleave(k + 1)[:, None]
    choice = action.choice.flatten(1).scatter(1, at, devices)
    skipped = record.outcome.skipped[row]
    revived = torch.zeros_like(choice, dtype=torch.bool).scatter(1, at, skipped.flatten()[at])
    computed = snapshot.active.flatten(1) & (~skipped.flatten() | revived)
    own = torch.arange(u * j) // j == at // j  # the tasks of the moved one's user, who alone uses its device
    on_device = (computed & (choice == devices) & (own | (devices > 0))).sum(1, keepdim=True)
    even = (1 / on_device.clamp_min(1)).to(action.cpu.dtype)
    cpu, bandwidth = (torch.where(revived, even, x.flatten(1)) for x in (action.cpu, action.bandwidth))
    moved = Action(*(x.view(count, u, j) for x in (choice, cpu, bandwidth)))
    moved = _with_rule(moved, snapshot, record, row, rule)
    return moved, outcome(snapshot, moved, record.scenario)


def _with_rule(action: Action, snapshot: Snapshot, record: Record, row: int, rule: ShareRule) -> Action:
    """The choices with the shares that the rule makes for them."""
    if rule != "planned":
        return with_shares(action, snapshot, record.scenario, rule)
    work = snapshot.active & ~((action.choice == 0) & (action.cpu <= 0))
    prices = battery_prices(record, row).expand(len(work), -1)
    return timely_shares(
        snapshot, action.choice, work, record.scenario, UnitCosts.of(snapshot, record.scenario, prices)
    )[0]


def step_costs(record: Record, row: int, result: Outcome) -> tuple[Tensor, Tensor]:
    """Total weighted cost of a step in each world of `result`, and what its energy costs later, Σ κ E; (n,) each."""
    energy = result.energy.sum(-1).to(torch.float64)
    return (result.cost * record.snapshot.weight[row]).sum((-2, -1)), energy @ battery_prices(record, row)


def unmoved(record: Record, row: int, rule: ShareRule) -> tuple[Tensor, Tensor]:
    """`step_costs` of the step with no task moved, after the rule has made its shares again; (1,) each."""
    one = slice(row, row + 1)
    snapshot = record.snapshot.select(one)
    action = _with_rule(record.action.select(one), snapshot, record, row, rule)
    return step_costs(record, row, outcome(snapshot, action, record.scenario))


def alternatives(record: Record, row: int, rule: ShareRule, user: int, task: int) -> Tensor:
    """Cost of every task of the step with one task moved to each device, (K + 1, U, J).

    user: number in the whole ward; task: from 1.
    """
    s = record.scenario
    return move_tasks(record, row, rule, torch.tensor([s.user_numbers.index(user) * s.tasks + task - 1]))[1].cost


def cost_changes(record: Record, row: int, rule: ShareRule) -> Tensor:
    """Change of what the step costs, now and later, if one task alone moved to a device, for each task and device, (U, J, K + 1).

    Exact: every entry evaluates the whole ward again. 0 at the chosen device; NaN where there is no task.
    """
    _, u, j, k = record.snapshot.shape
    parts = torch.arange(u * j).split(max(1, BATCH // (u * j * (k + 1))))
    costs = [torch.stack(step_costs(record, row, move_tasks(record, row, rule, part)[1])).sum(0) for part in parts]
    total = torch.cat(costs).view(u, j, k + 1)
    now = total.gather(2, record.action.choice[row][..., None])
    skipped = record.outcome.skipped[row]
    if bool(skipped.any()):
        now = torch.where(skipped[..., None], torch.stack(unmoved(record, row, rule)).sum(0), now)
    return (total - now).masked_fill(~record.snapshot.active[row][..., None], torch.nan)


def regrets(record: Record, row: int, rule: ShareRule, optimum: Tensor) -> pd.DataFrame:
    """Table of regrets in one step, one row for each task.

    optimum: (U, J) int64, the devices that the optimum chooses in the same step, see `devices`. Column `regret_best` compares
    with the best device for the task alone, `regret_optimum` with the optimum's device for it, NaN if the optimum skips the task;
    both are weighted costs. Users and devices have their numbers in the whole ward; `SKIPPED` is that of a skipped task.
    """
    s = record.scenario
    numbers = torch.tensor((*s.device_numbers, SKIPPED))  # the last one is that of the index -1
    change, chosen = cost_changes(record, row, rule), devices(record, row)
    active = record.snapshot.active[row]
    best = change.nan_to_num(0.0).argmin(-1)
    saved = (-change.amin(-1)).clamp_min(0.0)
    saved_optimum = -change.gather(2, optimum.clamp_min(0)[..., None]).squeeze(2)
    alike = optimum == chosen
    saved_optimum = torch.where(alike, 0.0, saved_optimum.masked_fill(optimum == SKIPPED, torch.nan))
    u, j = active.shape
    columns = {
        "step": torch.full((u, j), int(record.step[row])),
        "user": torch.tensor(s.user_numbers)[:, None].expand(u, j),
        "task": torch.arange(1, j + 1).expand(u, j),
        "choice": numbers[chosen],
        "optimum": numbers[optimum],
        "best": numbers[torch.where(saved > 0, best, chosen)],
        "weight": record.snapshot.weight[row],
        "cost": record.outcome.cost[row],
        "regret_best": saved + 0.0,  # + 0.0 makes -0.0 a plain 0
        "regret_optimum": saved_optimum + 0.0,
    }
    return pd.DataFrame({name: x[active].numpy() for name, x in columns.items()})
