"""The state that policies decide on in one step, and their actions: a batch of worlds as tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from iomt_core.model.batch import Batch
from iomt_core.scenario import Scenario


@dataclass(frozen=True)
class Snapshot(Batch):
    """One step of B worlds with U users, J tasks for each user and K servers. SI units.

    In a workload from a file some users may have fewer tasks. Missing tasks are not `active`; their D, C and weight are 0.
    """

    D: Tensor  # (B, U, J) bit
    C: Tensor  # (B, U, J) cycle
    P: Tensor  # (B, U, J) priority
    weight: Tensor  # (B, U, J) p = P / mean P, 0 where there is no task
    active: Tensor  # (B, U, J) bool
    kind: Tensor  # (B, U, J) index into the scenario's kind names
    deadline: Tensor  # (B, U, J) s, of the task's kind or T_max
    P_tr: Tensor  # (B, U) W
    battery: Tensor  # (B, U) remaining charge, J
    F_i: Tensor  # (B, U) cycle/s
    F_k: Tensor  # (B, K) cycle/s, CPU of server k without its background load
    B_k: Tensor  # (B, K) Hz, bandwidth of server k without its background load
    latency: Tensor  # (B, K) s, fixed delay of every task on server k
    users_xy: Tensor  # (B, U, 2) m
    servers_xy: Tensor  # (B, K, 2) m
    distance: Tensor  # (B, U, K) m
    beta: Tensor  # (B, U, K) Hz, unit-SNR bandwidth of each link
    key: Tensor  # (B,) int64, seed of this world and step, for policies that draw at random
    steps_left: Tensor  # (B,) int64, of the episode, this one included
    max_ratio: float = math.inf  # a known upper limit of B_k / beta; only saves time
    all_active: bool = False  # True only if all tasks are active; only saves time, False is always correct

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, U, J, K)."""
        b, u, j = self.D.shape
        return b, u, j, self.F_k.shape[1]

    def keep(self, users: Tensor, servers: Tensor) -> Snapshot:
        """Only these users and servers, given by their index, (n,) int64."""
        by_user = ("D", "C", "P", "weight", "active", "kind", "deadline", "P_tr", "battery", "F_i", "users_xy")
        kept = {name: getattr(self, name)[:, users] for name in by_user}
        kept |= {name: getattr(self, name)[:, servers] for name in ("F_k", "B_k", "latency", "servers_xy")}
        kept |= {name: getattr(self, name)[:, users[:, None], servers] for name in ("distance", "beta")}
        return replace(self, **kept)


@dataclass(frozen=True)
class Action(Batch):
    """The decision for every task: its device, and the requested shares of that device."""

    choice: Tensor  # (B, U, J) int64, 0 local, k the k-th server in operation
    cpu: Tensor  # (B, U, J) requested share of the device's CPU, 0 to 1
    bandwidth: Tensor  # (B, U, J) requested share of the server's bandwidth, 0 to 1; ignored for local tasks


def deadlines(snapshot: Snapshot, s: Scenario) -> Tensor | float:
    """Deadline of every task in s: (B, U, J), or one number where all tasks have the same."""
    return snapshot.deadline if s.has_own_deadlines else s.T_max


def device_name(number: int) -> str:
    """The name of a device for people, by its number in the whole ward: 0 is the own device, k is server k.

    The number of a choice in a tensor is `Scenario.device_numbers[choice]`.
    """
    return "own device" if number == 0 else f"server {number}"
