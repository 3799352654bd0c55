"""Outcome of a joint action: delay, energy and cost of every task, eqs. (1)-(10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.model.allocation import granted
from iomt_core.model.batch import Batch
from iomt_core.model.channel import mean_rate
from iomt_core.model.computing import execution_delay, execution_energy
from iomt_core.model.snapshot import Action, Snapshot, deadlines
from iomt_core.model.utility import COST_MAX, task_cost, task_reward
from iomt_core.scenario import Scenario

# Hz and cycle/s, granted even to a request of 0, so that delays are finite. With `WEAKEST_LINK` and the ranges of the
# parameters it keeps every delay below 2e19 s and the cost of a step below 1e31, which float32 can represent.
SMALLEST_GRANT = 1e-6


@dataclass(frozen=True)
class Outcome(Batch):
    """Result for every task; (B, U, J) each, 0 where there is no task."""

    f: Tensor  # cycle/s granted
    b: Tensor  # Hz granted, 0 for local tasks
    rate: Tensor  # bit/s, 0 for local tasks
    delay_tx: Tensor  # s, eq. (7)
    delay_exe: Tensor  # s, eq. (1)
    delay: Tensor  # s, eq. (9), and the server's latency
    energy: Tensor  # J, eq. (10)
    cost: Tensor  # dimensionless
    missed: Tensor  # bool: later than its deadline (C6), or skipped
    skipped: Tensor  # bool: local with a share of exactly 0; it costs 1, nothing else, and its delay means nothing
    reward: Tensor  # dimensionless


def outcome(snapshot: Snapshot, action: Action, s: Scenario) -> Outcome:
    """Evaluates a joint action exactly, in every world of the batch; not differentiable. All results are finite."""
    f, b = granted(snapshot, action)
    offloaded = action.choice.to(f.dtype).clamp_max_(1.0)
    link = _of_server(snapshot.beta, action.choice)
    speed = f.clamp_min(SMALLEST_GRANT)
    delay_exe = execution_delay(snapshot.C, speed)
    rate = mean_rate(b.clamp_min(SMALLEST_GRANT), link, snapshot.max_ratio)
    delay_tx = (snapshot.D / rate).mul_(offloaded)
    delay = delay_tx + delay_exe
    if s.has_latency:
        delay.addcmul_(_of_server(snapshot.latency[:, None].expand_as(snapshot.beta), action.choice), offloaded)
    energy = execution_energy(snapshot.C, speed, s.k0).mul_(1 - offloaded).addcmul_(snapshot.P_tr[:, :, None], delay_tx)
    deadline = deadlines(snapshot, s)
    cost = task_cost(delay, energy, deadline, s)
    skipped = (action.choice == 0) & (f <= 0)
    if not snapshot.all_active:
        skipped = skipped & snapshot.active
    energy, cost = torch.where(skipped, 0.0, energy), torch.where(skipped, COST_MAX, cost)
    late = torch.gt(delay, deadline, out=torch.empty_like(delay))
    reward = task_reward(cost, late)
    if not snapshot.all_active:
        reward = reward * snapshot.active
    return Outcome(f, b, rate.mul_(offloaded), delay_tx, delay_exe, delay, energy, cost, late.bool(), skipped, reward)


def evaluate_step(snapshot: Snapshot, action: Action, s: Scenario) -> tuple[Outcome, Tensor, Tensor]:
    """Outcome of a joint action, charge after it (B, U) in J, negative if it was too low, and reward of each agent (B, U).

    A step that some user cannot pay earns nothing for anybody (C5).
    """
    result = outcome(snapshot, action, s)
    charge = snapshot.battery - result.energy.sum(-1)
    paid = (charge >= 0).all(-1, keepdim=True).to(charge.dtype)
    return result, charge, (result.reward * snapshot.weight).sum(-1) * paid


def _of_server(values: Tensor, choice: Tensor) -> Tensor:
    """A value of each task's server, (B, U, K) -> (B, U, J); for a local task that of server 1, which is not used."""
    if not torch.compiler.is_compiling():
        return values.gather(2, (choice - 1).clamp_min_(0))
    device, found = choice.to(values.dtype), values[:, :, :1].expand(choice.shape)
    for k in range(1, values.shape[2]):
        found = torch.where(device == k + 1, values[:, :, k : k + 1], found)
    return found
