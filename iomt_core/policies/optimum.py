"""The near-optimal joint decision of single steps: the choices of the dual, improved by a local search."""

from __future__ import annotations

import torch

from iomt_core.model.batch import concatenate, without_autograd
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.dual import MOST_CELLS, DualProblem, DualSolution, solve_dual
from iomt_core.policies.search import Search, TaskCosts, server_roots
from iomt_core.policies.shares import optimal_shares
from iomt_core.scenario import Scenario

FEW_CHOICES = 1024  # a ward with at most so many joint choices is solved by trying them all
TRIED_AT_ONCE = 8192  # joint choices evaluated in one batch


class StepOptimum(Policy):
    """The near-optimal joint decision for a step alone, of a central solver that knows all tasks and whom all users obey."""

    name = "optimum-step"
    label = "Optimum, step by step"
    summary = "A central solver that minimises the cost of each step and knows neither batteries nor deadlines."
    decentralised = False
    sharing = "optimal"

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """The best joint action that the solver finds, for every world of the batch; see `Policy.decide`.

        The search starts from `dual`, which is solved for if it is not given.
        """
        s = self.scenario
        b, u, j, k = snapshot.shape
        if (k + 1) ** (u * j) <= FEW_CHOICES:
            return _exhaustive(snapshot, s)
        dual = solve_dual(snapshot, s) if dual is None else dual
        batch = max(1, MOST_CELLS // (u * j * k))
        if b > batch:
            rows = torch.arange(b, device=snapshot.D.device).split(batch)
            return concatenate([self.decide(snapshot.select(part), dual.select(part)) for part in rows])
        problem = DualProblem(snapshot, s)
        second = problem.costs.second.masked_fill(~problem.active, 0.0)
        a, c = server_roots(problem, dual.prices.bandwidth, second[..., None], problem.w_tx[..., None])
        fixed = None
        if problem.latency is not None:
            fixed = (second[..., None] * problem.latency).flatten(1, 2)
        search = Search(problem, TaskCosts(problem.own_tasks, a, c, fixed))
        search.start((dual.values[..., 0] <= dual.values[..., 1:].amin(-1)).flatten(1))
        return optimal_shares(snapshot, search.improve(pairs=True), s)


def _exhaustive(snapshot: Snapshot, s: Scenario) -> Action:
    """The best of all joint choices, with optimal shares."""
    _, u, j, k = snapshot.shape
    joint_choices = torch.cartesian_prod(*[torch.arange(k + 1, device=snapshot.D.device)] * (u * j)).view(-1, u, j)
    best: list[Action] = []
    for worlds in torch.arange(len(snapshot.D), device=snapshot.D.device).split(TRIED_AT_ONCE // len(joint_choices)):
        tiled = snapshot.select(worlds.repeat_interleave(len(joint_choices)))
        action = optimal_shares(tiled, joint_choices.repeat(len(worlds), 1, 1), s)
        total = (outcome(tiled, action, s).cost * tiled.weight).sum((1, 2)).view(len(worlds), -1)
        best.append(
            action.select(total.argmin(1) + torch.arange(len(worlds), device=total.device) * len(joint_choices))
        )
    return concatenate(best)
