"""A lower bound on every policy's cost in a step, from the Lagrangian dual of the step's problem.

With prices λ_k (server CPU), μ_k (server bandwidth) and ν_i (own CPU) the tasks decouple:

    bound(λ, μ, ν) = Σ_ij min over s of [ local: min_f cost + ν_i f ; server k: min_{f,b} cost + λ_k f + μ_k b ]
                     - Σ λ_k F_k - Σ μ_k B_k - Σ ν_i F_i

It holds for any prices ≥ 0 and is concave in them. It is maximised by Newton's method in the logarithms of the prices on
a smoothed dual, in which a softmin at temperature τ stands for the min over s and τ falls; the bound reported is the
hard one, the best seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.model.batch import Batch
from iomt_core.model.special import scaled_exp1
from iomt_core.model.snapshot import Snapshot
from iomt_core.policies.demand import LN2, bandwidth_table, delay_price, energy_price, own_curvature, own_frequency
from iomt_core.scenario import Scenario

# A bound may not be too high by rounding: the task values are exact to 1e-11 (see BandwidthTable).
SAFETY = 1e-9
ITERATIONS = 22
WARMEST, COLDEST = 0.3, 0.003


@dataclass(frozen=True)
class Prices(Batch):
    """Shadow prices: the weighted cost that one more unit of a resource would save in this step."""

    cpu: Tensor  # (B, K) λ, 1/(cycle/s)
    bandwidth: Tensor  # (B, K) μ, 1/Hz
    own: Tensor  # (B, U) ν, 1/(cycle/s)


@dataclass(frozen=True)
class DualSolution(Batch):
    """The certificate of a step."""

    bound: Tensor  # (B,) no policy's total weighted cost in this step is lower
    prices: Prices
    values: Tensor  # (B, U, J, K + 1) what each task costs at these prices where it goes
    inclination: Tensor  # (B, U, J, K + 1) softmin of the values at the last temperature; sums to 1


class Problem:
    """The step's decoupled task problems as a function of prices; float64."""

    def __init__(self, snapshot: Snapshot, s: Scenario) -> None:
        self.s = s
        self.shape = snapshot.shape
        self.active = snapshot.active
        self.F_k, self.B_k, self.F_i = (x.to(torch.float64) for x in (snapshot.F_k, snapshot.B_k, snapshot.F_i))
        weight = snapshot.weight.to(torch.float64)
        energy = energy_price(s) * snapshot.P_tr.to(torch.float64)
        # Tasks that are not there get harmless sizes here and are masked out of every sum.
        self.q = (weight * snapshot.C).masked_fill(~self.active, 1.0)
        self.w_tx = (weight * (delay_price(s) + energy[:, :, None]) * snapshot.D).masked_fill(~self.active, 1.0)
        beta = snapshot.beta.to(torch.float64)
        self.beta = beta
        self.root = (self.q * delay_price(s)).sqrt()
        self.tx_scale = self.w_tx[..., None] * (LN2 / beta)[:, :, None]
        self.tx_y = (beta * beta / LN2)[:, :, None] / self.w_tx[..., None]
        cap = self.B_k[:, None] / beta
        self.x_cap = cap[:, :, None]
        self.v_cap = (1 / (cap * scaled_exp1(cap)))[:, :, None]

    def task_values(self, p: Prices) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values (B, U, J, K+1) and what is used at them: f own (B, U, J), f and b of each server (B, U, J, K)."""
        s = self.s
        f_own = torch.minimum(own_frequency(p.own[:, :, None] / self.q, s), self.F_i[:, :, None])
        value_own = self.q * (delay_price(s) / f_own + energy_price(s) * s.k0 * f_own * f_own) + p.own[:, :, None] * f_own
        lam, mu = p.cpu[:, None, None], p.bandwidth[:, None, None]
        f = torch.minimum(self.root[..., None] * lam.rsqrt(), self.F_k[:, None, None])
        y = mu * self.tx_y
        best, x = bandwidth_table()(y)
        capped = x > self.x_cap
        x = torch.where(capped, self.x_cap, x)
        best = torch.where(capped, self.v_cap + y * self.x_cap, best)
        value = (self.root * self.root)[..., None] / f + lam * f + self.tx_scale * best
        return torch.cat([value_own[..., None], value], dim=-1), f_own, f, x * self.beta[:, :, None]

    def first_prices(self) -> Prices:
        """A guess: a little over half of all tasks go to the servers, spread evenly."""
        _, u, j, k = self.shape
        share = max(1.0, 0.55 * u * j / k)
        mean_root = (self.root * self.active).sum((1, 2)) / self.active.sum((1, 2)).clamp_min(1)
        cpu = (share * mean_root[:, None] / self.F_k) ** 2
        x = (self.B_k / share)[:, None] / self.beta
        band = self.w_tx.mean(-1, keepdim=True) * LN2 / scaled_exp1(x)  # c² of cost c²/b
        bandwidth = (share * band.sqrt().mean(1) / self.B_k) ** 2
        f = self.F_i / max(1.0, 0.45 * j)
        y = delay_price(self.s) / f**2 - 2 * energy_price(self.s) * self.s.k0 * f
        floor = 1e-3 * delay_price(self.s) / f**2
        return Prices(cpu, bandwidth, self.q.mean(-1) * torch.maximum(y, floor))


def solve_dual(snapshot: Snapshot, s: Scenario, iterations: int = ITERATIONS) -> DualSolution:
    """Maximises the bound for every world of the batch; float64 whatever the snapshot's dtype."""
    problem = Problem(snapshot, s)
    b, u, j, k = problem.shape
    capacity = torch.cat([problem.F_k, problem.B_k, problem.F_i], dim=1)
    first = problem.first_prices()
    theta = torch.cat([first.cpu, first.bandwidth, first.own], dim=1).log()
    lowest = theta - 25.0
    best_bound = theta.new_full((b,), -torch.inf)
    best_theta = theta.clone()
    eye = torch.eye(2 * k + u, dtype=theta.dtype, device=theta.device)
    scale: Tensor | None = None
    temperature = WARMEST
    cooling = (COLDEST / WARMEST) ** (1 / max(1, iterations - 4))
    for _ in range(iterations):
        prices = _split(theta, k)
        values, f_own, f, band = problem.task_values(prices)
        hard = (values.amin(-1) * problem.active).sum((1, 2)) - (theta.exp() * capacity).sum(1)
        better = hard > best_bound
        best_bound = torch.where(better, hard, best_bound)
        best_theta = torch.where(better[:, None], theta, best_theta)
        if scale is None:
            scale = values.mean(-1, keepdim=True)
        tau = temperature * scale
        pi = torch.softmax(-values / tau, dim=-1) * problem.active[..., None]
        gradient, hessian = _spend(problem, prices, pi, tau.squeeze(-1), f_own, f, band)
        paid = theta.exp() * capacity
        gradient = gradient - paid
        damping = 1e-2 * paid + 1e-12
        step = torch.linalg.solve(hessian + eye * damping[:, None], gradient).clamp_(-0.7, 0.7)
        theta = torch.maximum(theta + step, lowest)
        temperature = max(temperature * cooling, COLDEST)
    prices = _split(best_theta, k)
    values, *_ = problem.task_values(prices)
    assert scale is not None
    inclination = torch.softmax(-values / (4 * COLDEST * scale), dim=-1)
    return DualSolution(best_bound * (1 - SAFETY), prices, values, inclination)


