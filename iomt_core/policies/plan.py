"""The optimum of whole episodes: all tasks of an episode known in advance, batteries (C5) and deadlines (C6) kept.

A local search at the prices of the episode's dual decides every step. A pass through the steps then corrects the price of each
battery by what is left of it, and never lets a step overdraw one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.batch import concatenate, without_autograd
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Planner
from iomt_core.policies.charge import DEARER
from iomt_core.policies.demand import OwnCpuTasks, UnitCosts
from iomt_core.policies.dual import MOST_CELLS, DualProblem, DualSolution
from iomt_core.policies.episode_dual import EpisodeDual, solve_episodes
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.search import OVERLOAD, Search, TaskCosts, server_roots
from iomt_core.policies.shares import PUNCTUAL, timely_shares
from iomt_core.scenario import Scenario

KEPT = 1 - 1e-9  # part of a battery's charge that a step may use
LEAST_RATIO, MOST_RATIO = 0.2, 5.0  # of the charge that is left over the charge that was planned to be left
# Factors on what a joule costs at first: an episode is planned with each of them, and the best plan is taken. In an episode of
# FEW_TASKS every task matters.
THRIFT, FEW_TASKS = (1.0, 0.7), 300
MORE_THRIFT = (1.0, 0.35, 0.5, 0.7, 1.4, 2.0, 2.8, 5.6, 11.0, 22.0)
RETRIES = 4


class Optimum(Planner):
    """A near-optimal plan for a whole episode, made by a central solver that knows all its tasks in advance.

    skip: the loss of a task that is late or skipped, in units of its weight. 1 is the return's own; more makes deadlines hard.
    """

    name = "optimum"
    label = "Optimum"
    summary = (
        "A central solver that knows all tasks of the episode in advance and plans them with batteries and deadlines."
    )
    decentralised = False
    sharing = "optimal"

    def __init__(self, s: Scenario, skip: float = 1.0) -> None:
        super().__init__(s)
        self.skip = skip

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Plans every step as an episode of its own, which may use all that is left in the batteries."""
        return self.plan(snapshot, 1, dual)

    @without_autograd
    def plan(self, snapshot: Snapshot, steps: int, dual: DualSolution | None = None) -> Action:
        """The plan for all steps of some episodes; see `Planner.plan`.

        Where neither a battery nor a deadline binds, this is the optimum of each step.
        """
        s, episodes = self.scenario, len(snapshot.D) // steps
        capacity = snapshot.battery[:episodes].to(torch.float64)
        action = StepOptimum(s).decide(snapshot, dual)
        result = outcome(snapshot, action, s)
        spent = result.energy.sum(-1).to(torch.float64).view(steps, episodes, -1)
        bound = (spent.sum(0) > capacity * KEPT).any(1)
        bound |= ((result.missed | (result.cost > 1)) & snapshot.active).flatten(1).any(1).view(steps, episodes).any(0)
        chosen = bound.nonzero().flatten()
        if len(chosen):
            rows = torch.arange(len(snapshot.D), device=chosen.device).view(steps, episodes)[:, chosen].flatten()
            part, known = snapshot.select(rows), None if dual is None else dual.select(rows)
            if not isinstance(known, EpisodeDual) or self.skip != 1:
                known = solve_episodes(part, s, capacity[chosen], known, self.skip)
            planned = _Plan(part, s, capacity[chosen], known, self.skip).run()
            better = _score(part, planned, s, capacity[chosen], self.skip) >= _score(
                part, action.select(rows), s, capacity[chosen], self.skip
            )
            take = better.repeat(steps)
            action = action.replace_rows(rows[take], planned.select(take))
        return action


def episode_returns(snapshot: Snapshot, result: Outcome, capacity: Tensor) -> Tensor:
    """Return of each episode, (E,): the step that overdraws a battery and all later ones earn nothing (C5).

    snapshot, result: rows sorted by step, then episode. capacity: (E, U) J.
    """
    episodes = len(capacity)
    spent = result.energy.sum(-1).view(-1, *capacity.shape).cumsum(0)
    played = (spent <= capacity).all(-1)
    earned = (result.reward * snapshot.weight).sum((1, 2)).view(-1, episodes)
    return (earned * played).sum(0)


def _score(snapshot: Snapshot, action: Action, s: Scenario, capacity: Tensor, skip: float) -> Tensor:
    """The return of each episode, less what late and skipped tasks cost beyond their weight, (E,)."""
    result = outcome(snapshot, action, s)
    late = (result.missed * snapshot.weight).sum((1, 2)).view(-1, len(capacity)).sum(0)
    return episode_returns(snapshot, result, capacity) - (skip - 1) * late


