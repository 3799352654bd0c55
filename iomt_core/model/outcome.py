"""What a joint action leads to: delay, energy and cost of every task, eqs. (1)-(10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.model.allocation import granted
from iomt_core.model.batch import Batch
from iomt_core.model.channel import mean_rate
from iomt_core.model.computing import execution_delay, execution_energy
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.utility import task_cost, task_reward
from iomt_core.scenario import Scenario

# Hz and cycle/s: a request for nothing gets next to nothing, so that its delay is finite. Together with `WEAKEST_LINK` and
# the ranges of the parameters it keeps every delay under 2e14 s and every cost of a step under 1e26, in float32 too.
SMALLEST_GRANT = 1e-6


@dataclass(frozen=True)
class Outcome(Batch):
    """What became of every task; (B, U, J) each, 0 where no task is."""

    f: Tensor  # cycle/s granted
    b: Tensor  # Hz granted, 0 for local tasks
    rate: Tensor  # bit/s, 0 for local tasks
    delay_tx: Tensor  # s, eq. (7)
    delay_exe: Tensor  # s, eq. (1)
    delay: Tensor  # s, eq. (9)
    energy: Tensor  # J, eq. (10)
    cost: Tensor  # dimensionless
    missed: Tensor  # bool: later than T_max (C6)
    reward: Tensor  # dimensionless


def outcome(snapshot: Snapshot, action: Action, s: Scenario) -> Outcome:
    """Evaluates a joint action exactly in every world of the batch; not differentiable. All numbers are finite."""
    f, b = granted(snapshot, action)
    return priced(snapshot, action.choice, f, b, s)


def priced(snapshot: Snapshot, choice: Tensor, f: Tensor, b: Tensor, s: Scenario) -> Outcome:
    """The same from granted CPU `f` in cycle/s and bandwidth `b` in Hz."""
    offloaded = choice.to(f.dtype).clamp_max_(1.0)
    link = _link(snapshot.beta, choice)
    speed = f.clamp_min(SMALLEST_GRANT)
    delay_exe = execution_delay(snapshot.C, speed)
    rate = mean_rate(b.clamp_min(SMALLEST_GRANT), link, snapshot.max_ratio)
    delay_tx = (snapshot.D / rate).mul_(offloaded)
    delay = delay_tx + delay_exe
    energy = execution_energy(snapshot.C, speed, s.k0).mul_(1 - offloaded).addcmul_(snapshot.P_tr[:, :, None], delay_tx)
    cost = task_cost(delay, energy, s)
    late = torch.gt(delay, s.T_max, out=torch.empty_like(delay))
    reward = task_reward(cost, late)
    if not snapshot.all_active:
        reward = reward * snapshot.active
    return Outcome(f, b, rate.mul_(offloaded), delay_tx, delay_exe, delay, energy, cost, late.bool(), reward)


def _link(beta: Tensor, choice: Tensor) -> Tensor:
    """β of each task's link to its server, (B, U, J); of a local task that to the first, which nobody looks at."""
    if not torch.compiler.is_compiling():
        return beta.gather(2, (choice - 1).clamp_min_(0))
    device, link = choice.to(beta.dtype), beta[:, :, :1].expand(choice.shape)
    for k in range(1, beta.shape[2]):
        link = torch.where(device == k + 1, beta[:, :, k : k + 1], link)
    return link
