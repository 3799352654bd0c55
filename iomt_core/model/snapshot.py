"""What stands before the policies in one step: a batch of worlds as tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from iomt_core.model.batch import Batch


@dataclass(frozen=True)
class Snapshot(Batch):
    """One step of B worlds with U users, J tasks a user and K servers. SI units.

    Tasks that do not exist (a workload of one's own may be ragged) are not `active`; their D, C and weight are 0.
    """

    D: Tensor  # (B, U, J) bit
    C: Tensor  # (B, U, J) cycle
    P: Tensor  # (B, U, J) priority
    weight: Tensor  # (B, U, J) p = P / mean P, 0 where no task is
    active: Tensor  # (B, U, J) bool
    kind: Tensor  # (B, U, J) index into the scenario's kind names
    P_tr: Tensor  # (B, U) W
    battery: Tensor  # (B, U) J left
    F_i: Tensor  # (B, U) cycle/s
    F_k: Tensor  # (B, K) cycle/s, what background load leaves
    B_k: Tensor  # (B, K) Hz, what background load leaves
    users_xy: Tensor  # (B, U, 2) m
    servers_xy: Tensor  # (B, K, 2) m
    distance: Tensor  # (B, U, K) m
    beta: Tensor  # (B, U, K) Hz, unit-SNR bandwidth of each link
    key: Tensor  # (B,) int64, of world and step: what a policy that draws at random draws from
    max_ratio: float = math.inf  # known bound of a server's bandwidth over a link's β; a shortcut only
    all_active: bool = False  # known that every task is active; a shortcut only, False is always right

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, U, J, K)."""
        b, u, j = self.D.shape
        return b, u, j, self.F_k.shape[1]


@dataclass(frozen=True)
class Action(Batch):
    """What every user asks for: a device a task, and shares of that device.

    `cpu` is the requested share of the chosen device's CPU and `bandwidth` that of the chosen server's bandwidth, in
    [0, 1]; `bandwidth` of a local task is not looked at. Shape of each (B, U, J).
    """

    choice: Tensor  # 0 local, k server k
    cpu: Tensor
    bandwidth: Tensor


def device_name(choice: int) -> str:
    """Name of a choice: 0 local, k server k."""
    return "own device" if choice == 0 else f"server {choice}"
