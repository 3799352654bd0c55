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

import copy
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from iomt_core.model import progress
from iomt_core.model.batch import Batch, concatenate, without_autograd
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
# continue while the world is warm, while its bound still rises by a part larger than ENOUGH, or while steps are rejected (the
# damping is above REJECTED) although the gradient is still STEEP. A world cools down as its steps are accepted and the gradient
# is at most the part READY of its smoothed dual.
ITERATIONS, MOST_ITERATIONS = 14, 90
ENOUGH, STEEP = 5e-5, 1e-2
REJECTED, READY = 0.05, 0.3
LONGEST_STEP, FARTHEST = 2.0, 60.0  # in log prices
WARMEST, COLDEST = 0.3, 0.003
CELLS = 1 << 18  # tasks times servers looked at in one piece: small enough for the cache, large enough to save calls
MOST_CELLS = (
    1 << 20
)  # tasks times servers that are solved in one batch; more worlds are solved one batch after the other
# Tensors of every task on every device: kept of every step, and in memory while a batch is solved; and matrices of server prices
# in that time. Estimated from the memory of a process.
KEPT, TENSORS, MATRICES = 3, 30, 6
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

    def of_users(self, users: slice | Tensor) -> Prices:
        """The prices that some users meet; those of servers may be different for each user, (B, U, K)."""
        cpu, bandwidth = (x[:, users] if x.dim() == 3 else x for x in (self.cpu, self.bandwidth))
        return Prices(cpu, bandwidth, self.own[:, users])


