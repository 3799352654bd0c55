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
MOST_PAIRED = 150  # tasks of a world, of which two move at once; in larger wards that takes ten times as long
IMPOSSIBLE = 1e30  # what a move costs that may not be made; finite, because it is multiplied by 0
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
    """Improves the choices of every world by moves of tasks. A choice of K + 1 skips the task, where that is allowed."""

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

    def improve(self, pairs: bool = False) -> Tensor:
        """Moves tasks while that lowers the cost, many at once. Returns the choices, (B, U, J).

        pairs: whether two tasks of a world also move together, where no single move helps; not with deadlines.
        """
        b, u, j, _ = self.shape
        self.own_costs = self._own_costs()
        pairs = pairs and self.costs.need is None and 1 < self.n <= MOST_PAIRED
        for _ in range(MOST_SWEEPS):
            progress.report()
            gain, target = self._best_moves()
            moves = self._compatible(gain, target)
            if len(moves[0]):
                self._apply(*moves, target[moves])
            elif not (pairs and self._move_pairs()):
                break
        return self.choice.view(b, u, j)

    def _move_pairs(self) -> bool:
        """Moves pairs of tasks: n enters the server that m leaves, whatever m does best then. Returns whether any gains.

        Together they gain what they gain alone, and 2 a_n a_m/F + 2 c_n c_m/B on the server that one enters and one leaves. All
        of this is one matrix product over devices. What n enters and m leaves is a server; both may not meet on an own CPU,
        whose cost is no sum of pairs.
        """
        b, u, j, k = self.shape
        saved, enter = self._deltas(slice(None))
        gains = saved[..., None] - enter.scatter(2, self.choice[..., None], IMPOSSIBLE)
        gains = torch.where(self.active[..., None], gains, -IMPOSSIBLE)
        best, target = gains.max(2)
        here, there = (
            torch.nn.functional.one_hot(x, k + 2)[..., 1 : k + 1].to(gains.dtype) for x in (self.choice, target)
        )
        best = torch.where(here.any(-1) & self.active, best, -IMPOSSIBLE)
        a, c = 2 * self.a * self.inverse_F, 2 * self.c * self.inverse_B
        entering = [gains[..., 1 : k + 1], a.expand_as(here), c, a * here, c * here, torch.ones_like(best)[..., None]]
        leaving = [here, self.a * here, self.c * here, self.a * there, self.c * there, best[..., None]]
        together = torch.cat(leaving, -1) @ torch.cat(entering, -1).transpose(1, 2)  # (B, m, n)
        own = ((target == 0).view(b, u, j, 1) & (self.choice == 0).view(b, u, 1, j)).to(gains.dtype)
        together.view(b, u, j, u, j).diagonal(dim1=1, dim2=3).sub_(IMPOSSIBLE * own.permute(0, 2, 3, 1))
        gain, first = together.max(2)
        world, second = (gain > SMALLEST_GAIN).nonzero(as_tuple=True)
        if not len(world):
            return False
        order = gain[world, second].argsort(descending=True, stable=True)
        world, second = world[order], second[order]
        first = first[world, second]
        ends = (first, self.choice[world, first]), (second, self.choice[world, second]), (second, target[world, second])
        free = self._first_at(world, [(self.user[task], device.where(device <= k, -1)) for task, device in ends])
        world, first, second = world[free], first[free], second[free]
        entered, left_for = self.choice[world, second], target[world, second]
        self._apply(world, first, entered)
        self._apply(world, second, left_for)
        return True

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
        k = self.shape[3]
        world, task = (gain > SMALLEST_GAIN).nonzero(as_tuple=True)
        if not len(world):
            return world, task
        order = gain[world, task].argsort(descending=True, stable=True)  # whatever else is in the batch
        world, task = world[order], task[order]
        user, apart = self.user[task], k if self.costs.need is None else 0  # entering and leaving are apart
        was, to = self.choice[world, task], target[world, task]
        free = self._first_at(
            world, [(user, was.where(was <= k, -1)), (user, (to + apart * (to > 0)).where(to <= k, -1))]
        )
        return world[free], task[free]

    def _first_at(self, world: Tensor, ends: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Which moves are the first ones at all their ends, (M,) bool; the moves are sorted, the best first.

        ends: user and device of each, (M,) each; 0 is the user's own CPU, more than K another side of the servers, -1 nowhere.
        """
        b, u, _, k = self.shape
        rank = torch.arange(len(world), device=world.device)
        # Of each world: an entry for every own CPU, and for both sides of every server. Each move has one more of its own.
        spots = u + 2 * k
        first = rank.new_full((b * spots + len(rank),), len(rank))
        places = []
        for user, device in ends:
            place = torch.where(device == 0, user, device + (u - 1)).add_(world * spots)
            places.append(place.where(device >= 0, rank + b * spots))
            first.scatter_reduce_(0, places[-1], rank, "amin")
        free = torch.ones_like(rank, dtype=torch.bool)
        for place in places:
            free &= first[place] == rank
        return free

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
