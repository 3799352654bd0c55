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

TINY = 1e-30


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
    """Prices a joint action in every world of the batch; differentiable in nothing, exact in everything."""
    f, b = granted(snapshot, action)
    return priced(snapshot, action.choice, f, b, s)


def priced(snapshot: Snapshot, choice: Tensor, f: Tensor, b: Tensor, s: Scenario) -> Outcome:
    """The same from granted CPU `f` in cycle/s and bandwidth `b` in Hz."""
    local = choice == 0
    delay_exe = execution_delay(snapshot.C, f.clamp_min(TINY))
    link = torch.nn.functional.pad(snapshot.beta, (1, 0), value=1.0).gather(2, choice)
    rate = mean_rate(b.clamp_min(TINY), link)
    delay_tx = (snapshot.D / rate).masked_fill_(local, 0.0)
    delay = delay_tx + delay_exe
    energy = torch.where(local, execution_energy(snapshot.C, f, s.k0), snapshot.P_tr[:, :, None] * delay_tx)
    cost = task_cost(delay, energy, s)
    missed = delay > s.T_max
    reward = task_reward(cost, missed | ~snapshot.active)
    return Outcome(f, b, rate.masked_fill_(local, 0.0), delay_tx, delay_exe, delay, energy, cost, missed, reward)
