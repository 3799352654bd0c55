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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from iomt_core.model import progress
from iomt_core.model.batch import Batch, add_up, concatenate, without_autograd
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

    @property
    def for_tasks(self) -> tuple[Tensor, Tensor]:
        """λ and μ of servers, as they broadcast to (B, U, J, K)."""
        lam, mu = (x[:, :, None] if x.dim() == 3 else x[:, None, None] for x in (self.cpu, self.bandwidth))
        return lam, mu

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
    users: of the whole ward, if the snapshot holds only some of them.
    """

    def __init__(self, snapshot: Snapshot, s: Scenario, users: int | None = None) -> None:
        self.s = s
        self.shape = snapshot.shape
        self.active = snapshot.active
        self.margin = MARGIN[snapshot.D.dtype]
        # Even a request of 0 is granted SMALLEST_GRANT, so a device may give this much more than its capacity for each task.
        _, u, j, _ = self.shape
        self.users = users or u
        most = max(self.users, s.users) * j  # the snapshot may be of some users only
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
        if bool(capped.any()):
            x = torch.where(capped, self.x_cap, x)
            best = torch.where(capped, self.v_cap + y * self.x_cap, best)
        value = ((self.root * self.root)[..., None] / f).add_(lam * f).add_(best.mul_(self.tx_scale))
        if self.latency is not None:
            value = value + self.costs.second[..., None] * self.latency
        return TaskValues(
            torch.cat([value_own[..., None], value], dim=-1), f_own, f.expand_as(x), x.mul_(self.beta[:, :, None])
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

    def least_costs(self, tasks: TaskValues, may_skip: bool = False) -> Tensor:
        """What all tasks cost on their cheapest devices, with the price of the resources, (B,). may_skip: as in `bound`."""
        least = tasks.value.amin(-1)
        return ((torch.minimum(least, self.weight) if may_skip else least) * self.active).sum((1, 2))

    def bound(self, theta: Tensor, tasks: TaskValues, may_skip: bool = False) -> Tensor:
        """The bound at log prices `theta`, (B, 2K + U), minus the margin for rounding; (B,).

        may_skip: for policies that may skip tasks.
        """
        return certified(self.least_costs(tasks, may_skip), (theta.exp() * self.capacity).sum(1), self.margin)

    def first_prices(self) -> Prices:
        """Starting prices: those at which a little over half of all tasks are offloaded, evenly over the servers."""
        servers, k = self.first_sums().server_prices(self.F_k, self.B_k), self.shape[3]
        return Prices(servers[:, :k], servers[:, k:], self.first_own_prices())

    def first_sums(self) -> FirstSums:
        """What the starting prices of servers are made of."""
        _, u, j, k = self.shape
        x = (self.B_k / tasks_of_server(self.users, j, k))[:, None] / self.beta
        band = self.w_tx.mean(-1, keepdim=True) * LN2 / scaled_exp1(x)  # c² of cost c²/b
        return FirstSums(
            torch.full_like(band[:, 0, 0], u), torch.full_like(band[:, 0, 0], u * j), self.active.sum((1, 2)).to(band.dtype),
            (self.root * self.active).sum((1, 2)), band.sqrt().sum(1),
        )  # fmt: skip

    def first_own_prices(self) -> Tensor:
        """Starting prices of the own CPUs, (B, U)."""
        f = self.F_i / max(1.0, 0.45 * self.shape[2])
        delay, energy = self.own_tasks.delay, self.own_tasks.energy
        f = f[:, :, None]
        return torch.maximum(delay / f**2 - 2 * energy * f, 1e-3 * delay / f**2).mean(-1)


def tasks_of_server(users: int, tasks: int, servers: int) -> float:
    """Tasks on each server at the starting prices: a little over half of all."""
    return max(1.0, 0.55 * users * tasks / servers)


@dataclass(frozen=True)
class FirstSums(Batch):
    """Sums over users that the starting prices of servers are made of."""

    users: Tensor  # (B,)
    places: Tensor  # (B,) users times tasks, with places that have no task
    tasks: Tensor  # (B,)
    root: Tensor  # (B,) of sqrt(a C)
    band: Tensor  # (B, K) of the square root of a mean task's cost of bandwidth

    def server_prices(self, F_k: Tensor, B_k: Tensor) -> Tensor:
        """Starting prices of the servers' CPU and bandwidth, (B, 2K). F_k and B_k: their capacities, (B, K)."""
        share = (0.55 * self.places / F_k.shape[1]).clamp_min(1.0)[:, None]
        cpu = share * (self.root / self.tasks.clamp_min(1))[:, None] / F_k
        return torch.cat([cpu, share * (self.band / self.users[:, None]) / B_k], 1) ** 2


