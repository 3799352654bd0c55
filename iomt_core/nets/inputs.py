"""An agent's observation (14), split into the parts that the networks take."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from iomt_core.scenario import Scenario

TASK_FEATURES = 3  # D, C, P; and T_max where deadlines differ
OWN_FEATURES = 3  # P_tr, Cap, F_i
LINEAR_COST = 0.5  # costs up to here enter the networks unchanged, larger ones by their logarithm; 0.2 is usual
LEAST_SHARE = 0.05  # smallest share of a device that an agent requests, so that no task starves
LEAST_SHARE_GENERAL = 1e-5  # the same for general networks: beside a photograph a number of 8 bit needs next to nothing


@dataclass(frozen=True)
class Sizes:
    """The counts that a network is built for."""

    users: int
    tasks: int
    servers: int
    other: int  # length of an observation without its tasks
    state: int  # length of ŝ
    features: int = TASK_FEATURES  # number of features of a task
    shared: bool = False  # one network for all agents and tasks, and for wards of any counts

    @property
    def least_share(self) -> float:
        """The smallest share of a device that an agent requests."""
        return LEAST_SHARE_GENERAL if self.shared else LEAST_SHARE

    @property
    def networks(self) -> int:
        """The number of tasks of all agents: each has its own network, unless one is shared."""
        return self.users * self.tasks

    @classmethod
    def of(cls, s: Scenario) -> Sizes:
        """Network input sizes for this scenario's observation (14)."""
        links = s.servers * ((s.channel == "log-distance") + s.has_latency)
        features, other = TASK_FEATURES + s.deadlines_differ, OWN_FEATURES + 2 * s.servers + links
        return cls(s.users, s.tasks, s.servers, other, 2 * s.servers + 5, features)


@dataclass(frozen=True)
class Inputs:
    """Observations of U agents in N rows, agents first: an agent's own networks see its slice only.

    The optional ones are for general networks (`nets.shared`), `local_cost` also for agents that divide their own CPU. A task
    of weight 0 is missing or given up.
    """

    tasks: Tensor  # (U, N, J, features), about -1 to 1
    other: Tensor  # (U, N, other), o^other of (15)
    weight: Tensor  # (U, N, J) p = P / mean P of each task
    devices: Tensor | None = None  # (U, N, J, K + 1, DEVICE_FEATURES) each task on each device
    suggested: Tensor | None = None  # (U, N, J, 2) shares at which the Actor starts, of a mean server
    on_servers: Tensor | None = None  # (U, N, J, K, 2) shares that prices suggest on each server
    first_choice: Tensor | None = None  # (U, N, J) strategies at which the search starts
    local_cost: Tensor | None = None  # (U, N, J, 2) cost of delay and of energy with all of the own CPU
    # (U, N, J, 2) the share of the own CPU below which a task is late, and what it costs then; None: that does not matter
    least_share: Tensor | None = None
    # (U, N, K, 2) where an agent begins to count its tasks on a server, and for how many the server has room; see `search.moves`
    crowding: Tensor | None = None
    # (U, N, J, K, 2) instead of those: by their scalar products tasks of an agent make a server dearer for each other
    own_load: Tensor | None = None

    def rows(self, index: slice) -> Inputs:
        """The inputs of some of the N rows."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        part: dict[str, Any] = {name: None if x is None else x[:, index] for name, x in values.items()}
        return Inputs(**part)

    @classmethod
    def of(cls, observation: Tensor, weight: Tensor, sizes: Sizes) -> Inputs:
        """Inputs from observations (14).

        observation: (N, U, features · J + other), in [0, 1], in the order of `environment.observation.names`. weight: p,
        (N, U, J).
        """
        centred = observation.transpose(0, 1).mul(2).sub_(1)
        of_tasks = sizes.features * sizes.tasks
        tasks = centred[..., :of_tasks].unflatten(-1, (sizes.features, sizes.tasks)).transpose(2, 3)
        return cls(tasks, centred[..., of_tasks:], weight.transpose(0, 1))


def share_features(shares: Tensor) -> Tensor:
    """Requested shares in (0, 1] as network inputs: their logarithm, because delay goes with 1 / share; about -1 to 1."""
    return shares.log().mul(-2 / math.log(LEAST_SHARE)).add(1.0)


def cyclic_order(tasks: int, device: torch.device) -> Tensor:
    """Task indices, (J, J): row j is j, j + 1, … modulo J, the order of the columns of (16)."""
    j = torch.arange(tasks, device=device)
    return (j[:, None] + j) % tasks


def flatten_tasks(x: Tensor) -> Tensor:
    """Moves the task axis into the network axis: (U, N, J, c) -> (U·J, N, c)."""
    return x.transpose(1, 2).flatten(0, 1)


def other_tasks(x: Tensor) -> Tensor:
    """What the network of each task sees of the agent's other tasks.

    x: (U, N, J, c). Returns (U·J, N, (J - 1)·c), the other tasks in cyclic order; for J = 1 a single 0.
    """
    u, n, j, _ = x.shape
    if j == 1:
        return x.new_zeros(u, n, 1)
    turned = x[:, :, cyclic_order(j, x.device)[:, 1:]]  # (U, N, J, J - 1, c)
    return turned.flatten(3).transpose(1, 2).flatten(0, 1)


def mean_of_others(x: Tensor) -> Tensor:
    """The mean over the agent's other tasks for the network of each task, (U, N, J, c) -> (U·J, N, c); 0 for J = 1."""
    return flatten_tasks((x.sum(2, keepdim=True) - x) / max(1, x.shape[2] - 1))


def requests_on_servers(inputs: Inputs, requested: Tensor) -> Tensor | None:
    """What tasks request on each server, (U, N, J, K, 2); `requested`: of a mean server. None if that is the same.

    The Actor of a general network corrects what prices suggest, on all servers by the same factor.
    """
    if inputs.on_servers is None:
        return None
    assert inputs.suggested is not None
    factor = requested[..., :2] / inputs.suggested
    return (inputs.on_servers * factor[..., None, :]).clamp(LEAST_SHARE_GENERAL, 1.0)


def on_chosen(on_servers: Tensor, choice: Tensor) -> Tensor:
    """Of requests on each server (…, J, K, 2) those on the server of `choice`, (…, J), or on the first one for local tasks."""
    at = (choice - 1).clamp_min(0)[..., None, None]
    return on_servers.gather(-2, at.expand(*choice.shape, 1, 2))[..., 0, :]


def compress_cost(cost: Tensor) -> Tensor:
    """Costs, linear up to `LINEAR_COST` and logarithmic beyond, with a continuous slope.

    In some wards the wrong device costs a hundred times as much as the right one; this keeps such costs in range.
    """
    knee = LINEAR_COST
    return torch.where(cost.abs() > knee, cost.sign() * knee * (1 + (cost.abs() / knee).clamp_min(1.0).log()), cost)
