"""An upper bound on every policy's return in an episode: problem (11) with batteries (C5) and deadlines (C6).

The return of an episode is Σ p max(0, 1 - cost) over all tasks, 0 for a task that is late, skipped, or in a step that some user
could not pay, and nothing afterwards. For any prices κ_i ≥ 0 of a joule of user i, λ, μ, ν as in `dual.py`, and θ ≥ 0:

    return ≤ Σ_t (Σ_ij p_ij - D_t(κ)) + Σ_i κ_i Cap_i
    D_t = Σ_ij min( p_ij, min_s v_ijs ) - Σ λ_k F_k - Σ μ_k B_k - Σ ν_i F_i
    local:  v = min over C/T_max ≤ f ≤ F_i of  a C/f + (g + κ_i) k0 f² C + ν_i f
    server: v = min over f, b of  (a + θ) C/f + (a + θ + (g + κ_i) P_tr) D/E[rate](b) + λ_k f + μ_k b - θ T_max

with a = p α_T/T_max and g = p α_E/E_ref (`UnitCosts`). A server's latency L adds a L to v and leaves T_max - L of the deadline.
p_ij is the loss of a task that is skipped. The steps of an episode are coupled by κ only. Newton's method is that of `dual.py`
with κ as prices that all steps share: the matrix is block diagonal over the steps but for the rows and columns of κ, and is
solved by its Schur complement. θ follows by a fixed-point iteration.

The bound is clairvoyant, since it knows all tasks of the episode, and it takes the rate (6) as an expectation, as the model does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from iomt_core.model import progress
from iomt_core.model.batch import Batch, concatenate, without_autograd
from iomt_core.model.snapshot import Snapshot
from iomt_core.policies.demand import OwnCpuTasks, bandwidth_table
from iomt_core.policies.dual import (
    CERTIFYING,
    COLDEST,
    ENOUGH,
    FARTHEST,
    LONGEST_STEP,
    MOST_CELLS,
    DualProblem,
    DualSolution,
    Prices,
    prices_at,
    softmin,
    solve_dual,
    spending_and_curvature,
)
from iomt_core.policies.shares import PUNCTUAL
from iomt_core.scenario import Scenario

ITERATIONS, MOST_ITERATIONS = 18, 60
WARMEST = 0.3
MOST_SCARCE = 1e5  # times a battery's charge that its user would spend if a joule were free; more counts as so much
# Tasks times devices of an episode. In a larger one whose batteries last, the prices of the steps bound the return as well, but
# for a few parts in 100,000, and better ones would take as long as everything else and several GB.
MOST_REFINED = 1 << 22
ALMOST_EMPTY = 0.97  # part of a battery's charge from which on it may bind


@dataclass(frozen=True)
class EpisodeDual(DualSolution):
    """The certificates of steps, as `DualSolution`, with what the episode adds.

    `bound` is still the step's own; prices, values and choice weights are those of the episode, and `choice_weights` has the
    weight of skipping the task at its end, (B, U, J, K + 2).
    """

    return_bound: Tensor  # (B,) upper bound on the return of the episode that the step belongs to
    battery: Tensor  # (B, U) κ, the weighted cost that one more joule would save, 1/J
    lateness: Tensor  # (B, U, J, K) θ, the weighted cost that one more second of the task's deadline would save, 1/s
    energy: Tensor  # (B, U) J that each user spends at these prices

    def without_tasks(self) -> Self:
        """See `DualSolution.without_tasks`; without `lateness` too."""
        return replace(super().without_tasks(), lateness=self.bound.new_empty(len(self.bound), 0))

    @property
    def first_choices(self) -> Tensor:
        """The choice that weighs most for each task, (B, U J): 0 local, k server k, K + 1 skipped."""
        return self.choice_weights.argmax(-1).flatten(1)


@dataclass(frozen=True)
class Tasks(Batch):
    """The decoupled tasks at given prices."""

    value: Tensor  # (B, U, J, K + 2) on the own CPU, on each server, and skipped
    f_own: Tensor  # (B, U, J) cycle/s
    f: Tensor  # (B, U, J, K) cycle/s
    band: Tensor  # (B, U, J, K) Hz
    energy: Tensor  # (B, U, J, K + 1) J
    delay: Tensor  # (B, U, J, K) s on each server, without its latency
    owed: Tensor  # (B, U, J, K) θ T_max


def _updated_lateness(lateness: Tensor, delay: Tensor, second: Tensor, left: Tensor, has_latency: bool) -> Tensor:
    ratio = (delay / left.clamp_min(1e-300)).clamp(0.05, 20.0)
    updated = ((second + lateness) * ratio * ratio - second).clamp_min(0.0).clamp_max(1e6 * second)
    return updated * (left > 0) if has_latency else updated


@dataclass(frozen=True)
class _Sent:
    """Tasks on servers at given prices, in the shape of their `_Pairs`; fields as in `Tasks`."""

    value: Tensor
    f: Tensor
    band: Tensor
    energy: Tensor
    delay: Tensor
    owed: Tensor | None  # None: 0


@dataclass(frozen=True)
class _Pairs:
    """Tasks and servers at given prices: tensors that broadcast to (B, U, J, K), or one number for each of some pairs, (n,)."""

    second: Tensor
    power_cost: Tensor  # (g + κ_i) P_tr, 1/s
    C: Tensor
    D: Tensor
    power: Tensor  # W
    skipped: Tensor
    left: Tensor
    cpu_price: Tensor  # λ
    y_price: Tensor  # μ `link_y`
    F_k: Tensor
    link_scale: Tensor
    x_cap: Tensor
    v_cap: Tensor
    beta: Tensor
    latency: Tensor | None

    def select(self, where: tuple[Tensor, ...], shape: torch.Size) -> _Pairs:
        """The pairs at these indices of (B, U, J, K)."""
        chosen: dict[str, Any] = {}
        for field in fields(self):
            x = getattr(self, field.name)
            chosen[field.name] = None if x is None else x.expand(shape)[where]
        return _Pairs(**chosen)

    def at_prices(self, lateness: Tensor | None) -> _Sent:
        """The pairs at θ `lateness`, 0 if not given."""
        second = self.second if lateness is None else self.second + lateness
        executed = second * self.C
        f = torch.minimum((executed / self.cpu_price).sqrt_(), self.F_k).clamp_min_(1e-300)
        sent = (second + self.power_cost) * self.D
        y = self.y_price / sent
        best, x = bandwidth_table()(y)
        free = x <= self.x_cap  # not at a price of 0, where x is NaN
        if not bool(free.all()):
            x = torch.where(free, x, self.x_cap)
            best = torch.where(free, best, self.v_cap + y * x)
        delay_tx = (self.D * self.link_scale).mul_(best - y.mul_(x))
        value = (executed / f).add_(self.cpu_price * f).add_((sent * self.link_scale).mul_(best))
        owed = None if lateness is None else lateness * self.left.clamp_min(0.0)
        if owed is not None:
            value.sub_(owed)
        if self.latency is not None:
            value.add_(self.second * self.latency)
            value = torch.where(self.left > 0, value, 4 * self.skipped)
        return _Sent(value, f, x.mul_(self.beta), self.power * delay_tx, (self.C / f).add_(delay_tx), owed)

    def updated_lateness(self, lateness: Tensor, delay: Tensor) -> Tensor:
        """See `EpisodeProblem.updated_lateness`."""
        return _updated_lateness(lateness, delay, self.second, self.left, self.latency is not None)


class EpisodeProblem:
    """The task problems of all steps of some episodes, which decouple at given prices.

    skip: what a skipped task costs, in units of its weight. early: whether deadlines count as a little shorter, for decisions,
    instead of a little longer, for certificates, because of rounding.
    """

    def __init__(self, snapshot: Snapshot, s: Scenario, skip: float = 1.0, early: bool = False) -> None:
        self.step = step = DualProblem(snapshot, s)
        self.margin, active = step.margin, step.active
        # Missing tasks have sizes of 1 and are masked out of every sum.
        self.C, self.D = (x.to(torch.float64).masked_fill(~active, 1.0) for x in (snapshot.C, snapshot.D))
        self.k0C = s.k0 * self.C
        self.weight = snapshot.weight.to(torch.float64)
        self.skipped = skip * self.weight
        self.power = snapshot.P_tr.to(torch.float64)[:, :, None]
        self.deadline = snapshot.deadline.to(torch.float64) * (1 - PUNCTUAL if early else 1 + self.margin)
        self.least = (self.C / self.deadline).masked_fill(~active, 0.0)
        self.impossible = self.least > step.F_i[:, :, None]
        # What is left of a deadline on each server; a server that is farther away than that is never in time.
        self.left = self.deadline[..., None] if step.latency is None else self.deadline[..., None] - step.latency
        self.second, self.joule = (x.masked_fill(~active, 1.0) for x in (step.costs.second, step.costs.joule))

    def tasks(self, p: Prices, battery: Tensor, lateness: Tensor | None = None, iterations: int = 2) -> Tasks:
        """All tasks on all devices at these prices; battery: κ (B, U), lateness: θ (B, U, J, K), 0 if not given."""
        step, nu = self.step, p.own[:, :, None]
        own = self.own_tasks(battery)
        f_own = torch.minimum(own.frequency(nu, iterations), step.F_i[:, :, None])
        value_own = torch.where(self.impossible, 4 * self.skipped, own.cost(f_own) + nu * f_own)
        sent = self._pairs(p, battery).at_prices(lateness)
        energy = torch.cat([(self.k0C * f_own * f_own)[..., None], sent.energy], -1)
        return Tasks(
            torch.cat([value_own[..., None], sent.value, self.skipped[..., None]], -1),
            f_own,
            sent.f,
            sent.band,
            energy,
            sent.delay,
            torch.zeros_like(sent.value) if sent.owed is None else sent.owed,
        )

    def late(self, tasks: Tasks) -> Tensor:
        """Where a task would be late on a server, (B, U, J, K) bool."""
        return tasks.delay > self.left

    def in_time(self, tasks: Tasks, p: Prices, battery: Tensor, late: Tensor, iterations: int) -> Tasks:
        """`tasks` at θ = 0, with those θ at the tasks and servers of `late`, (B, U, J, K) bool, at which tasks are in time.

        p, battery: the prices of `tasks`. θ rises from 0 by the fixed-point iteration of `updated_lateness`, and never passes
        the value sought, because a delay falls at most with the square root of a + θ. So values never fall on the way.
        """
        where = late.nonzero(as_tuple=True)
        pairs = self._pairs(p, battery).select(where, late.shape)
        lateness, delay = pairs.second.new_zeros(len(where[0])), tasks.delay[where]
        for _ in range(iterations):
            lateness = pairs.updated_lateness(lateness, delay)
            sent = pairs.at_prices(lateness)
            delay = sent.delay
        value, energy = tasks.value.clone(), tasks.energy.clone()
        value[..., 1:-1][where], energy[..., 1:][where] = sent.value, sent.energy
        f, band, delays, owed = (
            x.index_put(where, new)
            for x, new in (
                (tasks.f, sent.f),
                (tasks.band, sent.band),
                (tasks.delay, delay),
                (tasks.owed, lateness * pairs.left.clamp_min(0.0)),
            )
        )
        return Tasks(value, tasks.f_own, f, band, energy, delays, owed)

    def _pairs(self, p: Prices, battery: Tensor) -> _Pairs:
        step = self.step
        lam, mu = p.for_tasks
        joule = self.joule + battery[:, :, None]
        return _Pairs(
            second=self.second[..., None],
            power_cost=(joule * self.power)[..., None],
            C=self.C[..., None],
            D=self.D[..., None],
            power=self.power[..., None],
            skipped=self.skipped[..., None],
            left=self.left,
            cpu_price=lam,
            y_price=mu * step.link_y,
            F_k=step.F_k[:, None, None],
            link_scale=step.link_scale,
            x_cap=step.x_cap,
            v_cap=step.v_cap,
            beta=step.beta[:, :, None],
            latency=step.latency,
        )

    def own_tasks(self, battery: Tensor) -> OwnCpuTasks:
        """The tasks on their users' own CPUs, with their deadlines, at the price κ (B, U) of a joule."""
        tasks = self.step.own_tasks
        return OwnCpuTasks(tasks.delay, tasks.energy + battery[:, :, None] * self.k0C, self.least)

    def updated_lateness(self, lateness: Tensor, tasks: Tasks) -> Tensor:
        """θ nearer to where each server task is exactly in time: its delay falls about with the square root of a + θ."""
        return _updated_lateness(
            lateness, tasks.delay, self.second[..., None], self.left, self.step.latency is not None
        )

    def loss(self, theta: Tensor, tasks: Tasks) -> Tensor:
        """D_t at log prices `theta`, (B, 2K + U), less the margin for rounding; (B,)."""
        value = tasks.value.clone()
        value[..., 1:-1] -= self.margin * (tasks.value[..., 1:-1].abs() + 2 * tasks.owed)
        least = (value.amin(-1) * self.step.active).sum((1, 2))
        paid = (theta.exp() * self.step.capacity).sum(1)
        return least * (1 - self.margin) - paid * (1 + self.margin)