def corrected_price(price: Tensor, ratio: Tensor, s: Scenario) -> Tensor:
    """The price κ of a joule, 1/J, where `ratio` times the energy is left that was meant to be left at `price`.

    The energy of a task falls about with the square root of what a joule costs.
    """
    joule = s.alpha_E / s.E_ref
    return ((joule + price) / ratio.nan_to_num(1.0).clamp(LEAST_RATIO, MOST_RATIO) ** 2 - joule).clamp_min(0.0)


class CentralStep:
    """Decides steps centrally at given prices of batteries, with the option to skip a task at `skip` times its weight."""

    def __init__(self, snapshot: Snapshot, s: Scenario, known: EpisodeDual, skip: float = 1.0) -> None:
        self.snapshot, self.s, self.skip = snapshot, s, skip
        self.problem = problem = DualProblem(snapshot, s)
        self.bandwidth_price, lateness = known.prices.bandwidth, known.lateness
        # Where a task costs more than skipping it, mostly because it could hardly be in time, the search must not send it: θ is
        # large there, and the search's cost of a move would be far from the true one.
        self.too_far = known.values[..., 1:] > skip * snapshot.weight.to(torch.float64)[..., None]
        if problem.latency is not None:
            self.too_far |= problem.latency >= snapshot.deadline[..., None]
        self.active = problem.active
        self.lateness = lateness if bool(lateness.any()) else None
        self.least = (problem.C / snapshot.deadline.to(torch.float64) * (1 + PUNCTUAL)).masked_fill(~self.active, 0.0)
        self.k0C = s.k0 * problem.C * self.active
        self.D = snapshot.D.to(torch.float64)

    def decide(self, battery_price: Tensor, first: Tensor) -> tuple[Action, Tensor, Outcome]:
        """The action, the choices with K + 1 for a skipped task, (B, N), and the outcome.

        battery_price: κ (B, U) 1/J. first: choices to begin with, (B, N).
        """
        s, snapshot, problem = self.s, self.snapshot, self.problem
        b, u, j, k = problem.shape
        costs = UnitCosts.of(snapshot, s, battery_price)
        second = costs.second[..., None] if self.lateness is None else costs.second[..., None] + self.lateness
        joule = (costs.joule * snapshot.P_tr[:, :, None])[..., None]
        sent = ((second + joule) * self.D[..., None]).masked_fill(~self.active[..., None], 1.0)
        second = second.masked_fill(~self.active[..., None], 0.0)
        a, c = server_roots(problem, self.bandwidth_price, second, sent)
        skipped = self.skip * snapshot.weight.to(torch.float64).view(b, u * j)
        fixed = None
        if self.lateness is not None:
            fixed = -(self.lateness * snapshot.deadline[..., None]).view(b, u * j, k)
        if problem.latency is not None:
            later = (second * problem.latency).view(b, u * j, k)
            fixed = later if fixed is None else fixed + later
        if fixed is not None:
            fixed = torch.where(self.too_far.view(b, u * j, k), OVERLOAD * skipped[..., None], fixed)
        own = OwnCpuTasks(
            problem.own_tasks.delay, problem.own_tasks.energy + battery_price[:, :, None] * self.k0C, self.least
        )
        need = None if self.lateness is None else self.least.view(b, u * j)
        search = Search(problem, TaskCosts(own, a, c, fixed, skipped, need))
        search.start_from(first)
        choice = search.improve(pairs=True)
        work = (choice <= k) & self.active
        action, work = timely_shares(snapshot, choice.masked_fill(~work, 0), work, s, costs)
        result = outcome(snapshot, action, s)
        loss = snapshot.weight * result.cost + battery_price[:, :, None] * result.energy
        useless = work & (loss > self.skip * snapshot.weight)
        if bool(useless.any()):
            action, work = timely_shares(snapshot, action.choice, work & ~useless, s, costs)
            result = outcome(snapshot, action, s)
        return action, choice.masked_fill(~work & self.active, k + 1).flatten(1), result


