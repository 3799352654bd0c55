"""The near-optimal joint decision: the dual's choices, repaired by a local search with incremental costs.

Around the dual's prices a server's bandwidth problem is almost that of a fixed spectral efficiency, so both resources
of a server cost a squared sum: (Σ a)²/F_k + (Σ c)²/B_k with a = sqrt(w A C) and c² the task's bandwidth cost times
bandwidth. A move then changes the cost by a closed form. Own CPUs are priced exactly. The final shares and the cost
reported come from the full model, so the approximation can only cost quality, never truth; the bound shows how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.model.batch import Batch, concatenate, without_autograd
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.demand import bandwidth_table
from iomt_core.policies.dual import DualProblem, DualSolution, solve_dual
from iomt_core.policies.shares import optimal_shares, own_cost
from iomt_core.scenario import Scenario

# A ward with no more joint choices than this is solved by trying them all.
FEW_CHOICES, TRIED_AT_ONCE = 1024, 8192
MOST_MOVES = 160
SMALLEST_GAIN = 1e-9


@dataclass(frozen=True)
class Solution(Batch):
    """An action for every world and the certificate beside it."""

    action: Action
    dual: DualSolution


@without_autograd
def optimum(snapshot: Snapshot, s: Scenario, dual: DualSolution | None = None) -> Solution:
    """The best joint action we can find, with its certified bound; every world of the batch at once."""
    dual = solve_dual(snapshot, s) if dual is None else dual
    _, u, j, k = snapshot.shape
    if (k + 1) ** (u * j) <= FEW_CHOICES:
        return Solution(_exhaustive(snapshot, s), dual)
    search = _Search(snapshot, s, dual)
    search.start()
    search.improve()
    choice = search.choice.view(snapshot.D.shape)
    return Solution(optimal_shares(snapshot, choice, s), dual)


class Optimum(Policy):
    """The near-optimal joint decision, with everything known and everyone obeying."""

    name = "optimum"
    label = "Optimum"
    summary = "A central solver that sees everything: the choices of the dual, repaired by local search, with the best shares."
    decentralised = False
    sharing = "optimal"

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """The solver's action; starts from `dual`, which is solved for where it is not given."""
        return optimum(snapshot, self.scenario, dual).action