@dataclass(frozen=True)
class Totals(Batch):
    """What the tasks of some users add up to at some prices; (B,) each."""

    smooth: Tensor  # of the smoothed minima of the tasks' costs, minus `paid`
    costs: Tensor  # of the minima
    skip_costs: Tensor  # of the minima if a task may be skipped, which costs its weight
    paid: Tensor  # what the users' own CPUs cost at their prices


@dataclass(frozen=True)
class Slopes(Batch):
    """The smoothed dual of some users and its derivatives in the log prices of servers, after the own prices are eliminated."""

    smooth: Tensor  # (B,)
    own_slope: Tensor  # (B,) sum of |gradient| over the own prices
    spent: Tensor  # (B, 2K) what the users spend on servers
    diagonal: Tensor  # (B, 2K) of the negative Hessian before the elimination
    complement: Tensor  # (B, 2K, 2K) the negative Hessian after it
    eliminated: Tensor  # (B, 2K) see `Curvature.eliminated`


@dataclass(frozen=True)
class SearchState(Batch):
    """What the search says about the last trial and wants for the next; (B, 1) each."""

    rises: Tensor  # bool: the last trial was a step forward
    better: Tensor  # bool: its bound is the best so far
    temperature: Tensor
    damping: Tensor
    least: Tensor  # of the damped diagonal


class Users(Protocol):
    """Users of a step, wherever their tasks are computed: prices of servers go to them, sums over their tasks come back.

    They keep their own prices and their tasks' values, so a call continues from the call before: `first_sums`, `begin`, then
    `slopes` and `trial` in turn, `finish`. Log prices of servers are (B, 2K).
    """

    @property
    def F_k(self) -> Tensor:
        """CPU of the servers, (B, K) cycle/s."""

    @property
    def B_k(self) -> Tensor:
        """Bandwidth of the servers, (B, K) Hz."""

    @property
    def margin(self) -> float:
        """The margin for rounding, see `certified`."""

    def first_sums(self) -> FirstSums:
        """What the starting prices of servers are made of."""

    def begin(self, servers: Tensor) -> Totals:
        """Starts at these log prices of servers. Returns the totals at prices of 0."""

    def slopes(self, state: SearchState) -> Slopes:
        """Accepts or drops the last trial. Returns the derivatives at the prices reached."""

    def trial(self, servers: Tensor, step: Tensor) -> Totals:
        """Tries these log prices of servers, and the own prices that belong to the Newton step of the servers' log prices."""

    def finish(self, servers: Tensor, state: SearchState) -> Totals:
        """Accepts or drops the last trial. Returns exact totals at the best prices, of which those of servers are given."""


@dataclass(frozen=True)
class Certificate(Batch):
    """The certificates of B steps and the prices of servers; users keep their own prices."""

    bound: Tensor  # (B,) as in `DualSolution`
    skip_bound: Tensor  # (B,)
    servers: Tensor  # (B, 2K) log prices of CPU and bandwidth
    free: Tensor  # (B, 1) bool: prices of 0 are the best, own prices too
    iterations: int


