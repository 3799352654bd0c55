"""Local search over the choices of a step, with incremental costs, from the prices of the dual.

Near the prices of the dual, a server's bandwidth problem is almost that of a fixed spectral efficiency. Both resources of a
server then cost a squared sum: (Σ a)²/F_k + (Σ c)²/B_k, with a = sqrt(second · C) and c² = bandwidth cost times bandwidth of the
task. The effect of moving a task is therefore a closed form. Costs on own CPUs are exact. The final shares and the reported
cost come from the full model, so the approximation can make the result worse, but never wrong; the bound shows by how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from iomt_core.model import progress
from iomt_core.policies.demand import OwnCpuTasks, bandwidth_table
from iomt_core.policies.dual import DualProblem
from iomt_core.policies.shares import own_cost

MOST_SWEEPS = 1000
CELLS = 1 << 18  # tasks times servers looked at in one piece: small enough for the cache, large enough to save calls
SMALLEST_GAIN = 1e-9
OVERLOAD = 4.0  # what tasks cost on an own CPU that cannot meet their deadlines, in units of skipping them all


@dataclass(frozen=True)
class TaskCosts:
    """What the search knows of each task; the tasks of all users are on one axis n = i J + j of length N."""

    own: OwnCpuTasks  # (B, U, J)
    a: Tensor  # (B, N, K) or (B, N, 1)
    c: Tensor  # (B, N, K)
    fixed: Tensor | None = None  # (B, N, K) cost on each server that does not depend on the other tasks
    skipped: Tensor | None = None  # (B, N) cost of not doing the task; None where that is not allowed
    need: Tensor | None = None  # (B, N) cycle/s that the task needs on a server to be in time


def server_roots(problem: DualProblem, bandwidth_price: Tensor, second: Tensor, sent: Tensor) -> tuple[Tensor, Tensor]:
    """`a` and `c` of `TaskCosts` near the price μ (B, K) of the bandwidth.

    second: (B, U, J, K or 1) cost of a second; sent: (B, U, J, K or 1) cost of sending the task at 1 bit/s.
    """
    b, u, j, k = problem.shape
    y = bandwidth_price[:, None, None] * problem.link_y / sent
    value, x = bandwidth_table()(y)
    capped = x > problem.x_cap
    spent = torch.where(capped, problem.v_cap, value - y * x) * sent * problem.link_scale  # the cost without the price
    x = torch.where(capped, problem.x_cap, x)
    active = problem.active.view(b, u * j, 1)
    c = (spent * x * problem.beta[:, :, None]).sqrt().view(b, u * j, k) * active
    a = (second * problem.C[..., None]).sqrt().view(b, u * j, -1) * active
    return a, c


class Devices(Protocol):
    """The devices of some worlds."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, U, J, K)."""

    @property
    def active(self) -> Tensor:
        """(B, U, J) bool, places that have a task."""

    @property
    def F_i(self) -> Tensor:
        """(B, U) cycle/s."""

    @property
    def F_k(self) -> Tensor:
        """(B, K) cycle/s."""

    @property
    def B_k(self) -> Tensor:
        """(B, K) Hz."""