@without_autograd
def solve_steps_at(snapshot: Snapshot, s: Scenario, battery: Tensor, dual: DualSolution) -> EpisodeDual:
    """The dual of single steps with deadlines, at given prices κ of a joule, (B, U) 1/J. Its `return_bound` means nothing."""
    return _Ascent(snapshot, s, torch.zeros_like(battery), dual, 1.0, battery).run()


@without_autograd
def solve_episodes(
    snapshot: Snapshot, s: Scenario, capacity: Tensor, dual: DualSolution | None = None, skip: float = 1.0
) -> EpisodeDual:
    """Bounds the return of whole episodes, in float64 for any dtype of the snapshot.

    snapshot: all steps of E episodes, sorted by step, then episode: row t E + e. capacity: (E, U) J, what each user may spend.
    dual: `solve_dual` of the same steps, if the caller has it. skip: what a task that is not done in time costs, in units of its
    weight; more than 1 bounds the cost under hard deadlines instead of the return.
    """
    dual = dual or solve_dual(snapshot, s)
    episodes, capacity = len(capacity), capacity.to(torch.float64)
    result, binds = _result_of_steps(snapshot, s, capacity, dual, skip)
    open_episodes = binds.nonzero().flatten()
    if len(open_episodes):
        rows = torch.arange(len(snapshot.D), device=capacity.device)
        steps = rows.view(-1, episodes)[:, open_episodes].flatten()
        part = _Ascent(snapshot.select(steps), s, capacity[open_episodes], dual.select(steps), skip).run()
        better = part.return_bound < result.return_bound[steps]
        result = result.replace_rows(steps[better], part.select(better))
    return result


