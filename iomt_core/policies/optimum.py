"""The near-optimal joint decision: the choices of the dual, improved by a local search with incremental costs.

Near the prices of the dual, a server's bandwidth problem is almost that of a fixed spectral efficiency. Both resources of a
server then cost a squared sum: (Σ a)²/F_k + (Σ c)²/B_k, with a = sqrt(w A C) and c² = bandwidth cost times bandwidth of the
task. The effect of moving a task is therefore a closed form. Costs on own CPUs are exact. The final shares and the reported
cost come from the full model, so the approximation can make the result worse, but never wrong; the bound shows by how much.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.batch import concatenate, without_autograd
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.demand import bandwidth_table
from iomt_core.policies.dual import DualProblem, DualSolution, solve_dual
from iomt_core.policies.shares import optimal_shares, own_cost
from iomt_core.scenario import Scenario

FEW_CHOICES = 1024  # a ward with at most so many joint choices is solved by trying them all
TRIED_AT_ONCE = 8192  # joint choices evaluated in one batch
MAX_MOVES = 160
SMALLEST_GAIN = 1e-9


class Optimum(Policy):
    """The near-optimal joint decision of a central solver that knows all tasks and whom all users obey."""

    name = "optimum"
    label = "Optimum"
    summary = "A central solver that sees everything: the choices of the dual, repaired by local search, with the best shares."
    decentralised = False
    sharing = "optimal"

    @without_autograd
    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """The best joint action that the solver finds, for every world of the batch; see `Policy.decide`.

        The search starts from `dual`, which is solved for if it is not given.
        """
        s = self.scenario
        _, u, j, k = snapshot.shape
        if (k + 1) ** (u * j) <= FEW_CHOICES:
            return _exhaustive(snapshot, s)
        search = _Search(snapshot, s, solve_dual(snapshot, s) if dual is None else dual)
        search.start()
        search.improve()
        return optimal_shares(snapshot, search.choice.view(snapshot.D.shape), s)


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


class _Search:
    """Local search over choices; the tasks of all users are on one axis n = i J + j of length N."""

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
        """First choices: local where the dual prefers it; the other tasks, largest first, on the server where they cost least."""
        b, _, _, k = self.shape
        F, B = self.problem.F_k, self.problem.B_k
        send = self.active & (self.choice_weights[..., 0] < 0.5)
        self.choice = torch.zeros_like(send, dtype=torch.int64)
        self.sum_a, self.sum_c = F.new_zeros(b, k), F.new_zeros(b, k)
        order = torch.where(send, self.a, -1.0).argsort(dim=1, descending=True)
        a = self.a.gather(1, order)
        c = self.c.gather(1, order[..., None].expand(-1, -1, k))
        sent = send.gather(1, order)
        a2, c2, inverse_F, inverse_B = a * a, c * c, 1 / F, 1 / B
        placed = torch.zeros_like(order)
        worlds = torch.arange(b, device=F.device)
        for n in range(int(send.sum(1).max())):
            a_n, c_n = a[:, n, None], c[:, n]
            extra = (2 * self.sum_a * a_n + a2[:, n, None]) * inverse_F + (2 * self.sum_c * c_n + c2[:, n]) * inverse_B
            best = extra.argmin(1)
            is_sent = sent[:, n]
            self.sum_a[worlds, best] += a[:, n] * is_sent
            self.sum_c[worlds, best] += c[worlds, n, best] * is_sent
            placed[:, n] = (best + 1) * is_sent
        self.choice.scatter_(1, order, placed)

    def improve(self) -> None:
        """Makes the best single move in every world, until no move helps in any of them."""
        b, u, j, _ = self.shape
        mask = (self.choice == 0).view(b, u, j) & self.problem.active
        self.own, self.own_toggled = self._own_costs(self.problem.q, mask, self.problem.F_i)
        for _ in range(MAX_MOVES):
            gain, task, target = self._best_move()
            moving = gain > SMALLEST_GAIN
            if not bool(moving.any()):
                return
            self._apply(moving, task, target)

    def _own_costs(self, q: Tensor, mask: Tensor, F: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of each user's local tasks (…), and the cost with each task in turn moved in or out (…, J)."""
        j = q.shape[-1]
        flips = torch.nn.functional.pad(torch.eye(j, dtype=torch.bool, device=q.device), (0, 0, 1, 0))
        sets = mask[..., None, :] ^ flips
        cost = own_cost(q[..., None, :].expand_as(sets), sets, F[..., None].expand(sets.shape[:-1]), self.s)
        return cost[..., 0], cost[..., 1:]

    def _deltas(self) -> tuple[Tensor, Tensor]:
        """What leaving its device saves for each task (B, N), and what entering each device costs (B, N, K + 1)."""
        b = self.shape[0]
        inverse_F, inverse_B = 1 / self.problem.F_k[:, None], 1 / self.problem.B_k[:, None]
        toggled = (self.own_toggled - self.own[..., None]).view(b, self.n)
        a, c = self.a[..., None], self.c
        enter = (2 * self.sum_a[:, None] * a + a * a) * inverse_F + (2 * self.sum_c[:, None] * c + c * c) * inverse_B
        both = 2 * (a * a * inverse_F + c * c * inverse_B)
        server = (self.choice - 1).clamp_min(0)[..., None]
        leave = (enter - both).gather(2, server).squeeze(2)
        local = self.choice == 0
        saved = torch.where(local, -toggled, leave)
        return saved, torch.cat([toggled[..., None], enter], dim=-1)

    def _best_move(self) -> tuple[Tensor, Tensor, Tensor]:
        """The gain of each world's best move, its task n and the task's new device, (B,) each."""
        k = self.shape[3]
        saved, enter = self._deltas()
        gain = saved[..., None] - enter
        gain.scatter_(2, self.choice[..., None], -torch.inf)
        gain.masked_fill_(~self.active[..., None], -torch.inf)
        best, index = gain.flatten(1).max(1)
        return best, index // (k + 1), index % (k + 1)

    def _apply(self, moving: Tensor, task: Tensor, target: Tensor) -> None:
        """Makes the moves in the worlds of `moving`, (B,) bool."""
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
        changed = (was == 0) | (to == 0)  # users whose own CPU lost or got a task
        w, i = w[changed], self.user[n[changed]]
        if not len(w):
            return
        b, u, j, _ = self.shape
        mask = (self.choice.view(b, u, j)[w, i] == 0) & self.problem.active[w, i]
        q, F = self.problem.q[w, i], self.problem.F_i[w, i]
        self.own[w, i], self.own_toggled[w, i] = self._own_costs(q, mask, F)