class _Plan:
    """Plans some episodes in several ways each and takes the best; rows are sorted by step, then episode."""

    def __init__(self, snapshot: Snapshot, s: Scenario, capacity: Tensor, dual: EpisodeDual, skip: float) -> None:
        self.skip = skip
        few = len(snapshot.D) // len(capacity) * snapshot.D[0].numel() <= FEW_TASKS
        thrift = MORE_THRIFT if few else THRIFT
        self.s, self.ways, self.episodes = s, len(thrift), len(capacity) * len(thrift)
        self.steps = len(snapshot.D) // len(capacity)
        self.thrift = torch.tensor(thrift, dtype=torch.float64, device=capacity.device).repeat_interleave(len(capacity))
        one = torch.arange(len(snapshot.D), device=capacity.device).view(self.steps, -1)
        rows = one.repeat(1, self.ways).flatten()
        self.snapshot, self.dual, self.capacity = (
            snapshot.select(rows),
            dual.select(rows),
            capacity.repeat(self.ways, 1),
        )

    def _step(self, rows: slice | Tensor) -> CentralStep:
        dual = self.dual
        return CentralStep(self.snapshot.select(rows), self.s, dual.select(rows), self.skip)

    def _decide_all(self, price: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Decides all steps, in a large ward some at a time; returns choices (B, N) and energy of each user (steps, E, U)."""
        _, u, j, k = self.snapshot.shape
        choices, energy = [], []
        for rows in torch.arange(len(price), device=price.device).split(max(1, MOST_CELLS // (u * j * k))):
            _, choice, result = self._step(rows).decide(price[rows], first[rows])
            choices.append(choice)
            energy.append(result.energy.sum(-1).to(torch.float64))
        return torch.cat(choices), torch.cat(energy).view(self.steps, self.episodes, -1)

    def run(self) -> Action:
        s, dual, episodes = self.s, self.dual, self.episodes
        joule = s.alpha_E / s.E_ref
        first_price = ((dual.battery + joule) * self.thrift.repeat(self.steps)[:, None] - joule).clamp_min(0.0)
        choice, planned = self._decide_all(first_price, dual.first_choices)
        # Choices are whole tasks, so they spend a little more or less than the dual does.
        price = corrected_price(first_price, (self.capacity / planned.sum(0)).repeat(self.steps, 1), s)
        choice, planned = self._decide_all(price, choice)
        left = self.capacity.clone()
        needed = planned.flip(0).cumsum(0).flip(0)
        parts = []
        for t in range(self.steps):
            rows = slice(t * episodes, (t + 1) * episodes)
            step = self._step(rows)
            now = corrected_price(price[rows], left / needed[t], s)
            chosen, _, used = affordable(step, now, choice[rows], left)
            left = left - used
            parts.append(chosen)
        return self._best(concatenate(parts))

    def _best(self, action: Action) -> Action:
        """Of each episode the plan with the highest return."""
        score = _score(self.snapshot, action, self.s, self.capacity, self.skip)
        best = score.view(self.ways, -1).argmax(0)
        number = best * len(best) + torch.arange(len(best), device=best.device)
        step = torch.arange(self.steps, device=best.device)[:, None] * self.episodes
        return action.select((step + number).flatten())


def affordable(step: CentralStep, price: Tensor, first: Tensor, charge: Tensor) -> tuple[Action, Tensor, Tensor]:
    """Decides so that no user spends more than its charge, (B, U) J. Returns action, choices (B, N) and energy (B, U).

    The price of a joule rises for a user who would spend too much; if that does not suffice, its tasks are skipped, those that
    earn least for their energy first.
    """
    action, choice, result = step.decide(price, first)
    for _ in range(RETRIES):
        over = result.energy.sum(-1) > charge * KEPT
        if not bool(over.any()):
            break
        typical = (step.s.alpha_E / step.s.E_ref + price).clamp_min(1e-12)
        price = torch.where(over, price + (DEARER - 1) * typical, price)
        action, choice, result = step.decide(price, choice)
    over = result.energy.sum(-1) > charge * KEPT
    while bool(over.any()):
        snapshot = step.snapshot
        works = step.active & (choice.view(snapshot.D.shape) <= snapshot.shape[3])
        worth = (result.reward * snapshot.weight / result.energy.clamp_min(1e-300)).masked_fill(~works, torch.inf)
        worst = torch.zeros_like(works).scatter_(2, worth.argmin(-1, keepdim=True), True) & over[..., None] & works
        costs = UnitCosts.of(snapshot, step.s, price)
        action, works = timely_shares(snapshot, action.choice, works & ~worst, step.s, costs)
        choice = choice.masked_fill((~works & step.active).flatten(1), snapshot.shape[3] + 1)
        result = outcome(snapshot, action, step.s)
        over = (result.energy.sum(-1) > charge * KEPT) & works.any(-1)
    return action, choice, result.energy.sum(-1).to(torch.float64)