def _result_of_steps(
    snapshot: Snapshot, s: Scenario, capacity: Tensor, dual: DualSolution, skip: float
) -> tuple[EpisodeDual, Tensor]:
    """The certificates at the steps' own prices, and the episodes, (E,) bool, that may have better ones.

    In these a battery, a deadline or the skipping of a task may bind. Large episodes are evaluated some steps at a time.
    """
    episodes, k = len(capacity), dual.prices.cpu.shape[1]
    step = episodes * max(1, MOST_CELLS // (dual.values[0].numel() * episodes))
    parts, binds = [], torch.zeros(episodes, dtype=torch.bool, device=capacity.device)
    for start in range(0, len(snapshot.D), step):
        rows = slice(start, start + step)
        problem, known = EpisodeProblem(snapshot.select(rows), s, skip), dual.select(rows)
        theta = known.prices.logarithms
        battery = torch.zeros_like(known.prices.own)
        lateness = theta.new_zeros((*known.values.shape[:-1], k))
        tasks = problem.tasks(known.prices, battery, lateness, CERTIFYING)
        parts.append(_result(problem, known, theta, battery, lateness, tasks, capacity))
        on = parts[-1].choice_weights[..., 1:-1] > 1e-3
        late = (on & (tasks.delay > problem.left)).flatten(1).any(1)
        useless = (problem.step.active & (tasks.value[..., :-1].amin(-1) > problem.weight)).flatten(1).any(1)
        binds |= (late | useless).view(-1, episodes).any(0)
    result = concatenate(parts)
    spent = result.energy.view(-1, episodes, capacity.shape[1]).sum(0)
    if len(snapshot.D) // episodes * dual.values[0].numel() > MOST_REFINED:
        binds = torch.zeros_like(binds)
    binds |= (spent > ALMOST_EMPTY * capacity).any(1)
    if len(parts) > 1:  # the bound of an episode is the sum of those of its steps
        total = torch.stack([part.return_bound[:episodes] for part in parts]).sum(0)
        result = replace(result, return_bound=total.repeat(len(snapshot.D) // episodes))
    return result, binds


def _result(
    problem: EpisodeProblem,
    dual: DualSolution,
    theta: Tensor,
    battery: Tensor,
    lateness: Tensor,
    tasks: Tasks,
    capacity: Tensor,
) -> EpisodeDual:
    episodes, active = len(capacity), problem.step.active
    _, weights = softmin(tasks.value, 8 * COLDEST * tasks.value.amin(-1, keepdim=True).clamp_min(1e-300))
    energy = (weights[..., :-1] * tasks.energy).sum(-1) * active
    earned = (problem.weight * active).sum((1, 2)) * (1 + problem.margin) - problem.loss(theta, tasks)
    worth = (battery.view(-1, *capacity.shape)[0] * capacity).sum(1) * (1 + problem.margin)
    bound = earned.view(-1, episodes).sum(0) + worth
    return EpisodeDual(
        bound=dual.bound,
        skip_bound=dual.skip_bound,
        prices=prices_at(theta, dual.prices.cpu.shape[1]),
        values=tasks.value[..., :-1],
        choice_weights=weights,
        return_bound=bound.repeat(len(theta) // episodes),
        battery=battery,
        lateness=lateness,
        energy=energy.sum(-1),
    )


class _Ascent:
    """Levenberg-Marquardt on the smoothed dual of some episodes, with one damping for each episode."""

    def __init__(
        self,
        snapshot: Snapshot,
        s: Scenario,
        capacity: Tensor,
        dual: DualSolution,
        skip: float,
        battery: Tensor | None = None,
    ) -> None:
        self.dual, self.capacity = dual, capacity
        self.fixed = battery is not None
        self.problem = problem = EpisodeProblem(snapshot, s, skip)
        theta = dual.prices.logarithms
        self.theta = torch.where(torch.isinf(theta), problem.step.first_prices().logarithms - 4, theta)
        self.lowest = self.theta - FARTHEST
        self.k = dual.prices.cpu.shape[1]
        self.lateness = theta.new_zeros((*dual.values.shape[:-1], self.k))
        zero = theta.new_zeros(len(theta), capacity.shape[1])
        tasks = problem.tasks(prices_at(self.theta, self.k), zero, self.lateness)
        self.scale = 2 * torch.minimum(tasks.value.amin(-1), problem.weight)[..., None].clamp_min(1e-12)
        _, weights = softmin(tasks.value, COLDEST * self.scale)
        active = problem.step.active[..., None]
        spent = self._by_episode((weights[..., :-1] * tasks.energy * active).sum((2, 3)))
        cost = self._by_episode((tasks.value.amin(-1) * active[..., 0]).sum(2))
        joule = self._by_episode((problem.joule * problem.step.active).sum(2)) / self._by_episode(
            problem.step.active.sum(2).to(zero.dtype)
        ).clamp_min(1)
        if battery is not None:
            self.log_battery = self.lowest_battery = battery.clamp_min(1e-300).log()
            return
        ratio = (spent / capacity).nan_to_num(0.0).clamp_max(MOST_SCARCE)
        # The energy of a task falls about with the square root of its price.
        self.log_battery = torch.maximum(
            joule * (ratio**2 - 1), 0.05 * cost / spent.clamp_min(1e-300) * ratio.clamp_max(1)
        )
        self.log_battery = self.log_battery.clamp_min(1e-300).log()
        self.lowest_battery = self.log_battery - FARTHEST

    def _by_episode(self, x: Tensor) -> Tensor:
        """Sums over the steps of each episode, (B, …) -> (E, …)."""
        return x.view(-1, len(self.capacity), *x.shape[1:]).sum(0)

    def _rows(self, x: Tensor) -> Tensor:
        """The value of each step's episode, (E, …) -> (B, …)."""
        return x.repeat(len(self.theta) // len(x), *[1] * (x.dim() - 1))

    def _tasks(self, theta: Tensor, log_battery: Tensor, lateness: Tensor, iterations: int = 2) -> Tasks:
        return self.problem.tasks(prices_at(theta, self.k), self._rows(log_battery.exp()), lateness, iterations)

    def _smooth(self, theta: Tensor, log_battery: Tensor, tasks: Tasks, tau: Tensor) -> tuple[Tensor, Tensor]:
        soft, pi = softmin(tasks.value, tau)
        steps = (soft * self.problem.step.active).sum((1, 2)) - (theta.exp() * self.problem.step.capacity).sum(1)
        return self._by_episode(steps) - (log_battery.exp() * self.capacity).sum(1), pi

    def run(self) -> EpisodeDual:
        problem, theta, log_battery, lateness = self.problem, self.theta, self.log_battery, self.lateness
        episodes = len(self.capacity)
        tasks = self._tasks(theta, log_battery, lateness)
        damping = theta.new_full((episodes, 1), 1e-2)
        temperature, cooling = WARMEST, (COLDEST / WARMEST) ** (1 / (ITERATIONS - 4))
        best = self._loss(theta, log_battery, tasks)
        best_theta, best_battery, best_lateness = theta, log_battery, lateness
        settled = torch.full_like(best, -torch.inf)
        moving = torch.ones(episodes, dtype=torch.bool, device=theta.device)
        for iteration in range(MOST_ITERATIONS):
            progress.report(iteration / (iteration + ITERATIONS))
            tau = temperature * self.scale
            current, pi = self._smooth(theta, log_battery, tasks, tau)
            if iteration >= ITERATIONS - 2 and iteration % 2 == 0:
                moving = moving & (best - settled > 0.2 * ENOUGH * best.abs())
                if not bool(moving.any()):
                    break
                settled = best
            step_theta, step_battery = self._newton(theta, log_battery, tasks, pi, tau, damping)
            trial_theta = torch.maximum(theta + step_theta, self.lowest)
            trial_battery = torch.maximum(log_battery + step_battery, self.lowest_battery)
            trial_lateness = problem.updated_lateness(lateness, tasks)
            trial = self._tasks(trial_theta, trial_battery, trial_lateness)
            value = self._smooth(trial_theta, trial_battery, trial, tau)[0]
            rises = moving & (value >= current - 1e-10 * current.abs())
            row = self._rows(rises)
            theta = torch.where(row[:, None], trial_theta, theta)
            log_battery = torch.where(rises[:, None], trial_battery, log_battery)
            lateness = torch.where(row[:, None, None, None], trial_lateness, lateness)
            tasks = tasks.replace_where(row, trial)
            damping = torch.where(rises[:, None], damping * 0.3, damping * 8).clamp_(1e-4, 1e6)
            loss = self._loss(trial_theta, trial_battery, trial)
            better = moving & (loss > best)
            best = torch.where(better, loss, best)
            row = self._rows(better)
            best_theta = torch.where(row[:, None], trial_theta, best_theta)
            best_battery = torch.where(better[:, None], trial_battery, best_battery)
            best_lateness = torch.where(row[:, None, None, None], trial_lateness, best_lateness)
            temperature = max(temperature * cooling, COLDEST)
        tasks = self._tasks(best_theta, best_battery, best_lateness, CERTIFYING)
        return _result(
            problem, self.dual, best_theta, self._rows(best_battery.exp()), best_lateness, tasks, self.capacity
        )

    def _loss(self, theta: Tensor, log_battery: Tensor, tasks: Tasks) -> Tensor:
        """Σ_t D_t - Σ κ_i Cap_i of each episode, which the prices maximise."""
        return self._by_episode(self.problem.loss(theta, tasks)) - (log_battery.exp() * self.capacity).sum(1)

    def _newton(
        self, theta: Tensor, log_battery: Tensor, tasks: Tasks, pi: Tensor, tau: Tensor, damping: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The step in log prices (B, 2K + U), and in the logarithm of κ (E, U)."""
        problem, k = self.problem, self.k
        step = problem.step
        prices, kappa = prices_at(theta, k), self._rows(log_battery.exp())[:, :, None]
        own_tasks = problem.own_tasks(kappa[..., 0])
        spending, curvature = spending_and_curvature(
            step, prices, (tasks.f_own, tasks.f, tasks.band), own_tasks, pi[..., :-1], tau
        )
        gradient = spending - theta.exp() * step.capacity
        pi = pi * step.active[..., None]
        inverse, pi_own, pi_server = 1 / tau, pi[..., 0], pi[..., 1:-1]
        nu, response = prices.own[:, :, None], own_tasks.response(tasks.f_own)
        spent_cpu = pi_server * (prices.cpu[:, None, None] * tasks.f)
        spent_band = pi_server * (prices.bandwidth[:, None, None] * tasks.band)
        spent_own = pi_own * (nu * tasks.f_own)
        spent_energy = kappa[..., None] * tasks.energy
        mean_energy = (pi[..., :-1] * spent_energy).sum(-1)  # (B, U, J)
        weighted_tasks = torch.cat([spent_cpu, spent_band], -1) * inverse
        # κ: every task belongs to one user, so its own block is diagonal.
        energy_own, energy_server = spent_energy[..., 0], spent_energy[..., 1:]
        to_server = torch.cat(
            [spent_cpu * energy_server * inverse, (spent_band * inverse - 0.5 * pi_server) * energy_server], -1
        ).sum(2) - (weighted_tasks * mean_energy[..., None]).sum(2)  # (B, U, 2K)
        own_energy = kappa * problem.k0C * tasks.f_own
        to_own = (
            (spent_own * energy_own - spent_own * mean_energy) * inverse[..., 0]
            + 2 * pi_own * nu * own_energy * response
        ).sum(-1)
        per_joule = (problem.joule + kappa) * problem.power
        part = kappa * problem.power / (problem.second + per_joule)
        block = (
            ((pi[..., :-1] * spent_energy * spent_energy).sum(-1) - mean_energy * mean_energy) * inverse[..., 0]
            + 4 * pi_own * own_energy * own_energy * response
            + 0.5 * part * (pi_server * energy_server).sum(-1)
        ).sum(-1)
        gradient_battery = self._by_episode(mean_energy.sum(-1)) - log_battery.exp() * self.capacity
        tiny = 1e-12 * self.scale.amax((1, 2)) + 1e-300
        damped = curvature.damped(self._rows(damping), gradient, tiny)
        complement = damped.complement()
        if self.fixed:
            step_theta = damped.solve(gradient, complement)
            return step_theta.nan_to_num(0.0).clamp(-LONGEST_STEP, LONGEST_STEP), torch.zeros_like(log_battery)
        # With the own prices eliminated, κ meets the servers' prices in `columns` (B, 2K, U).
        columns = (to_server - damped.cross * (to_own / damped.own)[..., None]).mT
        to_columns = torch.linalg.solve_ex(complement, columns)[0]
        to_gradient = damped.solve(gradient, complement)
        battery_diagonal = self._by_episode(block)
        schur = -self._by_episode(columns.mT @ to_columns)
        schur.diagonal(dim1=1, dim2=2).add_(
            battery_diagonal
            - self._by_episode(to_own * to_own / damped.own)
            + damping * (battery_diagonal + gradient_battery.abs())
            + 1e-9 * log_battery.exp() * self.capacity
            + 1e-300
        )
        seen = (to_server @ to_gradient[:, : 2 * k, None])[..., 0] + to_own * to_gradient[:, 2 * k :]
        right = gradient_battery - self._by_episode(seen)
        step_battery = torch.linalg.solve_ex(schur, right)[0].nan_to_num(0.0).clamp(-LONGEST_STEP, LONGEST_STEP)
        change = self._rows(step_battery)
        moved = torch.cat([(change[:, None] @ to_server)[:, 0], to_own * change], 1)
        step_theta = to_gradient - damped.solve(moved, complement)
        return step_theta.nan_to_num(0.0).clamp(-LONGEST_STEP, LONGEST_STEP), step_battery