@without_autograd
def solve_dual(snapshot: Snapshot, s: Scenario, iterations: int = ITERATIONS) -> DualSolution:
    """Maximises the bound for every world of the batch, in float64 for any dtype of the snapshot: see `search_prices`."""
    b, u, j, k = snapshot.shape
    batch = max(1, MOST_CELLS // (u * j * k))
    at_once = min(b, batch)
    needed = (KEPT * b + TENSORS * at_once) * u * j * (k + 1) + MATRICES * at_once * (2 * k + u) * 2 * k
    check_memory(f"certificates of {counted(b, 'step')} of {s.size_words}", 8 * needed)
    if b > batch:
        rows = torch.arange(b, device=snapshot.D.device).split(batch)
        parts = []
        for n, part in enumerate(rows):
            with progress.part(n / len(rows), (n + 1) / len(rows)):
                parts.append(solve_dual(snapshot.select(part), s, iterations))
        return concatenate(parts)
    pieces = pieces_of(DualProblem(snapshot, s))
    found = search_prices(UserGroup(pieces), iterations)
    ends = [piece.at_best(found.servers, found.free) for piece in pieces]
    own = torch.cat([prices.own for prices, _ in ends], 1)
    values = ends[0][1].value if len(ends) == 1 else torch.cat([tasks.value for _, tasks in ends], 1)
    _, choice_weights = softmin(values, 8 * COLDEST * values.amin(-1, keepdim=True))
    prices = replace(ends[0][0], own=own)
    return DualSolution(found.bound, found.skip_bound, prices, values, choice_weights)


def search_prices(users: Users, iterations: int = ITERATIONS) -> Certificate:
    """Maximises the bound over the prices of servers and users. The users may be computed anywhere.

    Levenberg-Marquardt: each world has its own damping, which falls while steps raise its smoothed dual. A step that does not
    raise it is rejected, and the damping grows. The own prices are eliminated where the users are, so what is exchanged does
    not grow with the number of users.
    """
    capacity, margin = torch.cat([users.F_k, users.B_k], 1), users.margin
    theta = users.first_sums().server_prices(users.F_k, users.B_k).log()
    b = len(theta)
    lowest = theta - FARTHEST
    # Prices of 0 also give a bound, which is better if the resources are enough for all tasks.
    free, nothing = users.begin(theta), theta.new_zeros(b)
    free_bound = best_bound = certified(free.costs, nothing, margin)
    best_theta = torch.full_like(theta, -torch.inf)
    damping = theta.new_full((b, 1), 1e-2)
    temperature, cooling = theta.new_full((b, 1), WARMEST), (COLDEST / WARMEST) ** (1 / max(1, iterations - 4))
    settled, slope = theta.new_full((b,), -torch.inf), theta.new_full((b,), torch.inf)
    moving = torch.ones(
        b, dtype=torch.bool, device=theta.device
    )  # a world that has converged does not change with the rest of the batch
    rises = better = ~moving

    def state() -> SearchState:
        least = 1e-12 * best_bound.abs()[:, None] + 1e-300
        return SearchState(rises[:, None], better[:, None], temperature, damping, least)

    iteration = 0
    for iteration in range(MOST_ITERATIONS):
        progress.report(iteration / (iteration + iterations + 1))  # nobody knows how many it takes
        sent = state()
        now = users.slopes(sent)
        rises = better = torch.zeros_like(moving)
        paid = theta.exp() * capacity
        current = now.smooth - paid.sum(1)
        if iteration >= iterations - 2 and (iteration - iterations) % 2 == 0:
            rejected = (damping[:, 0] > REJECTED) & (slope > STEEP * best_bound.abs())
            warm = temperature[:, 0] > COLDEST * 1.001
            moving = moving & ((current - settled > ENOUGH * best_bound.abs()) | rejected | warm)
            if not bool(moving.any()):
                break
            settled = current
        gradient = now.spent - paid
        slope = gradient.abs().sum(1) + now.own_slope
        matrix = now.complement
        matrix.diagonal(dim1=1, dim2=2).add_(damp(now.diagonal, gradient, damping, sent.least) - now.diagonal)
        step = torch.linalg.solve_ex(matrix, gradient - now.eliminated)[0]
        trial = torch.maximum(theta + step.clamp(-LONGEST_STEP, LONGEST_STEP), lowest)
        found = users.trial(trial, step)
        paid_at_trial = (trial.exp() * capacity).sum(1)
        rises = moving & (found.smooth - paid_at_trial >= current - 1e-10 * current.abs())
        theta = torch.where(rises[:, None], trial, theta)
        damping = torch.where(rises[:, None], damping * 0.3, damping * 8).clamp_(1e-4, 1e6)
        bound = certified(found.costs, paid_at_trial + found.paid, margin)
        better = moving & (bound > best_bound)
        best_bound = torch.where(better, bound, best_bound)
        best_theta = torch.where(better[:, None], trial, best_theta)
        cooled = rises & (slope <= READY * torch.maximum(current.abs(), best_bound.abs()))
        temperature = torch.where(cooled[:, None], (temperature * cooling).clamp_min(COLDEST), temperature)
    end = users.finish(best_theta, state())
    paid = (best_theta.exp() * capacity).sum(1) + end.paid
    best_bound = certified(end.costs, paid, margin)
    skip_bound = torch.maximum(certified(end.skip_costs, paid, margin), certified(free.skip_costs, nothing, margin))
    worse = (best_bound < free_bound)[:, None]
    best_theta = torch.where(worse, torch.full_like(theta, -torch.inf), best_theta)
    return Certificate(torch.maximum(best_bound, free_bound), skip_bound, best_theta, worse, iteration)


class UserGroup:
    """Several groups of users in one place: `Users` whose sums are those of its parts."""

    def __init__(self, parts: Sequence[Users]) -> None:
        self.parts = parts
        self.F_k, self.B_k, self.margin = parts[0].F_k, parts[0].B_k, parts[0].margin

    def first_sums(self) -> FirstSums:
        """See `Users`."""
        return add_up(part.first_sums() for part in self.parts)

    def begin(self, servers: Tensor) -> Totals:
        """See `Users`."""
        return add_up(part.begin(servers) for part in self.parts)

    def slopes(self, state: SearchState) -> Slopes:
        """See `Users`."""
        return add_up(part.slopes(state) for part in self.parts)

    def trial(self, servers: Tensor, step: Tensor) -> Totals:
        """See `Users`."""
        return add_up(part.trial(servers, step) for part in self.parts)

    def finish(self, servers: Tensor, state: SearchState) -> Totals:
        """See `Users`."""
        return add_up(part.finish(servers, state) for part in self.parts)


def pieces_of(problem: DualProblem) -> list[Piece]:
    """A problem in pieces of so many users that a piece's tensors stay in the processor's cache."""
    b, u, j, k = problem.shape
    step = max(1, CELLS // (b * j * k))
    if step >= u:
        return [Piece(problem)]
    return [Piece(problem.of_users(slice(start, min(u, start + step)))) for start in range(0, u, step)]


class Piece:
    """Some users and their tasks, at the servers' prices and at own prices that move with them: the `Users` of one problem."""

    _own: Tensor  # (B, U) log prices of the own CPUs
    _servers: Tensor  # (B, 2K) log prices of servers
    _tasks: TaskValues  # at these prices
    _trial: tuple[Tensor, Tensor, TaskValues]  # the same three of the last trial
    _tau: Tensor  # temperature, (B, U, J, 1)

    def __init__(self, problem: DualProblem) -> None:
        self.problem = problem
        self.F_k, self.B_k, self.margin = problem.F_k, problem.B_k, problem.margin

    def first_sums(self) -> FirstSums:
        """See `Users`."""
        return self.problem.first_sums()

    def begin(self, servers: Tensor) -> Totals:
        """See `Users`."""
        self._own, self._servers = self.problem.first_own_prices().log(), servers
        self._lowest = self._own - FARTHEST
        self._best_own = torch.full_like(self._own, -torch.inf)
        self._tasks = self._values(servers, self._own)
        self._trial = servers, self._own, self._tasks
        self._scale = 2 * self._tasks.value.amin(-1, keepdim=True)
        free = self._values(torch.full_like(servers, -torch.inf), self._best_own, CERTIFYING)
        return self._totals(self._best_own, free)

    def slopes(self, state: SearchState) -> Slopes:
        """See `Users`."""
        self._accept(state)
        problem, tasks, n = self.problem, self._tasks, self._servers.shape[1]
        self._tau = tau = state.temperature[:, :, None, None] * self._scale
        soft, pi = softmin(tasks.value, tau)
        prices = self._prices(self._servers, self._own)
        spending, curvature = spending_and_curvature(
            problem, prices, (tasks.f_own, tasks.f, tasks.band), problem.own_tasks, pi, tau
        )
        paid = prices.own * problem.F_i
        gradient = self._gradient = spending[:, n:] - paid
        diagonal = curvature.servers.diagonal(dim1=1, dim2=2).clone()
        own = damp(curvature.own, gradient, state.damping, state.least)
        self._curvature = damped = Curvature(curvature.servers, own, curvature.cross)
        return Slopes(
            (soft * problem.active).sum((1, 2)) - paid.sum(1), gradient.abs().sum(1), spending[:, :n], diagonal,
            damped.complement(), damped.eliminated(gradient),
        )  # fmt: skip

    def trial(self, servers: Tensor, step: Tensor) -> Totals:
        """See `Users`."""
        own_step = self._curvature.own_part(self._gradient, step).clamp_(-LONGEST_STEP, LONGEST_STEP)
        own = torch.maximum(self._own + own_step, self._lowest)
        tasks = self._values(servers, own)
        self._trial = servers, own, tasks
        return self._totals(own, tasks, self._tau)

    def finish(self, servers: Tensor, state: SearchState) -> Totals:
        """See `Users`."""
        self._accept(state)
        del self._trial, self._curvature
        self._tasks = self._values(servers, self._best_own, CERTIFYING)
        return self._totals(self._best_own, self._tasks)

    def at_best(self, servers: Tensor, free: Tensor) -> tuple[Prices, TaskValues]:
        """After the search: the best prices and the tasks' values there. servers, free: as in `Certificate`."""
        if bool(free.any()):
            self._best_own = self._best_own.masked_fill(free, -torch.inf)
            self._tasks = self._values(servers, self._best_own, CERTIFYING)
        return self._prices(servers, self._best_own), self._tasks

    def _prices(self, servers: Tensor, own: Tensor) -> Prices:
        return prices_at(torch.cat([servers, own], 1), self.problem.shape[3])

    def _values(self, servers: Tensor, own: Tensor, iterations: int = 2) -> TaskValues:
        return self.problem.task_values(self._prices(servers, own), iterations)

    def _totals(self, own: Tensor, tasks: TaskValues, tau: Tensor | None = None) -> Totals:
        """The totals of tasks at log own prices. tau: the temperature, if the smoothed dual is wanted."""
        problem = self.problem
        paid, costs = (own.exp() * problem.F_i).sum(1), problem.least_costs(tasks)
        if tau is None:
            return Totals(costs - paid, costs, problem.least_costs(tasks, True), paid)
        smooth = (smooth_minimum(tasks.value, tau) * problem.active).sum((1, 2))
        return Totals(smooth - paid, costs, costs, paid)

    def _accept(self, state: SearchState) -> None:
        """Goes to the last trial where it was a step forward, and notes its own prices where its bound is the best."""
        rises, (servers, own, tasks) = state.rises, self._trial
        self._best_own = torch.where(state.better, own, self._best_own)
        self._own, self._servers = torch.where(rises, own, self._own), torch.where(rises, servers, self._servers)
        self._tasks = self._tasks.replace_where(rises[:, 0], tasks)


def certified(costs: Tensor, paid: Tensor, margin: float) -> Tensor:
    """The bound minus the margin for rounding, (B,), from the tasks' least costs and what all capacities cost, (B,) each.

    The margin is relative to the summands, not to their difference, because at poor prices the summands nearly cancel.
    """
    return costs * (1 - margin) - paid * (1 + margin)


def damp(diagonal: Tensor, gradient: Tensor, damping: Tensor, least: Tensor) -> Tensor:
    """A larger diagonal d: d + damping (d + |gradient|) + least; damping and least (B, 1)."""
    return diagonal + (damping * (diagonal + gradient.abs()) + least)


def prices_at(theta: Tensor, k: int) -> Prices:
    """The prices of K servers at log prices `theta`, (B, 2K + U)."""
    price = theta.exp()
    return Prices(price[:, :k], price[:, k : 2 * k], price[:, 2 * k :])


def softmin(values: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """The smoothed minimum over the last axis, (…), and the softmin weights of its entries, which add up to 1.

    tau: temperature, (…, 1). torch's softmax and logsumexp are slow over an axis as short as this and share no work.
    """
    least = values.amin(-1, keepdim=True)
    weights = (least - values).div_(tau).exp_()
    total = weights.sum(-1, keepdim=True)
    return (least - tau * total.log())[..., 0], weights.div_(total)


def smooth_minimum(values: Tensor, tau: Tensor) -> Tensor:
    """The smoothed minimum of `softmin` alone, (…)."""
    least = values.amin(-1, keepdim=True)
    total = (least - values).div_(tau).exp_().sum(-1, keepdim=True)
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
        n = self.servers.shape[1]
        servers, diagonal = self.servers.clone(), self.servers.diagonal(dim1=1, dim2=2)
        servers.diagonal(dim1=1, dim2=2).copy_(damp(diagonal, gradient[:, :n], damping, least))
        return Curvature(servers, damp(self.own, gradient[:, n:], damping, least), self.cross)

    def complement(self) -> Tensor:
        """The matrix of the servers' prices after the own prices are eliminated, (B, 2K, 2K)."""
        return self.servers - self.cross.mT @ (self.cross / self.own[..., None])

    def solve(self, right: Tensor, complement: Tensor | None = None) -> Tensor:
        """Solves for a right-hand side, (B, 2K + U). complement: if the caller has it already."""
        n = self.servers.shape[1]
        complement = self.complement() if complement is None else complement
        at_servers = torch.linalg.solve_ex(complement, right[:, :n] - self.eliminated(right[:, n:]))[0]
        return torch.cat([at_servers, self.own_part(right[:, n:], at_servers)], 1)

    def eliminated(self, own: Tensor) -> Tensor:
        """What the elimination takes from the servers' right-hand side, (B, 2K). own: that of the own prices, (B, U)."""
        return ((own / self.own)[:, None] @ self.cross)[:, 0]

    def own_part(self, own: Tensor, at_servers: Tensor) -> Tensor:
        """The own prices' part of the solution, (B, U), from their right-hand side and the servers' part, (B, 2K)."""
        return (own - (self.cross @ at_servers[..., None])[..., 0]) / self.own


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
