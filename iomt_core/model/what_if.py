"""What every task would cost on every other device, all else as it was: the twin's what-if, for all tasks at once.

Requests stay as they are and are granted pro rata, as `allocation.py` has it. Moving one task changes the grants on the
device it leaves and on the device it joins, so both devices' other tasks run faster or slower by a common factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from iomt_core.model.batch import Batch
from iomt_core.model.channel import mean_rate
from iomt_core.model.outcome import SMALLEST_GRANT, Outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.special import scaled_exp1
from iomt_core.model.utility import task_cost
from iomt_core.scenario import Scenario


@dataclass(frozen=True)
class WhatIf(Batch):
    """Of each task (i, j) and each strategy s in 0 … K it could have taken."""

    cost: Tensor  # (B, U, J, K + 1, J) of each task j' of the same user
    others: Tensor  # (B, U, J, K + 1) what the task's being there costs the other users, weighted; 0 at home


def what_if(snapshot: Snapshot, action: Action, done: Outcome, s: Scenario) -> WhatIf:
    """Prices the K alternatives of every task of every world, given what was `done`.

    Costs of the same user's tasks are exact but for their transmission on a server that gets fuller or emptier, which
    like the other users' takes E[rate] ∝ bandwidth^ε with the elasticity ε of (6) where it stood.
    """
    b, u, j, k = snapshot.shape
    choice, x, y = action.choice, action.cpu * snapshot.active, action.bandwidth * snapshot.active
    at = torch.nn.functional.one_hot(choice, k + 1).to(x.dtype) * snapshot.active[..., None]  # (B, U, J, K + 1)
    on = at[..., 1:]
    asked_f, asked_b = (on * x[..., None]).sum((1, 2)), (on * y[..., None]).sum((1, 2))  # (B, K)
    asked_own = (at[..., 0] * x).sum(2)  # (B, U)

    # Factors by which everybody on a device slows down when the task joins it (> 1), or when it leaves (< 1).
    moved = torch.where(at > 0, -1.0, 1.0)
    totals = torch.cat([asked_own[:, :, None], asked_f[:, None].expand(b, u, k)], dim=2)[:, :, None]  # (B, U, 1, K + 1)
    slower_f = (totals + moved * x[..., None]).clamp_min(1.0) / totals.clamp_min(1.0)
    slower_b = (asked_b[:, None, None] + moved[..., 1:] * y[..., None]).clamp_min(1.0) / asked_b[
        :, None, None
    ].clamp_min(1.0)

    own, price = _alternatives(snapshot, x, y, totals, asked_b, at, s), s.alpha_T / s.T_max
    rate_exponent = _elasticity(snapshot, choice, done)

    # The other users: what joining or leaving a server costs them.
    sent = snapshot.weight * done.delay_tx * (price + snapshot.P_tr[..., None] * (s.alpha_E / s.E_ref))
    run_here = _of_others(on, snapshot.weight * done.delay_exe * price)  # (B, U, K)
    sent_here = _of_others(on, sent)
    # A mean of exponents from 0 to 1; where the others send next to nothing, rounding could carry it anywhere.
    exponent = (_of_others(on, sent * rate_exponent) / sent_here.clamp_min(1e-30)).clamp(0.0, 1.0)
    change = run_here[:, :, None] * (slower_f[..., 1:] - 1) + sent_here[:, :, None] * (
        slower_b.pow(exponent[:, :, None]) - 1
    )
    others = pad(torch.where(on > 0, -change, change), (1, 0))

    # The same user's tasks j': slowed by the device they are on, where the task joins or leaves it.
    run, carry, spend = done.delay_exe[:, :, None, None], done.delay_tx[:, :, None, None], done.energy[:, :, None, None]
    met = at[:, :, None].transpose(3, 4)  # (B, U, 1, K + 1, J'): whether j' is on device s
    stays = at[..., None]  # (B, U, J, K + 1, 1): the strategy taken
    joins_f = met * (slower_f[..., None] - 1)  # (B, U, J, K + 1, J')
    by_f = 1 + torch.where(stays > 0, 0.0, joins_f + _relief(joins_f, at))
    slower_b0 = pad(slower_b, (1, 0), value=1.0)
    joins_b = met * (slower_b0[..., None].pow(rate_exponent[:, :, None, None]) - 1)
    by_b = 1 + torch.where(stays > 0, 0.0, joins_b + _relief(joins_b, at))
    local = at[..., 0][:, :, None, None]
    energy = torch.where(local > 0, spend / by_f.square(), spend * by_b)
    cost = task_cost(run * by_f + carry * by_b, energy, s)
    itself = torch.eye(j, dtype=torch.bool, device=x.device)[:, None]
    cost = torch.where(itself, own[..., None], cost) * snapshot.active[:, :, None, None]
    return WhatIf(cost, others)


def _relief(joins: Tensor, at: Tensor) -> Tensor:
    """The factor of the device that the task leaves, whichever it joins; (B, U, J, 1, J')."""
    return (joins * at[..., None]).sum(3, keepdim=True)


def _alternatives(
    snapshot: Snapshot, x: Tensor, y: Tensor, totals: Tensor, asked_b: Tensor, at: Tensor, s: Scenario
) -> Tensor:
    """Each task's own cost on each device; (B, U, J, K + 1)."""
    away = 1 - at
    capacity = torch.cat([snapshot.F_i[:, :, None], snapshot.F_k[:, None].expand(-1, totals.shape[1], -1)], dim=2)
    f = (x[..., None] * capacity[:, :, None] / (totals + away * x[..., None]).clamp_min(1.0)).clamp_min_(SMALLEST_GRANT)
    band = (
        y[..., None]
        * snapshot.B_k[:, None, None]
        / (asked_b[:, None, None] + away[..., 1:] * y[..., None]).clamp_min(1.0)
    )
    run = snapshot.C[..., None] / f
    link = snapshot.beta[:, :, None].expand_as(band)
    carry = pad(snapshot.D[..., None] / mean_rate(band.clamp_min(SMALLEST_GRANT), link), (1, 0))
    spend = snapshot.P_tr[..., None, None] * carry
    spend[..., 0] = s.k0 * f[..., 0] ** 2 * snapshot.C
    return task_cost(run + carry, spend, s)


def _of_others(on: Tensor, values: Tensor) -> Tensor:
    """Sums of values >= 0 over the tasks of all other users on each server, (B, U, K)."""
    mine = (on * values[..., None]).sum(2)
    return (mine.sum(1, keepdim=True) - mine).clamp_min_(0.0)


def _elasticity(snapshot: Snapshot, choice: Tensor, done: Outcome) -> Tensor:
    """ε = d ln E[rate] / d ln b of (6) for each task's link, (B, U, J): 1 + x - 1 / (e^x E1(x)) at x = b / β.

    Where the difference would cancel, the first terms of its continued fraction.
    """
    link = snapshot.beta.gather(2, (choice - 1).clamp_min(0))
    x = done.b.clamp_min(SMALLEST_GRANT) / link
    far = 1 / (x + 3 - 4 / (x + 5 - 9 / (x + 7)))
    return torch.where(x > 30, far, 1 + x - 1 / scaled_exp1(x)).clamp(0.0, 1.0)
