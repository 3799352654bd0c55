"""Shares for given choices: equal or optimal.

For given choices the devices decouple, and the shares of each device are the solution of a convex problem: on a server
f ∝ sqrt(w C), and bandwidth by one multiplier; on a user's own CPU, one multiplier with the k0 f² term.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from iomt_core.model.allocation import device_index, per_device
from iomt_core.model.outcome import SMALLEST_GRANT, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.demand import LN2, OwnCpuTasks, UnitCosts, bandwidth_table
from iomt_core.scenario import Scenario

PUNCTUAL = 1e-6  # part of its deadline by which a task is planned to be early
PUNCTUAL_ITERATIONS = 12
MOST_SKIPS = 6
TIE = 1e-9  # relative; of equal tasks the last one is skipped


def equal_shares(snapshot: Snapshot, choice: Tensor) -> Action:
    """Divides each device equally among its tasks; `choice` (B, U, J)."""
    b, u, j, k = snapshot.shape
    device = device_index(choice, k)
    count = per_device(snapshot.active.to(snapshot.D.dtype), device, k).clamp_min_(1.0)
    share = (1 / count).gather(1, device).view(b, u, j)
    return Action(choice, share, share)


def optimal_shares(
    snapshot: Snapshot, choice: Tensor, s: Scenario, costs: UnitCosts | None = None, timely: bool = False
) -> Action:
    """The shares that minimise the weighted cost for these choices, (B, U, J). A user may leave part of its own CPU idle.

    costs: of a second and a joule of each task, if they are not the scenario's own. timely: whether a user's own CPU runs its
    tasks at least as fast as their deadlines ask, where it can.
    """
    k = snapshot.shape[3]
    costs = costs or UnitCosts.of(snapshot, s)
    device = device_index(choice, k)
    local = choice == 0
    root = (costs.second * snapshot.C).sqrt()
    server_share = root / per_device(root, device, k).gather(1, device).view_as(root).clamp_min(1e-300)
    delay, energy = (torch.where(local & snapshot.active, x, 1.0) for x in own_cpu_costs(snapshot, costs, s))
    least = (snapshot.C / snapshot.deadline * (1 + PUNCTUAL)).to(torch.float64) if timely else None
    F_i = snapshot.F_i.to(torch.float64).clamp_min(SMALLEST_GRANT)  # of a sensor without a CPU no share grants anything
    f_own = own_allocation(OwnCpuTasks(delay, energy, least), local & snapshot.active, F_i)
    cpu = torch.where(local, f_own / F_i[:, :, None], server_share)
    return Action(
        choice, cpu.to(snapshot.D.dtype), _best_bandwidth(snapshot, choice, device, costs).to(snapshot.D.dtype)
    )


def timely_shares(
    snapshot: Snapshot, choice: Tensor, work: Tensor, s: Scenario, costs: UnitCosts
) -> tuple[Action, Tensor]:
    """The cheapest shares with which all tasks of `work`, (B, U, J) bool, are in time, and the tasks for which there are some.

    Tasks that cannot be in time beside the others get no share, and so do all that are not of `work`: they are skipped.
    """
    for _ in range(MOST_SKIPS):
        action, late = _shares_in_time(snapshot, choice, work, s, costs)
        rows = late.flatten(1).any(1)
        if not bool(rows.any()):
            break
        # Of the tasks that are late on a device, the one that asks most for its weight is skipped.
        need = snapshot.C / snapshot.deadline / snapshot.weight.clamp_min(1e-12)
        order = torch.arange(need[0].numel(), device=need.device).view(need.shape[1:])
        need = (need * (1 + TIE * order)).masked_fill(~late, 0.0)
        device = device_index(choice, snapshot.shape[3])
        most = need.new_zeros(len(need), snapshot.shape[3] + snapshot.shape[1]).scatter_reduce_(
            1, device, need.flatten(1), "amax"
        )
        work = work & ~(late & (need >= most.gather(1, device).view_as(need)))
    else:
        work = work & ~late
        action, _ = _shares_in_time(snapshot, choice, work, s, costs)
    return action, work


def _shares_in_time(
    snapshot: Snapshot, choice: Tensor, work: Tensor, s: Scenario, costs: UnitCosts
) -> tuple[Action, Tensor]:
    """The shares, and which tasks are still late. A late task on a server counts more until it is in time."""
    at_work = replace(snapshot, active=work, all_active=False)
    costs = costs.only(work)
    second, joule = costs.second, costs.joule
    choice = choice.masked_fill(~work, 0)
    action = optimal_shares(at_work, choice, s, costs, timely=True)
    late = outcome(at_work, action, s).missed & work
    rows = late.flatten(1).any(1).nonzero().flatten()
    if len(rows):
        part, part_choice = at_work.select(rows), choice[rows]
        second, joule = second[rows], joule[rows]
        counted, on_server = second, part_choice > 0
        latency = _latency(part, part_choice) if s.has_latency else 0.0
        aim = (part.deadline * (1 - PUNCTUAL) - latency).clamp_min(1e-30)
        for _ in range(PUNCTUAL_ITERATIONS):
            shares = optimal_shares(part, part_choice, s, UnitCosts(counted, joule), timely=True)
            result = outcome(part, shares, s)
            if not bool((result.missed & part.active).any()):
                break
            factor = ((result.delay - latency) / aim).clamp(0.5, 3.0) ** 2
            counted = torch.where(on_server, torch.maximum(counted * factor, second), counted)
        action = action.replace_rows(rows, shares)
        late = late.index_copy(0, rows, result.missed & part.active)
    skipped = ~work
    return replace(
        action, cpu=action.cpu.masked_fill(skipped, 0.0), bandwidth=action.bandwidth.masked_fill(skipped, 0.0)
    ), late


def _latency(snapshot: Snapshot, choice: Tensor) -> Tensor:
    """Latency of each task's server, (B, U, J) s; 0 for local tasks."""
    wide = torch.nn.functional.pad(snapshot.latency, (1, 0))[:, None].expand(-1, choice.shape[1], -1)
    return wide.gather(2, choice)


