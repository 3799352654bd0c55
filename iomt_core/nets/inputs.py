"""An agent's observation (14) taken apart, as the networks read it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.scenario import Scenario

TASK_FEATURES = 3  # D, C, P
OWN_FEATURES = 3  # P_tr, Cap, F_i
DEAR = 0.5  # of a cost in units in which 0.2 is usual
LEAST_SHARE = 0.05  # of a device: what an agent asks for at least, so that no task is starved
LEAST_SHARE_OF_ANY = (
    0.005  # the same in any ward of the lab: where energy is dear a task runs best on a hundredth of its CPU
)


@dataclass(frozen=True)
class Sizes:
    """How many of everything a network is built for."""

    users: int
    tasks: int
    servers: int
    other: int  # length of an observation without its tasks
    state: int  # length of ŝ
    features: int = TASK_FEATURES  # of a task
    shared: bool = False  # one network for all agents and tasks, and for any ward up to these counts

    @property
    def least_share(self) -> float:
        """What an agent asks for at least."""
        return LEAST_SHARE_OF_ANY if self.shared else LEAST_SHARE

    @property
    def networks(self) -> int:
        """Tasks of all agents, each with a network of its own where none are shared."""
        return self.users * self.tasks

    @classmethod
    def of(cls, s: Scenario) -> Sizes:
        """Those of a scenario's observation (14)."""
        links = s.servers if s.channel == "log-distance" else 0
        return cls(s.users, s.tasks, s.servers, OWN_FEATURES + 2 * s.servers + links, 2 * s.servers + 5)


@dataclass(frozen=True)
class Inputs:
    """Observations, agents first: each agent's own networks see its slice and nothing else."""

    tasks: Tensor  # (U, N, J, features), about -1 to 1
    other: Tensor  # (U, N, other), o^other of (15)
    weight: Tensor  # (U, N, J) p = P / mean P of each task
    servers: Tensor | None = None  # (U, N, J, K + 1, ·) what a shared network is told of each task on each device
    suggested: Tensor | None = None  # (U, N, J, 2) the shares from which a shared Actor starts
    at_home: Tensor | None = None  # (U, N, J, 2) cost of a task's time and of its energy on all of its own device

    def rows(self, index: slice) -> Inputs:
        """Some of the N rows."""
        more = (None if x is None else x[:, index] for x in (self.servers, self.suggested, self.at_home))
        return Inputs(self.tasks[:, index], self.other[:, index], self.weight[:, index], *more)

    @classmethod
    def of(cls, observation: Tensor, weight: Tensor, sizes: Sizes) -> Inputs:
        """From (14) of all agents, (N, U, 3 J + other) in the order of `observation.names`, and p, (N, U, J)."""
        centred = observation.transpose(0, 1).mul(2).sub_(1)
        j = sizes.tasks
        tasks = centred[..., : TASK_FEATURES * j].unflatten(-1, (TASK_FEATURES, j)).transpose(2, 3)
        return cls(tasks, centred[..., TASK_FEATURES * j :], weight.transpose(0, 1))


def share_features(shares: Tensor) -> Tensor:
    """Requested shares as the networks read them: their logarithm, for delays go with 1 / share; -1 to 1."""
    return shares.log().mul(-2 / math.log(LEAST_SHARE)).add(1.0)


def cyclic_order(tasks: int, device: torch.device) -> Tensor:
    """Row j holds all tasks from j on, cyclically, as (16) has its columns; (J, J)."""
    j = torch.arange(tasks, device=device)
    return (j[:, None] + j) % tasks


def flatten_tasks(x: Tensor) -> Tensor:
    """Every network its own task's: (U, N, J, c) -> (U·J, N, c)."""
    return x.transpose(1, 2).flatten(0, 1)


def other_tasks(x: Tensor, which: slice = slice(None)) -> Tensor:
    """Every network of `which` tasks its other tasks': (U, N, J, c) -> (U·J, N, (J - 1)·c); of an only task a zero."""
    u, n, j, _ = x.shape
    if j == 1:
        return x.new_zeros(u, n, 1)
    turned = x[:, :, cyclic_order(j, x.device)[which, 1:]]  # (U, N, J, J - 1, c)
    return turned.flatten(3).transpose(1, 2).flatten(0, 1)


def compressed(cost: Tensor) -> Tensor:
    """Costs of wards in which the wrong device costs a hundredfold: from `DEAR` on by their logarithm, with its slope."""
    return torch.where(cost.abs() > DEAR, cost.sign() * DEAR * (1 + (cost.abs() / DEAR).clamp_min(1.0).log()), cost)