@dataclass(frozen=True)
class DualSolution(Batch):
    """The certificates of B steps."""

    bound: Tensor  # (B,) lower bound on the total weighted cost of any policy that skips no task in this step
    skip_bound: Tensor  # (B,) the same for any policy; a skipped task costs 1 times its weight
    prices: Prices
    values: Tensor  # (B, U, J, K + 1) cost of each task on each device at these prices
    choice_weights: Tensor  # (B, U, J, K + 1) softmin weights of the values over the devices; their sum is 1

    def without_tasks(self) -> Self:
        """The same without the tensors of every task on every device, which are nearly all of its memory; they become (B, 0)."""
        empty = self.bound.new_empty(len(self.bound), 0)
        return replace(self, values=empty, choice_weights=empty)


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
        most = max(u, s.users) * j  # the snapshot may be of some users only
        self.F_k, self.B_k = (x.to(torch.float64) + most * SMALLEST_GRANT for x in (snapshot.F_k, snapshot.B_k))
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

    def of_users(self, users: slice) -> DualProblem:
        """The tasks of some users only. Capacities of servers stay those of all users, and `capacity` is not changed."""
        part = copy.copy(self)
        b, _, j, k = self.shape
        for name in (
            "active",
            "F_i",
            "weight",
            "w_tx",
            "beta",
            "C",
            "root",
            "link_scale",
            "link_y",
            "tx_scale",
            "tx_y",
        ):
            setattr(part, name, getattr(self, name)[:, users])
        part.x_cap, part.v_cap = self.x_cap[:, users], self.v_cap[:, users]
        part.costs = UnitCosts(self.costs.second[:, users], self.costs.joule[:, users])
        part.own_tasks = OwnCpuTasks(self.own_tasks.delay[:, users], self.own_tasks.energy[:, users])
        part.shape = (b, part.active.shape[1], j, k)
        return part

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
    batch = max(1, MOST_CELLS // (u * j * k))
    at_once = min(b, batch)
    needed = (KEPT * b + TENSORS * at_once) * u * j * (k + 1) + MATRICES * at_once * (2 * k + u) * 2 * k
    check_memory(f"certificates of {counted(b, 'step')} of {s.size_words}", 8 * needed)
    if b > batch:
        rows = torch.arange(b, device=snapshot.D.device).split(batch)
        found = []
        for n, part in enumerate(rows):
            with progress.part(n / len(rows), (n + 1) / len(rows)):
                found.append(solve_dual(snapshot.select(part), s, iterations))
        return concatenate(found)
    problem = DualProblem(snapshot, s)
    pieces = Pieces(problem)
    theta = problem.first_prices().logarithms
    lowest = theta - FARTHEST

    # Prices of 0 also give a bound, which is better if the resources are enough for all tasks.
    free = best_theta = torch.full_like(theta, -torch.inf)
    free_tasks = pieces.task_values(free, CERTIFYING)
    free_bound = best_bound = problem.bound(free, free_tasks)
    tasks = pieces.task_values(theta)
    scale = 2 * tasks.value.amin(-1, keepdim=True)
    damping = theta.new_full((b, 1), 1e-2)
    temperature, cooling = theta.new_full((b, 1, 1, 1), WARMEST), (COLDEST / WARMEST) ** (1 / max(1, iterations - 4))
    settled, slope = theta.new_full((b,), -torch.inf), theta.new_full((b,), torch.inf)
    moving = torch.ones(
        b, dtype=torch.bool, device=theta.device
    )  # a world that has converged does not change with the rest of the batch
    for iteration in range(MOST_ITERATIONS):
        progress.report(iteration / (iteration + iterations + 1))  # nobody knows how many it takes
        tau = temperature * scale
        current, gradient, curvature = pieces.slopes(theta, tasks, tau)
        if iteration >= iterations - 2 and (iteration - iterations) % 2 == 0:
            rejected = (damping[:, 0] > REJECTED) & (slope > STEEP * best_bound.abs())
            warm = temperature[:, 0, 0, 0] > COLDEST * 1.001
            moving = moving & ((current - settled > ENOUGH * best_bound.abs()) | rejected | warm)
            if not bool(moving.any()):
                break
            settled = current
        slope = gradient.abs().sum(1)
        damped = curvature.damped(damping, gradient, 1e-12 * best_bound.abs()[:, None] + 1e-300)
        step = damped.solve(gradient).clamp_(-LONGEST_STEP, LONGEST_STEP)
        trial = torch.maximum(theta + step, lowest)
        trial_tasks = pieces.task_values(trial)
        rises = moving & (pieces.smooth_bound(trial, trial_tasks, tau) >= current - 1e-10 * current.abs())
        theta = torch.where(rises[:, None], trial, theta)
        tasks = tasks.replace_where(rises, trial_tasks)
        damping = torch.where(rises[:, None], damping * 0.3, damping * 8).clamp_(1e-4, 1e6)
        bound = problem.bound(trial, trial_tasks)
        better = moving & (bound > best_bound)
        best_bound = torch.where(better, bound, best_bound)
        best_theta = torch.where(better[:, None], trial, best_theta)
        cooled = rises & (slope <= READY * torch.maximum(current.abs(), best_bound.abs()))
        temperature = torch.where(cooled[:, None, None, None], (temperature * cooling).clamp_min(COLDEST), temperature)
    tasks = pieces.task_values(best_theta, CERTIFYING)
    best_bound = problem.bound(best_theta, tasks)
    skip_bound = torch.maximum(problem.bound(best_theta, tasks, True), problem.bound(free, free_tasks, True))
    worse = best_bound < free_bound
    best_theta, best_bound = torch.where(worse[:, None], free, best_theta), torch.maximum(best_bound, free_bound)
    values = tasks.replace_where(worse, free_tasks).value
    _, choice_weights = softmin(values, 8 * COLDEST * values.amin(-1, keepdim=True))
    return DualSolution(best_bound, skip_bound, prices_at(best_theta, k), values, choice_weights)


class Pieces:
    """A problem in pieces of so many users that a piece's tensors stay in the processor's cache."""

    def __init__(self, problem: DualProblem) -> None:
        self.problem = problem
        b, u, j, k = problem.shape
        step = max(1, CELLS // (b * j * k))
        users = [slice(start, min(u, start + step)) for start in range(0, u, step)]
        self._pieces = [(part, problem if len(users) == 1 else problem.of_users(part)) for part in users]

    def task_values(self, theta: Tensor, iterations: int = 2) -> TaskValues:
        """`DualProblem.task_values` at log prices, (B, 2K + U)."""
        k = self.problem.shape[3]
        found = [piece.task_values(prices_at(theta, k).of_users(u), iterations) for u, piece in self._pieces]
        if len(found) == 1:
            return found[0]
        return TaskValues(*(torch.cat([getattr(x, f.name) for x in found], 1) for f in fields(TaskValues)))

    def smooth_bound(self, theta: Tensor, tasks: TaskValues, tau: Tensor) -> Tensor:
        """The smoothed dual, (B,)."""
        sums = [(smooth_minimum(tasks.value[:, u], tau[:, u]) * piece.active).sum((1, 2)) for u, piece in self._pieces]
        return sum(sums[1:], sums[0]) - (theta.exp() * self.problem.capacity).sum(1)

    def slopes(self, theta: Tensor, tasks: TaskValues, tau: Tensor) -> tuple[Tensor, Tensor, Curvature]:
        """The smoothed dual (B,), its gradient (B, 2K + U) and its negative Hessian, in log prices."""
        k = self.problem.shape[3]
        prices, value = prices_at(theta, k), torch.zeros_like(theta[:, 0])
        spent, servers = theta.new_zeros(len(theta), 2 * k), None
        own_spent, own, cross = list[Tensor](), list[Tensor](), list[Tensor]()
        for u, piece in self._pieces:
            soft, pi = softmin(tasks.value[:, u], tau[:, u])
            value = value + (soft * piece.active).sum((1, 2))
            demand = tasks.f_own[:, u], tasks.f[:, u], tasks.band[:, u]
            spending, curvature = spending_and_curvature(
                piece, prices.of_users(u), demand, piece.own_tasks, pi, tau[:, u]
            )
            spent = spent + spending[:, : 2 * k]
            servers = curvature.servers if servers is None else servers.add_(curvature.servers)
            for parts, part in ((own_spent, spending[:, 2 * k :]), (own, curvature.own), (cross, curvature.cross)):
                parts.append(part)
        assert servers is not None
        paid = theta.exp() * self.problem.capacity
        gradient = torch.cat([spent, *own_spent], 1) - paid
        return value - paid.sum(1), gradient, Curvature(servers, torch.cat(own, 1), torch.cat(cross, 1))


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


def smooth_minimum(values: Tensor, tau: Tensor) -> Tensor:
    """The smoothed minimum of `softmin` alone, (…)."""
    least = values.amin(-1, keepdim=True)
    total = ((least - values) / tau).exp_().sum(-1, keepdim=True)
    return (least - tau * total.log())[..., 0]


@dataclass(frozen=True)
class Curvature:
    """The negative Hessian of the smoothed dual in log prices. Users' own prices are coupled through the servers only.

    So memory and time grow with U K, not with U²: the rows of the own prices are eliminated first (Schur complement).
    """

    servers: Tensor  # (B, 2K, 2K) of the prices of the servers
    own: Tensor  # (B, U) of the prices of own CPUs, a diagonal
    cross: Tensor  # (B, U, 2K)

    def damped(self, damping: Tensor, gradient: Tensor, least: Tensor) -> Curvature:
        """With a larger diagonal d: d + damping (d + |gradient|) + least; damping and least (B, 1), gradient (B, 2K + U)."""
        n, slope = self.servers.shape[1], gradient.abs()
        servers, diagonal = self.servers.clone(), self.servers.diagonal(dim1=1, dim2=2)
        servers.diagonal(dim1=1, dim2=2).add_(damping * (diagonal + slope[:, :n]) + least)
        return Curvature(servers, self.own + damping * (self.own + slope[:, n:]) + least, self.cross)

    def complement(self) -> Tensor:
        """The matrix of the servers' prices after the own prices are eliminated, (B, 2K, 2K)."""
        return self.servers - self.cross.mT @ (self.cross / self.own[..., None])

    def solve(self, right: Tensor, complement: Tensor | None = None) -> Tensor:
        """Solves for a right-hand side, (B, 2K + U). complement: if the caller has it already."""
        n = self.servers.shape[1]
        complement = self.complement() if complement is None else complement
        own = right[:, n:] / self.own
        at_servers = torch.linalg.solve_ex(complement, right[:, :n] - (own[:, None] @ self.cross)[:, 0])[0]
        return torch.cat([at_servers, own - (self.cross @ at_servers[..., None])[..., 0] / self.own], 1)


def spending_and_curvature(
    problem: DualProblem,
    p: Prices,
    demand: tuple[Tensor, Tensor, Tensor],
    own_tasks: OwnCpuTasks,
    pi: Tensor,
    tau: Tensor,
) -> tuple[Tensor, Curvature]:
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
    inverse = 1 / tau
    mean = torch.cat([spent_cpu, spent_band], dim=-1).view(b, u * j, 2 * k)
    weighted = mean * inverse.view(inverse.shape[0], u * j, 1)
    servers = -mean.mT @ weighted
    diagonal = servers.diagonal(dim1=1, dim2=2)
    cpu_inverse = spent_cpu * inverse
    diagonal[:, :k] += 0.5 * total_cpu + (cpu_inverse * cpu).sum((1, 2))
    diagonal[:, k:] += 0.5 * total_band + (spent_band * bandwidth * inverse).sum((1, 2))
    both = (cpu_inverse * bandwidth).sum((1, 2))
    servers[:, :k, k:].diagonal(dim1=1, dim2=2).add_(both)
    servers[:, k:, :k].diagonal(dim1=1, dim2=2).add_(both)
    answer = p.own[:, :, None] ** 2 * own_tasks.response(f_own)
    of_own = (pi_own * answer + (spent_own * own - spent_own * spent_own) * inverse[..., 0]).sum(-1)
    cross = -(spent_own[:, :, None] @ weighted.view(b, u, j, 2 * k))[:, :, 0]
    return gradient, Curvature(servers, of_own, cross)
