"""Shares for given choices: equal or optimal.

For given choices the devices decouple, and the shares of each device are the solution of a convex problem: on a server
f ∝ sqrt(w C), and bandwidth by one multiplier; on a user's own CPU, one multiplier with the k0 f² term.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.allocation import device_index, per_device
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.demand import LN2, bandwidth_table, delay_price, energy_price, own_curvature, own_frequency
from iomt_core.scenario import Scenario


def equal_shares(snapshot: Snapshot, choice: Tensor) -> Action:
    """Divides each device equally among its tasks; `choice` (B, U, J)."""
    b, u, j, k = snapshot.shape
    device = device_index(choice, k)
    count = per_device(snapshot.active.to(snapshot.D.dtype), device, k).clamp_min_(1.0)
    share = (1 / count).gather(1, device).view(b, u, j)
    return Action(choice, share, share)


def optimal_shares(snapshot: Snapshot, choice: Tensor, s: Scenario) -> Action:
    """The shares that minimise the weighted cost for these choices, (B, U, J). A user may leave part of its own CPU idle."""
    k = snapshot.shape[3]
    device = device_index(choice, k)
    local = choice == 0
    weight = snapshot.weight.to(torch.float64)
    root = (weight * snapshot.C).sqrt()
    server_share = root / per_device(root, device, k).gather(1, device).view_as(root).clamp_min(1e-300)
    f_own = own_allocation(weight * snapshot.C, local & snapshot.active, snapshot.F_i.to(torch.float64), s)
    cpu = torch.where(local, f_own / snapshot.F_i[:, :, None], server_share)
    return Action(choice, cpu.to(snapshot.D.dtype), _best_bandwidth(snapshot, choice, device, s).to(snapshot.D.dtype))


def own_allocation(q: Tensor, mask: Tensor, F: Tensor, s: Scenario, iterations: int = 7) -> Tensor:
    """Optimal frequencies on a user's own CPU for the tasks of `mask`, cycle/s; 0 for the other tasks.

    q: w C, (…, J); mask: (…, J) bool; F: the CPU's frequency, (…) cycle/s. Newton's method on Σ f(ν/q) = F. Where the tasks
    take less than F even at a price of 0, ν is 0, and the rest of the CPU stays idle to save energy.
    """
    A, g = delay_price(s), energy_price(s) * s.k0
    q = torch.where(mask, q, 1.0).clamp_min(1e-9)
    count = mask.sum(-1).clamp_min(1)
    even = F / count
    y = (A / even**2 - 2 * g * even).clamp_min(0.0)
    nu = y * count / (mask / q).sum(-1).clamp_min(1e-30)
    for _ in range(iterations):
        f = own_frequency(nu[..., None] / q, s) * mask
        slope = (mask / (q * own_curvature(f.clamp_min(1e-30), s))).sum(-1)
        nu = (nu + (f.sum(-1) - F) / slope.clamp_min(1e-300)).clamp_min(0.0)
    f = own_frequency(nu[..., None] / q, s) * mask
    return f * (F / f.sum(-1).clamp_min(1e-30)).clamp_max(1.0)[..., None]


def own_cost(q: Tensor, mask: Tensor, F: Tensor, s: Scenario) -> Tensor:
    """Minimal weighted cost of the tasks of `mask` on a user's own CPU, (…, J) -> (…); arguments as in `own_allocation`."""
    f = own_allocation(q, mask, F, s, iterations=3)
    per_cycle = delay_price(s) / f.clamp_min(1e-30) + energy_price(s) * s.k0 * f * f
    return (q * per_cycle).masked_fill(~mask, 0.0).sum(-1)


def _best_bandwidth(snapshot: Snapshot, choice: Tensor, device: Tensor, s: Scenario) -> Tensor:
    """Optimal bandwidth shares, (B, U, J), by one multiplier for each server; 0 for local tasks."""
    k = snapshot.shape[3]
    sent = (choice > 0) & snapshot.active
    beta = torch.nn.functional.pad(snapshot.beta.to(torch.float64), (1, 0), value=1.0).gather(2, choice)
    price = delay_price(s) + energy_price(s) * snapshot.P_tr.to(torch.float64)
    w_tx = (snapshot.weight * price[:, :, None] * snapshot.D).clamp_min(1e-30)
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