def _exhaustive(snapshot: Snapshot, s: Scenario) -> Action:
    """The best of all joint choices, each with its best shares."""
    _, u, j, k = snapshot.shape
    every = torch.cartesian_prod(*[torch.arange(k + 1, device=snapshot.D.device)] * (u * j)).view(-1, u, j)
    best: list[Action] = []
    for worlds in torch.arange(len(snapshot.D), device=snapshot.D.device).split(TRIED_AT_ONCE // len(every)):
        tiled = snapshot.select(worlds.repeat_interleave(len(every)))
        action = optimal_shares(tiled, every.repeat(len(worlds), 1, 1), s)
        total = (outcome(tiled, action, s).cost * tiled.weight).sum((1, 2)).view(len(worlds), -1)
        best.append(action.select(total.argmin(1) + torch.arange(len(worlds), device=total.device) * len(every)))
    return concatenate(best)


class _Search:
    """Local search over choices; tasks of all users on one axis n = i J + j of length N."""

    def __init__(self, snapshot: Snapshot, s: Scenario, dual: DualSolution) -> None:
        self.s = s
        self.problem = problem = DualProblem(snapshot, s)
        b, u, j, k = self.shape = problem.shape
        self.n = n = u * j
        y = dual.prices.bandwidth[:, None, None] * problem.tx_y
        value, x = bandwidth_table()(y)
        capped = x > problem.x_cap
        spent = torch.where(capped, problem.v_cap, value - y * x) * problem.tx_scale  # the cost without the price
        x = torch.where(capped, problem.x_cap, x)
        active = problem.active.view(b, n)
        self.c = (spent * x * problem.beta[:, :, None]).sqrt().view(b, n, k) * active[..., None]
        self.a = problem.root.view(b, n) * active
        self.active = active
        self.choice_weights = dual.choice_weights.view(b, n, k + 1)
        self.user = torch.arange(n, device=active.device) // j

    def start(self) -> None:
        """Local where the dual leans so; the others, largest first, each to the server it costs least."""
        b, _, _, k = self.shape
        F, B = self.problem.F_k, self.problem.B_k
        send = self.active & (self.choice_weights[..., 0] < 0.5)
        self.choice = torch.zeros_like(send, dtype=torch.int64)
        self.sum_a, self.sum_c = F.new_zeros(b, k), F.new_zeros(b, k)
        order = torch.where(send, self.a, -1.0).argsort(dim=1, descending=True)
        a = self.a.gather(1, order)
        c = self.c.gather(1, order[..., None].expand(-1, -1, k))
        going = send.gather(1, order)
        a2, c2, inverse_F, inverse_B = a * a, c * c, 1 / F, 1 / B
        placed = torch.zeros_like(order)
        worlds = torch.arange(b, device=F.device)
        for n in range(int(send.sum(1).max())):
            a_n, c_n = a[:, n, None], c[:, n]
            extra = (2 * self.sum_a * a_n + a2[:, n, None]) * inverse_F + (2 * self.sum_c * c_n + c2[:, n]) * inverse_B
            best = extra.argmin(1)
            goes = going[:, n]
            self.sum_a[worlds, best] += a[:, n] * goes
            self.sum_c[worlds, best] += c[worlds, n, best] * goes
            placed[:, n] = (best + 1) * goes
        self.choice.scatter_(1, order, placed)

    def improve(self) -> None:
        """The best single move of every world, until none helps any."""
        self._own_all()
        for _ in range(MOST_MOVES):
            gain, task, target = self._best_move()
            moving = gain > SMALLEST_GAIN
            if not bool(moving.any()):
                return
            self._apply(moving, task, target)

    def _own_all(self) -> None:
        b, u, j, _ = self.shape
        mask = (self.choice == 0).view(b, u, j) & self.problem.active
        self.own, self.own_toggled = self._own(self.problem.q, mask, self.problem.F_i)

    def _own(self, q: Tensor, mask: Tensor, F: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of each user's local set (…), and of the set with each one of its tasks toggled (…, J)."""
        j = q.shape[-1]
        flips = torch.nn.functional.pad(torch.eye(j, dtype=torch.bool, device=q.device), (0, 0, 1, 0))
        sets = mask[..., None, :] ^ flips
        cost = own_cost(q[..., None, :].expand_as(sets), sets, F[..., None].expand(sets.shape[:-1]), self.s)
        return cost[..., 0], cost[..., 1:]

    def _deltas(self) -> tuple[Tensor, Tensor]:
        """What leaving its place saves each task (B, N), and what entering each place costs it (B, N, K + 1)."""
        b = self.shape[0]
        inverse_F, inverse_B = 1 / self.problem.F_k[:, None], 1 / self.problem.B_k[:, None]
        toggled = (self.own_toggled - self.own[..., None]).view(b, self.n)
        a, c = self.a[..., None], self.c
        enter = (2 * self.sum_a[:, None] * a + a * a) * inverse_F + (2 * self.sum_c[:, None] * c + c * c) * inverse_B
        both = 2 * (a * a * inverse_F + c * c * inverse_B)
        place = (self.choice - 1).clamp_min(0)[..., None]
        left = (enter - both).gather(2, place).squeeze(2)
        local = self.choice == 0
        saved = torch.where(local, -toggled, left)
        return saved, torch.cat([toggled[..., None], enter], dim=-1)

    def _best_move(self) -> tuple[Tensor, Tensor, Tensor]:
        k = self.shape[3]
        saved, enter = self._deltas()
        gain = saved[..., None] - enter
        gain.scatter_(2, self.choice[..., None], -torch.inf)
        gain.masked_fill_(~self.active[..., None], -torch.inf)
        best, index = gain.flatten(1).max(1)
        return best, index // (k + 1), index % (k + 1)

    def _apply(self, moving: Tensor, task: Tensor, target: Tensor) -> None:
        w = moving.nonzero().squeeze(1)
        n, to = task[w], target[w]
        was = self.choice[w, n]
        self.choice[w, n] = to
        out, into = was > 0, to > 0
        w_out, n_out, k_out = w[out], n[out], was[out] - 1
        self.sum_a[w_out, k_out] -= self.a[w_out, n_out]
        self.sum_c[w_out, k_out] -= self.c[w_out, n_out, k_out]
        w_in, n_in, k_in = w[into], n[into], to[into] - 1
        self.sum_a[w_in, k_in] += self.a[w_in, n_in]
        self.sum_c[w_in, k_in] += self.c[w_in, n_in, k_in]
        self._own_again(w, n, (was == 0) | (to == 0))

    def _own_again(self, w: Tensor, n: Tensor, changed: Tensor) -> None:
        w, i = w[changed], self.user[n[changed]]
        if not len(w):
            return
        b, u, j, _ = self.shape
        mask = (self.choice.view(b, u, j)[w, i] == 0) & self.problem.active[w, i]
        q, F = self.problem.q[w, i], self.problem.F_i[w, i]
        self.own[w, i], self.own_toggled[w, i] = self._own(q, mask, F)
