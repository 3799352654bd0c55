"""A lower bound on every policy's cost in a step, from the Lagrangian dual of the step's problem.

With prices λ_k (server CPU), μ_k (server bandwidth) and ν_i (own CPU) the tasks decouple:

    bound(λ, μ, ν) = Σ_ij min over s of [ local: min_f cost + ν_i f ; server k: min_{f,b} cost + λ_k f + μ_k b ]
                     - Σ λ_k F_k - Σ μ_k B_k - Σ ν_i F_i

The delay of a task on a server includes the server's latency, a constant. The bound holds for any prices ≥ 0 and is concave in
them. Newton's method in the logarithms of the prices maximises a smoothed dual, in which a softmin at a falling temperature τ
replaces the min over s. The quality of this search decides how high the bound is, not whether it holds: the result is evaluated
again at the best prices found, with each task's minimum estimated from below, minus a margin for rounding
(`DualProblem.bound`). The result is never below the bound at prices of 0, which is a sum of costs, and is therefore not
negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.model.batch import Batch, without_autograd
from iomt_core.model.memory import check_memory
from iomt_core.model.outcome import SMALLEST_GRANT
from iomt_core.model.snapshot import Snapshot
from iomt_core.model.special import scaled_exp1
from iomt_core.policies.demand import LN2, OwnCpuTasks, UnitCosts, bandwidth_table
from iomt_core.policies.shares import own_cpu_costs
from iomt_core.scenario import Scenario, counted

# What rounding may do to a bound, relative to all that is added up in it. In float64 the minima of tasks are exact to 1e-11
# (see BandwidthTable), all else to 1e-14. A float32 snapshot's costs, which the bound must not exceed, are summed in float32.
MARGIN = {torch.float64: 3e-10, torch.float32: 3e-5}
# Near the presets ITERATIONS are enough. Far from them the first prices are wrong by orders of magnitude, and iterations
# continue while the bound of some world still rises by a part larger than ENOUGH, or while its steps are rejected although
# the gradient is still STEEP.
ITERATIONS, MOST_ITERATIONS = 14, 90
ENOUGH, STEEP = 5e-5, 1e-2
LONGEST_STEP, FARTHEST = 2.0, 60.0  # in log prices
WARMEST, COLDEST = 0.3, 0.003
TENSORS, MATRICES = (
    50,
    5,
)  # of every task on every device, and of all prices squared, that are in memory at once; measured
CERTIFYING = 4  # iterations of `OwnCpuTasks.frequency` for the values that a certificate is made of


@dataclass(frozen=True)
class Prices(Batch):
    """Shadow prices: the weighted cost that one more unit of a resource would save in this step."""

    cpu: Tensor  # (B, K) λ, 1/(cycle/s)
    bandwidth: Tensor  # (B, K) μ, 1/Hz
    own: Tensor  # (B, U) ν, 1/(cycle/s)

    @property
    def logarithms(self) -> Tensor:
        """Log prices, (B, 2K + U); `prices_at` is the inverse."""
        return torch.cat([self.cpu, self.bandwidth, self.own], dim=1).log()


@dataclass(frozen=True)
class DualSolution(Batch):
    """The certificates of B steps."""

    bound: Tensor  # (B,) lower bound on the total weighted cost of any policy that skips no task in this step
    skip_bound: Tensor  # (B,) the same for any policy; a skipped task costs 1 times its weight
    prices: Prices
    values: Tensor  # (B, U, J, K + 1) cost of each task on each device at these prices
    choice_weights: Tensor  # (B, U, J, K + 1) softmin weights of the values over the devices; their sum is 1


@dataclass(frozen=True)
class TaskValues(Batch):
    """Costs and resource use of the decoupled tasks at given prices."""

    value: Tensor  # (B, U, J, K + 1) cost on each device, including the price of the resources
    f_own: Tensor  # (B, U, J) cycle/s on the own CPU
    f: Tensor  # (B, U, J, K) cycle/s on each server
    band: Tensor  # (B, U, J, K) Hz of each server


class DualProblem:
    """The task problems of a step, which decouple at given prices; computed in float64.

    The cost of sending a task is `tx_scale` V(y) with y = μ `tx_y`, see `BandwidthTable`; x is bandwidth over β.
    """

    def __init__(self, snapshot: Snapshot, s: Scenario) -> None:
        self.s = s
        self.shape = snapshot.shape
        self.active = snapshot.active
        self.margin = MARGIN[snapshot.D.dtype]
        # Even a request of 0 is granted SMALLEST_GRANT, so a device may give this much more than its capacity for each task.
        _, u, j, _ = self.shape
        self.F_k, self.B_k = (x.to(torch.float64) + u * j * SMALLEST_GRANT for x in (snapshot.F_k, snapshot.B_k))
        self.F_i = snapshot.F_i.to(torch.float64) + j * SMALLEST_GRANT
        self.capacity = torch.cat([self.F_k, self.B_k, self.F_i], dim=1)
        self.costs = costs = UnitCosts.of(snapshot, s)
        self.weight = snapshot.weight.to(torch.float64)
        # Missing tasks cost 1 here and are masked out of every sum.
        self.own_tasks = OwnCpuTasks(*(x.masked_fill(~self.active, 1.0) for x in own_cpu_costs(snapshot, costs, s)))
        # W, the weighted cost of sending the task at 1 bit/s
        per_bit = costs.second + costs.joule * snapshot.P_tr.to(torch.float64)[:, :, None]
        self.w_tx = (per_bit * snapshot.D).masked_fill(~self.active, 1.0)
        beta = snapshot.beta.to(torch.float64)
        self.beta = beta
        self.C = snapshot.C.to(torch.float64).masked_fill(~self.active, 1.0)
        self.root = self.own_tasks.delay.sqrt()  # sqrt(a C)
        self.latency = snapshot.latency.to(torch.float64)[:, None, None] if s.has_latency else None  # (B, 1, 1, K) s
        # A task that costs W to send at 1 bit/s costs W `link_scale` V(μ `link_y` / W).
        self.link_scale, self.link_y = (LN2 / beta)[:, :, None], (beta * beta / LN2)[:, :, None]
        self.tx_scale = self.w_tx[..., None] * self.link_scale
        self.tx_y = self.link_y / self.w_tx[..., None]
        x_cap = self.B_k[:, None] / beta
        self.x_cap = x_cap[:, :, None]  # x at all of the server's bandwidth
        self.v_cap = (1 / (x_cap * scaled_exp1(x_cap)))[:, :, None]  # V there, without the price

    def task_values(self, p: Prices, iterations: int = 2) -> TaskValues:
        """Cost and resource use of every task on every device at these prices.

        iterations: see `OwnCpuTasks.frequency`; two are enough during the search.
        """
        nu = p.own[:, :, None]
        f_own = torch.minimum(self.own_tasks.frequency(nu, iterations), self.F_i[:, :, None])
        value_own = self.own_tasks.cost(f_own) + nu * f_own
        lam, mu = p.cpu[:, None, None], p.bandwidth[:, None, None]
        f = torch.minimum(self.root[..., None] * lam.rsqrt(), self.F_k[:, None, None])
        y = mu * self.tx_y
        best, x = bandwidth_table()(y)
        capped = x > self.x_cap
        x = torch.where(capped, self.x_cap, x)
        best = torch.where(capped, self.v_cap + y * self.x_cap, best)
        value = (self.root * self.root)[..., None] / f + lam * f + self.tx_scale * best
        if self.latency is not None:
            value = value + self.costs.second[..., None] * self.latency
        return TaskValues(
            torch.cat([value_own[..., None], value], dim=-1), f_own, f.expand_as(x), x * self.beta[:, :, None]
        )

    def bound(self, theta: Tensor, tasks: TaskValues, may_skip: bool = False) -> Tensor:
        """The bound at log prices `theta`, (B, 2K + U), minus the margin for rounding; (B,).

        may_skip: for policies that may skip tasks. The margin is relative to the summands, not to their difference, because at
        poor prices the summands nearly cancel.
        """
        least = tasks.value.amin(-1)
        costs = ((torch.minimum(least, self.weight) if may_skip else least) * self.active).sum((1, 2))
        paid = (theta.exp() * self.capacity).sum(1)
        return costs * (1 - self.margin) - paid * (1 + self.margin)

    def first_prices(self) -> Prices:
        """Starting prices: those at which a little over half of all tasks are offloaded, evenly over the servers."""
        _, u, j, k = self.shape
        share = max(1.0, 0.55 * u * j / k)
        mean_root = (self.root * self.active).sum((1, 2)) / self.active.sum((1, 2)).clamp_min(1)
        cpu = (share * mean_root[:, None] / self.F_k) ** 2
        x = (self.B_k / share)[:, None] / self.beta
        band = self.w_tx.mean(-1, keepdim=True) * LN2 / scaled_exp1(x)  # c² of cost c²/b
        bandwidth = (share * band.sqrt().mean(1) / self.B_k) ** 2
        f = self.F_i / max(1.0, 0.45 * j)
        delay, energy = self.own_tasks.delay, self.own_tasks.energy
        f = f[:, :, None]
        own = torch.maximum(delay / f**2 - 2 * energy * f, 1e-3 * delay / f**2)
        return Prices(cpu, bandwidth, own.mean(-1))


@without_autograd
def solve_dual(snapshot: Snapshot, s: Scenario, iterations: int = ITERATIONS) -> DualSolution:
    """Maximises the bound for every world of the batch, in float64 for any dtype of the snapshot.

    Levenberg-Marquardt: each world has its own damping, which falls while steps raise its smoothed dual. A step that does not
    raise it is rejected, and the damping grows.
    """
    b, u, j, k = snapshot.shape
    needed = TENSORS * b * u * j * (k + 1) + MATRICES * b * (2 * k + u) ** 2
    check_memory(f"certificates of {counted(b, 'step')} of {s.size_words}", 8 * needed)
    problem = DualProblem(snapshot, s)
    capacity = problem.capacity
    theta = problem.first_prices().logarithms
    lowest = theta - FARTHEST

    def smooth_bound(log_prices: Tensor, tasks: TaskValues, tau: Tensor) -> tuple[Tensor, Tensor]:
        soft, pi = softmin(tasks.value, tau)
        return (soft * problem.active).sum((1, 2)) - (log_prices.exp() * capacity).sum(1), pi

    # Prices of 0 also give a bound, which is better if the resources are enough for all tasks.
    free = best_theta = torch.full_like(theta, -torch.inf)
    free_tasks = problem.task_values(prices_at(free, k), CERTIFYING)
    free_bound = best_bound = problem.bound(free, free_tasks)
    tasks = problem.task_values(prices_at(theta, k))
    scale = 2 * tasks.value.amin(-1, keepdim=True)
    damping = theta.new_full((b, 1), 1e-2)
    temperature, cooling = WARMEST, (COLDEST / WARMEST) ** (1 / max(1, iterations - 4))
    settled, slope = theta.new_full((b,), -torch.inf), theta.new_full((b,), torch.inf)
    moving = torch.ones(
        b, dtype=torch.bool, device=theta.device
    )  # a world that has converged does not change with the rest of the batch
    for iteration in range(MOST_ITERATIONS):
        tau = temperature * scale
        current, pi = smooth_bound(theta, tasks, tau)
        if iteration >= iterations - 2 and (iteration - iterations) % 2 == 0:
            rejected = (damping[:, 0] > 1) & (slope > STEEP * best_bound.abs())
            moving = moving & ((current - settled > ENOUGH * best_bound.abs()) | rejected)
            if not bool(moving.any()):
                break
            settled = current
        gradient, hessian = spending_and_curvature(
            problem, prices_at(theta, k), (tasks.f_own, tasks.f, tasks.band), problem.own_tasks, pi, tau
        )
        gradient -= theta.exp() * capacity
        slope = gradient.abs().sum(1)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        diagonal += damping * (diagonal + gradient.abs()) + 1e-12 * best_bound.abs()[:, None] + 1e-300
        step = torch.linalg.solve_ex(hessian, gradient)[0].clamp_(-LONGEST_STEP, LONGEST_STEP)
        trial = torch.maximum(theta + step, lowest)
        trial_tasks = problem.task_values(prices_at(trial, k))
        rises = moving & (smooth_bound(trial, trial_tasks, tau)[0] >= current - 1e-10 * current.abs())
        theta = torch.where(rises[:, None], trial, theta)
        tasks = tasks.replace_where(rises, trial_tasks)
        damping = torch.where(rises[:, None], damping * 0.3, damping * 8).clamp_(1e-4, 1e6)
        bound = problem.bound(trial, trial_tasks)
        better = moving & (bound > best_bound)
        best_bound = torch.where(better, bound, best_bound)
        best_theta = torch.where(better[:, None], trial, best_theta)
        temperature = max(temperature * cooling, COLDEST)
    tasks = problem.task_values(prices_at(best_theta, k), CERTIFYING)
    best_bound = problem.bound(best_theta, tasks)
    skip_bound = torch.maximum(problem.bound(best_theta, tasks, True), problem.bound(free, free_tasks, True))
    worse = best_bound < free_bound
    best_theta, best_bound = torch.where(worse[:, None], free, best_theta), torch.maximum(best_bound, free_bound)
    values = tasks.replace_where(worse, free_tasks).value
    _, choice_weights = softmin(values, 8 * COLDEST * values.amin(-1, keepdim=True))
    return DualSolution(best_bound, skip_bound, prices_at(best_theta, k), values, choice_weights)


def prices_at(theta: Tensor, k: int) -> Prices:
    """The prices of K servers at log prices `theta`, (B, 2K + U)."""
    price = theta.exp()
    return Prices(price[:, :k], price[:, k : 2 * k], price[:, 2 * k :])


def softmin(values: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """The smoothed minimum over the last axis, (…), and the softmin weights of its entries, which add up to 1.

    tau: temperature, (…, 1). torch's softmax and logsumexp are slow over an axis as short as this and share no work.
    """
    least = values.amin(-1, keepdim=True)
    weights = ((least - values) / tau).exp_()
    total = weights.sum(-1, keepdim=True)
    return (least - tau * total.log())[..., 0], weights / total


def spending_and_curvature(
    problem: DualProblem,
    p: Prices,
    demand: tuple[Tensor, Tensor, Tensor],
    own_tasks: OwnCpuTasks,
    pi: Tensor,
    tau: Tensor,
) -> tuple[Tensor, Tensor]:
    """Spending on each resource (B, 2K + U), and the negative Hessian of the smoothed dual in log prices.

    demand: what each task takes of its own CPU (B, U, J), and of CPU and bandwidth of each server (B, U, J, K). own_tasks: the
    tasks on their own CPUs. pi: softmin weights of the own CPU and the servers, (B, U, J, K + 1). tau: temperature.

    The Hessian has two parts: the response of each task's demand to a price (half of its spending on servers, because f and b
    fall about with the square root of the price), and 1/τ times the covariance of spending under the softmin.
    """
    b, u, j, k = problem.shape
    pi = pi * problem.active[..., None]
    f_own, f, band = demand
    cpu, bandwidth = p.cpu[:, None, None] * f, p.bandwidth[:, None, None] * band
    own = p.own[:, :, None] * f_own
    pi_own, pi_server = pi[..., 0], pi[..., 1:]
    spent_cpu, spent_band, spent_own = pi_server * cpu, pi_server * bandwidth, pi_own * own
    total_cpu, total_band = spent_cpu.sum((1, 2)), spent_band.sum((1, 2))
    gradient = torch.cat([total_cpu, total_band, spent_own.sum(-1)], dim=1)
    hessian = gradient.new_zeros(b, 2 * k + u, 2 * k + u)
    inverse = 1 / tau
    mean = torch.cat([spent_cpu, spent_band], dim=-1).view(b, u * j, 2 * k)
    weighted = mean * inverse.view(b, u * j, 1)
    hessian[:, : 2 * k, : 2 * k] = -mean.mT @ weighted
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    diagonal[:, :k] += 0.5 * total_cpu + (spent_cpu * cpu * inverse).sum((1, 2))
    diagonal[:, k : 2 * k] += 0.5 * total_band + (spent_band * bandwidth * inverse).sum((1, 2))
    both = (spent_cpu * bandwidth * inverse).sum((1, 2))
    hessian[:, :k, k : 2 * k].diagonal(dim1=1, dim2=2).add_(both)
    hessian[:, k : 2 * k, :k].diagonal(dim1=1, dim2=2).add_(both)
    answer = p.own[:, :, None] ** 2 * own_tasks.response(f_own)
    diagonal[:, 2 * k :] += (pi_own * answer + (spent_own * own - spent_own * spent_own) * inverse[..., 0]).sum(-1)
    cross = -(weighted.view(b, u, j, 2 * k) * spent_own[..., None]).sum(2)
    hessian[:, 2 * k :, : 2 * k] = cross
    hessian[:, : 2 * k, 2 * k :] = cross.mT
    return gradient, hessian
