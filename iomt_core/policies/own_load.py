"""What each user does with all its tasks together, if it knows what the others are expected to put on each server.

At the prices of the dual a server costs a user the same whatever the user itself puts there. With few users that is wrong: a
user's own tasks are much of a server's load, and which servers the others use matters more than what is scarce on average.
As in `search.py`, the tasks on a server cost (Σ a)²/F_k + (Σ c)²/B_k. Of each sum a user knows its own part, A, and the mean
of the rest, E[O], over steps like this one. All that its tasks cost anybody is then (2 E[O] A + A²)/F_k on average, so a local
search over its own choices finds them. The means are those of users who all decide so: one user after the other changes its
choices in sample steps while the others keep theirs, which lowers the expected cost each time (person by person, as team theory
calls it: J. Marschak, R. Radner, Economic Theory of Teams, 1972).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.policies.demand import OwnCpuTasks
from iomt_core.policies.dual import Prices
from iomt_core.policies.episode_dual import EpisodeProblem, Tasks
from iomt_core.policies.search import OVERLOAD, Search, TaskCosts

ROUNDS = 3  # in which every user changes its choices


@dataclass(frozen=True)
class _OneUser:
    """Devices of worlds with one user each, as `Search` sees them."""

    shape: tuple[int, int, int, int]
    active: Tensor
    F_i: Tensor
    F_k: Tensor
    B_k: Tensor


class OwnChoices:
    """The tasks of all users in some steps at given prices, each user alone with its own.

    The roots a and c follow from the tasks' costs and demands; at common prices they are those of `search.server_roots`. Loads of
    servers are Σ a, Σ c and the CPU that deadlines need, (…, 3, K), in units of the loads at which servers have these
    prices, sqrt(λ) F_k and sqrt(μ) B_k, and of F_k.
    """

    def __init__(
        self, problem: EpisodeProblem, tasks: Tasks, own_tasks: OwnCpuTasks, prices: Prices, active: Tensor
    ) -> None:
        step = problem.step
        self.shape, self.active, self.own_tasks, self.problem = step.shape, active, own_tasks, problem
        b, u, _, k = self.shape
        value, owed = tasks.value[..., 1:-1], tasks.owed
        lam, mu = prices.for_tasks
        executed = (problem.second[..., None] + owed / problem.left.clamp_min(1e-300)) * problem.C[..., None]
        self.fixed = -owed
        if step.latency is not None:
            self.fixed = self.fixed + problem.second[..., None] * step.latency
        sent = value - self.fixed - executed / tasks.f - lam * tasks.f - mu * tasks.band
        self.fixed = torch.where(problem.left > 0, self.fixed, OVERLOAD * problem.skipped[..., None])
        self.a, self.c = ((x * active[..., None]).sqrt() for x in (executed, (sent * tasks.band).clamp_min(0.0)))
        self.need = problem.least * active if bool((owed > 0).any()) else None
        F, B = step.F_k[:, None], step.B_k[:, None]
        loads = torch.broadcast_tensors(F * lam[:, :, 0].sqrt(), B * mu[:, :, 0].sqrt(), F)
        self.unit = torch.stack(loads, -2).expand(b, u, 3, k)

    def loads(self, choice: Tensor, users: slice = slice(None)) -> Tensor:
        """What some users put on each server, (B, n, 3, K); choice: (B, n, J), K + 1 for tasks that are skipped."""
        a, c, k = self.a[:, users], self.c[:, users], self.shape[3]
        on = (choice[..., None] == torch.arange(1, k + 1, device=choice.device)).to(c.dtype)
        need = torch.zeros_like(c) if self.need is None else self.need[:, users, :, None]
        return torch.stack([(on * x).sum(2) for x in (a, c, need)], -2) / self.unit[:, users].clamp_min(1e-300)

    def alone(self, others: Tensor) -> tuple[Tensor, Tensor]:
        """What each task costs on each server if it is the user's only one there, (B, U, J, K), and `Offers.own_load`.

        others: as for `choose`, of all users.
        """
        cost, loads = self.fixed, []
        for n, (root, capacity) in enumerate(((self.a, self.problem.step.F_k), (self.c, self.problem.step.B_k))):
            of_others = (others[:, n] * self.unit[..., n, :])[:, :, None]
            cost = cost + (2 * of_others + root) * root / capacity[:, None, None]
            loads.append(root * (2 / capacity[:, None, None]).sqrt())
        return cost, torch.stack(torch.broadcast_tensors(*loads), -1)

    def choose(self, others: Tensor, first: Tensor, users: slice = slice(None)) -> Tensor:
        """The choices of some users, (B, n, J), with K + 1 for a skipped task.

        others: expected loads of all others, (n, 3, K); first: choices to begin with, (B, n, J).
        """
        b, _, j, k = self.shape
        step, unit = self.problem.step, self.unit[:, users]
        n = unit.shape[1]

        def each(x: Tensor) -> Tensor:
            """One world for each of the users."""
            return x[:, users].reshape(b * n, *x.shape[2:])

        servers = (x[:, None].expand(b, n, k).reshape(b * n, k) for x in (step.F_k, step.B_k))
        worlds = _OneUser((b * n, 1, j, k), each(self.active)[:, None], each(step.F_i[..., None]), *servers)
        need = None if self.need is None else each(self.need)
        own = self.own_tasks.reshaped(lambda x: each(x)[:, None])
        costs = TaskCosts(own, each(self.a), each(self.c), each(self.fixed), each(self.problem.skipped), need)
        search = Search(worlds, costs, (others * unit).reshape(b * n, 3, k))
        search.start_from(first.reshape(b * n, j))
        return search.improve().view(b, n, j)


def expected_loads(steps: OwnChoices, first: Tensor) -> Tensor:
    """What each user of a ward is expected to put on each server, (U, 3, K), if all choose as `OwnChoices`.

    steps: sample steps of the ward; first: choices to begin with, (B, U, J).
    """
    choice, users = first.clone(), first.shape[1]
    mean = steps.loads(choice).mean(0)
    for _ in range(ROUNDS):
        for i in range(users):
            one = slice(i, i + 1)
            choice[:, one] = steps.choose((mean.sum(0) - mean[i])[None], choice[:, one], one)
            mean[one] = steps.loads(choice[:, one], one).mean(0)
    return mean