def _split(theta: Tensor, k: int) -> Prices:
    price = theta.exp()
    return Prices(price[:, :k], price[:, k : 2 * k], price[:, 2 * k :])


def _spend(
    problem: Problem, p: Prices, pi: Tensor, tau: Tensor, f_own: Tensor, f: Tensor, band: Tensor
) -> tuple[Tensor, Tensor]:
    """What the tasks spend on each resource (B, 2K + U), and minus the curvature of the smoothed dual in log prices.

    The curvature has two parts: each task's own answer to a price (half of its spending on servers, as f and b fall
    about with the root of the price), and 1/τ times the covariance of spending under the softmin.
    """
    b, u, j, k = problem.shape
    cpu, bandwidth = p.cpu[:, None, None] * f, p.bandwidth[:, None, None] * band
    own = p.own[:, :, None] * f_own
    pi_own, pi_server = pi[..., 0], pi[..., 1:]
    spent_cpu, spent_band, spent_own = pi_server * cpu, pi_server * bandwidth, pi_own * own
    total_cpu, total_band = spent_cpu.sum((1, 2)), spent_band.sum((1, 2))
    gradient = torch.cat([total_cpu, total_band, spent_own.sum(-1)], dim=1)
    hessian = gradient.new_zeros(b, 2 * k + u, 2 * k + u)
    inverse = (1 / tau)[..., None]
    mean = torch.cat([spent_cpu, spent_band], dim=-1).view(b, u * j, 2 * k)
    weighted = mean * inverse.view(b, u * j, 1)
    hessian[:, : 2 * k, : 2 * k] = -mean.mT @ weighted
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    diagonal[:, :k] += 0.5 * total_cpu + (spent_cpu * cpu * inverse).sum((1, 2))
    diagonal[:, k : 2 * k] += 0.5 * total_band + (spent_band * bandwidth * inverse).sum((1, 2))
    both = (spent_cpu * bandwidth * inverse).sum((1, 2))
    hessian[:, :k, k : 2 * k].diagonal(dim1=1, dim2=2).add_(both)
    hessian[:, k : 2 * k, :k].diagonal(dim1=1, dim2=2).add_(both)
    answer = p.own[:, :, None] ** 2 / (problem.q * own_curvature(f_own, problem.s))
    diagonal[:, 2 * k :] += (pi_own * answer + (spent_own * own - spent_own * spent_own) / tau).sum(-1)
    cross = -(weighted.view(b, u, j, 2 * k) * spent_own[..., None]).sum(2)
    hessian[:, 2 * k :, : 2 * k] = cross
    hessian[:, : 2 * k, 2 * k :] = cross.mT
    return gradient, hessian
