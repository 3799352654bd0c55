"""Cost of every task on every other device, with all other choices unchanged, for all tasks at once.

Requests do not change and are granted pro rata, see `allocation.py`. Moving a task changes the grants on the device that it
leaves and on the device that it joins; the other tasks on these devices then run faster or slower by a common factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from iomt_core.model.batch import Batch
from iomt_core.model.channel import mean_rate
from iomt_core.model.outcome import SMALLEST_GRANT, Outcome
from iomt_core.model.snapshot import Action, Snapshot, deadlines
from iomt_core.model.special import scaled_exp1
from iomt_core.model.utility import COST_MAX, joule_price, task_cost
from iomt_core.scenario import Scenario


@dataclass(frozen=True)
class WhatIf(Batch):
    """Costs for each task (i, j) and each strategy s in 0 … K that it could have chosen."""

    cost: Tensor  # (B, U, J, K + 1, J) cost of each task j' of the same user
    others: Tensor  # (B, U, J, K + 1) weighted cost that the task causes for the other users; 0 if local


def what_if(
    snapshot: Snapshot,
    action: Action,
    done: Outcome,
    s: Scenario,
    on_servers: Tensor | None = None,
    battery_price: Tensor | None = None,
    late_earns_nothing: bool = False,
) -> WhatIf:
    """Evaluates the K alternatives of every task in every world; `done` is the outcome of `action`.

    on_servers: shares of CPU and bandwidth that each task requests on servers, (B, U, J, 2), or (B, U, J, K, 2) if not the same
    on all; if not given, its shares in `action`. On its own device a task always requests the latter. battery_price: κ, what a
    joule of each user's battery is worth, (B, U) 1/J; costs then contain it. late_earns_nothing: a task after its deadline costs
    `COST_MAX` at least.

    Exact, with one exception: where a server gets more or fewer tasks, the transmission of its tasks follows the approximation
    E[rate] ∝ bandwidth^ε, with the elasticity ε of (6) at the granted bandwidth.
    """
    b, u, j, k = snapshot.shape
    choice, x, y = action.choice, action.cpu * snapshot.active, action.bandwidth * snapshot.active
    chosen = torch.nn.functional.one_hot(choice, k + 1).to(x.dtype) * snapshot.active[..., None]  # (B, U, J, K + 1)
    on = chosen[..., 1:]
    requested_own = (chosen[..., 0] * x).sum(2)  # (B, U)
    own_x = x[..., None]
    if on_servers is None:
        x, y = own_x, y[..., None]
    else:
        shares = on_servers if on_servers.dim() == 5 else on_servers[..., None, :]
        x, y = (shares * snapshot.active[..., None, None]).unbind(-1)
    requested_f, requested_b = (on * x).sum((1, 2)), (on * y).sum((1, 2))  # (B, K)
    x = torch.cat([own_x, x.expand(b, u, j, k)], -1)  # (B, U, J, K + 1), on each device

    # Factors by which the tasks of a device slow down when the task joins it (> 1), or when it leaves (< 1).
    change_sign = torch.where(chosen > 0, -1.0, 1.0)
    totals = torch.cat([requested_own[:, :, None], requested_f[:, None].expand(b, u, k)], dim=2)
    totals = totals[:, :, None]  # (B, U, 1, K + 1)
    slower_f = (totals + change_sign * x).clamp_min(1.0) / totals.clamp_min(1.0)
    total_b = requested_b[:, None, None]
    slower_b = (total_b + change_sign[..., 1:] * y).clamp_min(1.0) / total_b.clamp_min(1.0)

    price, joule = s.alpha_T / deadlines(snapshot, s), joule_price(snapshot, s, battery_price)
    own = _alternatives(snapshot, x, y, totals, requested_b, chosen, s, joule, late_earns_nothing)
    rate_exponent = _elasticity(snapshot, choice, done)

    # The other users: the cost of the task's joining or leaving their server.
    sent = snapshot.weight * done.delay_tx * (price + snapshot.P_tr[..., None] * joule)
    run_on_server = _of_others(on, snapshot.weight * done.delay_exe * price)  # (B, U, K)
    sent_on_server = _of_others(on, sent)
    # A mean of exponents between 0 and 1; rounding could move it out of this range where the others send almost nothing.
    exponent = (_of_others(on, sent * rate_exponent) / sent_on_server.clamp_min(1e-30)).clamp(0.0, 1.0)
    change = run_on_server[:, :, None] * (slower_f[..., 1:] - 1) + sent_on_server[:, :, None] * (
        slower_b.pow(exponent[:, :, None]) - 1
    )
    if late_earns_nothing:
        slower = slower_f[..., 1:], slower_b
        change = change + _lateness_of_others(snapshot, choice, done, s, slower, rate_exponent, on, joule)
    others = pad(torch.where(on > 0, -change, change), (1, 0))

    # The same user's tasks j', which slow down if the task joins their device and speed up if it leaves.
    execution, transmission, spent = (x[:, :, None, None] for x in (done.delay_exe, done.delay_tx, done.energy))
    shares_device = chosen[:, :, None].transpose(3, 4)  # (B, U, 1, K + 1, J'): whether j' is on device s
    stays = chosen[..., None]  # (B, U, J, K + 1, 1): the strategy taken
    joins_f = shares_device * (slower_f[..., None] - 1)  # (B, U, J, K + 1, J')
    by_f = 1 + torch.where(stays > 0, 0.0, joins_f + _relief(joins_f, chosen))
    slower_b0 = pad(slower_b, (1, 0), value=1.0)
    joins_b = shares_device * (slower_b0[..., None].pow(rate_exponent[:, :, None, None]) - 1)
    by_b = 1 + torch.where(stays > 0, 0.0, joins_b + _relief(joins_b, chosen))
    local = chosen[..., 0][:, :, None, None]
    energy = torch.where(local > 0, spent / by_f.square(), spent * by_b)
    deadline = snapshot.deadline[:, :, None, None]
    delay = execution * by_f + transmission * by_b
    if s.has_latency:
        constant = done.delay - done.delay_exe - done.delay_tx
        delay = delay + constant[:, :, None, None]
    cost = task_cost(delay, energy, deadline, s, joule[:, :, None, None])
    if late_earns_nothing:
        cost = torch.where(delay > deadline, cost.clamp_min(COST_MAX), cost)
    cost = torch.where(done.skipped[:, :, None, None], COST_MAX, cost)  # by nobody, wherever the others are
    itself = torch.eye(j, dtype=torch.bool, device=x.device)[:, None]
    cost = torch.where(itself, own[..., None], cost) * snapshot.active[:, :, None, None]
    return WhatIf(cost, others)


def _relief(joins: Tensor, chosen: Tensor) -> Tensor:
    """The factor for the device that the task leaves, the same for every device that it joins; (B, U, J, 1, J')."""
    return (joins * chosen[..., None]).sum(3, keepdim=True)


def _alternatives(
    snapshot: Snapshot,
    x: Tensor,
    y: Tensor,
    totals: Tensor,
    requested_b: Tensor,
    chosen: Tensor,
    s: Scenario,
    joule: Tensor,
    late_earns_nothing: bool,
) -> Tensor:
    """Cost of each task itself on each device, (B, U, J, K + 1), on which it requests `x` of the CPU; `y`: of the bandwidth."""
    elsewhere = 1 - chosen
    capacity = torch.cat([snapshot.F_i[:, :, None], snapshot.F_k[:, None].expand(-1, totals.shape[1], -1)], dim=2)
    granted = x * capacity[:, :, None] / (totals + elsewhere * x).clamp_min(1.0)
    f = granted.clamp_min(SMALLEST_GRANT)
    band = y * snapshot.B_k[:, None, None] / (requested_b[:, None, None] + elsewhere[..., 1:] * y).clamp_min(1.0)
    execution = snapshot.C[..., None] / f
    link = snapshot.beta[:, :, None].expand_as(band)
    transmission = pad(snapshot.D[..., None] / mean_rate(band.clamp_min(SMALLEST_GRANT), link), (1, 0))
    energy = snapshot.P_tr[..., None, None] * transmission
    energy[..., 0] = s.k0 * f[..., 0] ** 2 * snapshot.C
    delay = execution + transmission
    if s.has_latency:
        delay[..., 1:] += snapshot.latency[:, None, None]
    cost = task_cost(delay, energy, snapshot.deadline[..., None], s, joule[..., None])
    if late_earns_nothing:
        cost = torch.where(delay > snapshot.deadline[..., None], cost.clamp_min(COST_MAX), cost)
    cost[..., 0].masked_fill_(granted[..., 0] <= 0, COST_MAX)  # skipped
    return cost


def _of_others(on: Tensor, values: Tensor) -> Tensor:
    """Sum of values >= 0 over the tasks of all other users on each server, (B, U, K)."""
    own = (on * values[..., None]).sum(2)
    return (own.sum(1, keepdim=True) - own).clamp_min_(0.0)


def _lateness_of_others(
    snapshot: Snapshot,
    choice: Tensor,
    done: Outcome,
    s: Scenario,
    slower: tuple[Tensor, Tensor],
    exponent: Tensor,
    on: Tensor,
    joule: Tensor,
) -> Tensor:
    """How a task changes what other users lose by being late, beyond their cost, by joining their server or leaving it.

    slower: factors by which CPU and bandwidth of each server slow down its tasks, (B, U, J, K). Returns that shape.
    """
    b, u, j, k = slower[0].shape
    server = (choice - 1).clamp_min(0).flatten(1)[:, None].expand(b, u * j, u * j)  # of task m, for each task i, j
    f, band = (x.flatten(1, 2).gather(2, server) for x in slower)
    executed, sent, deadline, delay, energy, joule, weight, cost = (
        x.flatten(1)[:, None]
        for x in (
            done.delay_exe, done.delay_tx, snapshot.deadline, done.delay, done.energy, joule, snapshot.weight, done.cost,
        )
    )  # fmt: skip
    longer = band.pow(exponent.flatten(1)[:, None])
    then = executed * f + sent * longer + (delay - executed - sent)
    after = task_cost(then.clone(), energy * longer, deadline, s, joule)
    lost = (then > deadline) * (COST_MAX - after).clamp_min(0.0) - (delay > deadline) * (COST_MAX - cost).clamp_min(0.0)
    lost = lost * weight
    apart = 1 - torch.eye(u, dtype=lost.dtype, device=lost.device).repeat_interleave(j, 0).repeat_interleave(j, 1)
    return ((lost * apart) @ on.flatten(1, 2)).view(b, u, j, k)


def _elasticity(snapshot: Snapshot, choice: Tensor, done: Outcome) -> Tensor:
    """ε = d ln E[rate] / d ln b of (6) for each task's link, (B, U, J): 1 + x - 1 / (e^x E1(x)) at x = b / β.

    For large x, where the difference would cancel, the first terms of its continued fraction.
    """
    link = snapshot.beta.gather(2, (choice - 1).clamp_min(0))
    x = done.b.clamp_min(SMALLEST_GRANT) / link
    far = 1 / (x + 3 - 4 / (x + 5 - 9 / (x + 7)))
    return torch.where(x > 30, far, 1 + x - 1 / scaled_exp1(x)).clamp(0.0, 1.0)