class Search:
    """Improves the choices of every world by moves of single tasks. A choice of K + 1 skips the task, where that is allowed."""

    def __init__(self, problem: Devices, costs: TaskCosts, others: Tensor | None = None) -> None:
        """others: sums of a, c and the need of tasks on each server that are not moved, (B, 3, K); none if not given."""
        self.problem, self.costs, self.others = problem, costs, others
        b, u, j, _k = self.shape = problem.shape
        self.n = u * j
        self.a, self.c = costs.a, costs.c
        self.inverse_F, self.inverse_B = (x[:, None].reciprocal() for x in (problem.F_k, problem.B_k))
        self.active = problem.active.view(b, self.n)
        device = self.active.device
        self.user = torch.arange(self.n, device=device) // j
        # Sets of a user's tasks: as they are, and with each task in turn moved in or out.
        self.flips = torch.nn.functional.pad(torch.eye(j, dtype=torch.bool, device=device), (0, 0, 1, 0))

    def start(self, local: Tensor, skipped: Tensor | None = None) -> None:
        """First choices: `local` and `skipped` tasks, (B, N) bool, and the others, largest first, where they cost least."""
        b, _, _, k = self.shape
        F, B = self.problem.F_k, self.problem.B_k
        send = self.active & ~local
        if skipped is not None:
            send = send & ~skipped
        self.choice = torch.zeros_like(send, dtype=torch.int64)
        self._begin()
        order = torch.where(send, self.a.amax(-1), -1.0).argsort(dim=1, descending=True)
        wide = order[..., None].expand(-1, -1, k)
        a, c = self.a.expand(-1, -1, k).gather(1, wide), self.c.gather(1, wide)
        fixed = None if self.costs.fixed is None else self.costs.fixed.gather(1, wide)
        sent = send.gather(1, order)
        a2, c2, inverse_F, inverse_B = a * a, c * c, 1 / F, 1 / B
        placed = torch.zeros_like(order)
        worlds = torch.arange(b, device=F.device)
        for n in range(int(send.sum(1).max())):
            a_n, c_n = a[:, n], c[:, n]
            extra = (2 * self.sum_a * a_n + a2[:, n]) * inverse_F + (2 * self.sum_c * c_n + c2[:, n]) * inverse_B
            best = (extra if fixed is None else extra + fixed[:, n]).argmin(1)
            is_sent = sent[:, n]
            self.sum_a[worlds, best] += a[worlds, n, best] * is_sent
            self.sum_c[worlds, best] += c[worlds, n, best] * is_sent
            placed[:, n] = (best + 1) * is_sent
        self.choice.scatter_(1, order, placed)
        if skipped is not None:
            self.choice.masked_fill_(skipped & self.active, k + 1)

    def start_from(self, choice: Tensor) -> None:
        """First choices are these, (B, N)."""
        _, _, _, k = self.shape
        self._begin()
        self.choice = choice.clone()
        on = torch.nn.functional.one_hot(choice, k + 2)[..., 1 : k + 1].to(self.c.dtype)
        self.sum_a += (on * self.a).sum(1)
        self.sum_c += (on * self.c).sum(1)
        if self.costs.need is not None:
            self.sum_need += (on * self.costs.need[..., None]).sum(1)

    def _begin(self) -> None:
        """Sums of a, c and the need of the tasks of each server; a column before and one after them are not used."""
        b, _, _, k = self.shape
        self.sums_a, self.sums_c, self.sums_need = (self.problem.F_k.new_zeros(b, k + 2) for _ in range(3))
        self.sum_a, self.sum_c, self.sum_need = (x[:, 1:-1] for x in (self.sums_a, self.sums_c, self.sums_need))
        if self.others is not None:
            for n, total in enumerate((self.sum_a, self.sum_c, self.sum_need)):
                total += self.others[:, n]

    def improve(self) -> Tensor:
        """Moves tasks while that lowers the cost, many at once. Returns the choices, (B, U, J)."""
        b, u, j, _ = self.shape
        self.own_costs = self._own_costs()
        for _ in range(MOST_SWEEPS):
            progress.report()
            gain, target = self._best_moves()
            world, task = self._compatible(gain, target)
            if not len(world):
                break
            self._apply(world, task, target[world, task])
        return self.choice.view(b, u, j)

    def _own_costs(self, users: Tensor | None = None) -> Tensor:
        """Cost of the local tasks of each user, and then the cost with each task in turn moved in or out, (B, U, 1 + J).

        users: only these, (n,), counted through all worlds; then (n, 1 + J).
        """

        def part(x: Tensor) -> Tensor:
            return x if users is None else x.flatten(0, 1).index_select(0, users)

        mask = (part(self.choice.view_as(self.problem.active)) == 0) & part(self.problem.active)
        sets, F = mask[..., None, :] ^ self.flips, part(self.problem.F_i)[..., None]
        tasks = self.costs.own.reshaped(lambda x: part(x)[..., None, :])
        cost = own_cost(tasks, sets, F)
        if tasks.least is not None and self.costs.skipped is not None:
            lost = part(self.costs.skipped.view_as(self.problem.active))[..., None, :] * sets
            overloaded = (tasks.least * sets).sum(-1) > F
            cost = torch.where(overloaded, cost + OVERLOAD * lost.sum(-1), cost)
        return cost

    def _deltas(self, part: slice) -> tuple[Tensor, Tensor]:
        """What leaving its device saves for each task of `part` (B, n), and what entering each costs.

        The costs are (B, n, K + 1), with one more to skip the task where that is allowed.
        """
        costs, choice, inverse_F, inverse_B = self.costs, self.choice[:, part], self.inverse_F, self.inverse_B
        toggled = (self.own_costs[..., 1:] - self.own_costs[..., :1]).flatten(1)[:, part]
        a, c = self.a[:, part], self.c[:, part]
        squares_a, squares_c = a * a * inverse_F, c * c * inverse_B
        enter = (2 * self.sum_a * inverse_F[:, 0])[:, None] * a + (2 * self.sum_c * inverse_B[:, 0])[:, None] * c
        enter = enter.add_(squares_a).add_(squares_c)
        k = enter.shape[2]
        server = (choice - 1).clamp(0, k - 1)[..., None]

        def of_server(x: Tensor) -> Tensor:
            return x.expand_as(enter).gather(2, server).squeeze(2)

        leave = of_server(enter) - 2 * (of_server(squares_a) + of_server(squares_c))
        if costs.fixed is not None:
            enter = enter + costs.fixed[:, part]
            leave = leave + of_server(costs.fixed[:, part])
        if costs.need is not None and costs.skipped is not None:
            need, F, lost = (
                costs.need[:, part, None],
                self.problem.F_k[:, None],
                OVERLOAD * costs.skipped[:, part, None],
            )
            enter = enter + lost * (self.sum_need[:, None] + need > F)
            relief = lost * ((self.sum_need[:, None] > F) & (self.sum_need[:, None] - need <= F))
            leave = leave + of_server(relief)
        saved = torch.where(choice == 0, -toggled, leave)
        if costs.skipped is None:
            return saved, torch.cat([toggled[..., None], enter], dim=-1)
        skipped = costs.skipped[:, part]
        saved = torch.where(choice > k, skipped, saved)
        return saved, torch.cat([toggled[..., None], enter, skipped[..., None]], dim=-1)

    def _best_moves(self) -> tuple[Tensor, Tensor]:
        """The gain of each task's best move, and its new choice, (B, N) each."""
        b, _, _, k = self.shape
        found = []
        for start in range(0, self.n, step := max(1, CELLS // (b * k))):
            part = slice(start, start + step)
            saved, enter = self._deltas(part)
            cost, target = enter.scatter_(2, self.choice[:, part, None], torch.inf).min(2)
            found.append((saved - cost, target))
        gain, target = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        return gain.masked_fill_(~self.active, -torch.inf), target

    def _compatible(self, gain: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """World and task (M,) of moves that gain together at least what they gain alone.

        No two of them change the same user's own CPU, enter the same server or leave the same server. One task may enter a
        server that another one leaves: both gain more then. With deadlines a server's moves are one at a time.
        """
        b, u, _, k = self.shape
        world, task = (gain > SMALLEST_GAIN).nonzero(as_tuple=True)
        if not len(world):
            return world, task
        order = gain[world, task].argsort(descending=True, stable=True)  # whatever else is in the batch
        world, task = world[order], task[order]
        rank, was, to = torch.arange(len(world), device=gain.device), self.choice[world, task], target[world, task]
        user = self.user[task]
        apart = k if self.costs.need is None else 0  # entering and leaving are apart
        # Of each world: an entry for every own CPU, and for leaving and entering every server. Each move has one more of its
        # own, for a task that is skipped.
        spots = u + 2 * k
        first = rank.new_full((b * spots + len(rank),), len(rank))
        ends = []
        for x, side in ((was, u - 1), (to, u - 1 + apart)):
            end = torch.where(x == 0, user, x + side).add_(world * spots)
            ends.append(end if self.costs.skipped is None else torch.where(x > k, rank + b * spots, end))
            first.scatter_reduce_(0, ends[-1], rank, "amin")
        free = (first[ends[0]] == rank) & (first[ends[1]] == rank)
        return world[free], task[free]

    def _apply(self, w: Tensor, n: Tensor, to: Tensor) -> None:
        """Moves task n[m] of world w[m] to the choice to[m], for all m."""
        was = self.choice[w, n]
        self.choice[w, n] = to
        _, u, j, k = self.shape
        wide_a = self.a.expand(-1, -1, k)
        for device, sign in ((was, -1.0), (to, 1.0)):
            server = (device - 1).clamp_(0, k - 1)
            self.sums_a[w, device] += sign * wide_a[w, n, server]
            self.sums_c[w, device] += sign * self.c[w, n, server]
            if self.costs.need is not None:
                self.sums_need[w, device] += sign * self.costs.need[w, n]
        changed = (was == 0) | (to == 0)  # users whose own CPU lost or got a task
        users = (w * u + self.user[n])[changed]
        if len(users):
            self.own_costs.view(-1, 1 + j).index_copy_(0, users, self._own_costs(users))