def own_cpu_costs(snapshot: Snapshot, costs: UnitCosts, s: Scenario) -> tuple[Tensor, Tensor]:
    """`delay` and `energy` of `OwnCpuTasks`: weighted cost of a task's cycles on the own CPU, (B, U, J) each."""
    return costs.second * snapshot.C, costs.joule * s.k0 * snapshot.C


def own_allocation(tasks: OwnCpuTasks, mask: Tensor, F: Tensor, iterations: int = 7) -> Tensor:
    """Optimal frequencies on a user's own CPU for the tasks of `mask`, cycle/s; 0 for the other tasks.

    mask: (…, J) bool; F: the CPU's frequency, (…) cycle/s. Newton's method on Σ f(ν) = F. Where the tasks take less than F even
    at a price of 0, ν is 0, and the rest of the CPU stays idle to save energy. A smallest frequency of the tasks is kept where
    F suffices for it.
    """
    count = mask.sum(-1).clamp_min(1)
    even = F / count
    inverse = (mask / tasks.delay).sum(-1).clamp_min(1e-100)  # nu stays finite without tasks too
    twice = (tasks.twice * mask).sum(-1) / count
    nu = (1 / even**2 - twice * even).clamp_min(0.0) * count / inverse
    for _ in range(iterations):
        f = tasks.frequency(nu[..., None]).mul_(mask)
        slope = tasks.response(f.clamp_min(1e-30)).mul_(mask).sum(-1)
        nu = (f.sum(-1) - F).div_(slope.clamp_min_(1e-300)).add_(nu).clamp_min_(0.0)
    f = tasks.frequency(nu[..., None]).mul_(mask)
    if tasks.least is None:
        return f * (F / f.sum(-1).clamp_min(1e-30)).clamp_max(1.0)[..., None]
    least = tasks.least * mask
    spare = (F - least.sum(-1)).clamp_min(0.0) / (f - least).sum(-1).clamp_min(1e-30)
    f = least + (f - least) * spare.clamp_max(1.0)[..., None]
    return f * (F / f.sum(-1).clamp_min(1e-30)).clamp_max(1.0)[..., None]


def own_cost(tasks: OwnCpuTasks, mask: Tensor, F: Tensor) -> Tensor:
    """Minimal weighted cost of the tasks of `mask` on a user's own CPU, (…, J) -> (…); arguments as in `own_allocation`."""
    f = own_allocation(tasks, mask, F, iterations=3)
    return tasks.cost(f.clamp_min(1e-30)).masked_fill(~mask, 0.0).sum(-1)


def _best_bandwidth(snapshot: Snapshot, choice: Tensor, device: Tensor, costs: UnitCosts) -> Tensor:
    """Optimal bandwidth shares, (B, U, J), by one multiplier for each server; 0 for local tasks."""
    k = snapshot.shape[3]
    sent = (choice > 0) & snapshot.active
    beta = torch.nn.functional.pad(snapshot.beta.to(torch.float64), (1, 0), value=1.0).gather(2, choice)
    w_tx = ((costs.second + costs.joule * snapshot.P_tr[:, :, None]) * snapshot.D).clamp_min(1e-30)
    y_per_mu = beta * beta / (w_tx * LN2)
    capacity = torch.cat([snapshot.B_k, torch.ones_like(snapshot.F_i)], dim=1).to(torch.float64)
    # The first multiplier assumes equal links. b falls about with mu^-0.52, so an exponent of 1.9 nearly reaches the capacity.
    root = w_tx.sqrt() * sent
    total = per_device(root, device, k).clamp_min(1e-30)
    x = (root * (capacity / total).gather(1, device).view_as(beta) / beta).clamp_min(1e-25)
    mu = _weighted_mean(1 / (x * x * (1 + torch.log1p(1 / x))) / y_per_mu, root, total, device, k)
    usage = root
    for _ in range(7):
        y = (mu.gather(1, device).view_as(beta) * y_per_mu).clamp(1e-24, 1e49)
        usage = bandwidth_table()(y)[1] * beta * sent
        mu = mu * (per_device(usage, device, k) / capacity).clamp_min(1e-12).pow(1.9)
    return usage / per_device(usage, device, k).gather(1, device).view_as(usage).clamp_min(1e-300)


def _weighted_mean(values: Tensor, weights: Tensor, total: Tensor, device: Tensor, k: int) -> Tensor:
    return (per_device(values * weights, device, k) / total).clamp_min(1e-300)
