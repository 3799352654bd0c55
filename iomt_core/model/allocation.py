"""From requests to what is granted: C2-C4 hold by construction.

Agents act without seeing each other, so shares are requests. Where the requests on one device add up to more than 1
they are scaled down pro rata; where to less, the rest stays idle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.batch import cached_tensors
from iomt_core.model.snapshot import Action, Snapshot


def device_index(choice: Tensor, servers: int) -> Tensor:
    """Where each task runs on one axis of K servers then U users' own CPUs; (B, U, J) -> (B, U·J), int64."""
    b, u, j = choice.shape
    device = choice.reshape(b, u * j) - 1
    local = device >> 63  # the sign, on all bits: a mask of the tasks with choice 0
    return device.bitwise_xor_(local.bitwise_and_(_not_own(servers, u, j, choice.device)))


@cached_tensors
def _not_own(servers: int, users: int, tasks: int, device: torch.device) -> Tensor:
    """The complement of each task's own CPU: -1 xor it is that CPU."""
    return ~torch.arange(servers, servers + users, device=device).repeat_interleave(tasks)


def per_device(values: Tensor, device: Tensor, servers: int) -> Tensor:
    """Sums of (B, U, J) `values` over the tasks of each device; (B, K + U)."""
    b, u, _ = values.shape
    return values.new_zeros(b, servers + u).scatter_add_(1, device, values.reshape(b, -1))


def granted(snapshot: Snapshot, action: Action) -> tuple[Tensor, Tensor]:
    """CPU in cycle/s and bandwidth in Hz that every task gets; (B, U, J) each, bandwidth 0 for local tasks."""
    b, u, j, k = snapshot.shape
    device = device_index(action.choice, k)
    cpu, bandwidth = action.cpu, action.bandwidth
    if not snapshot.all_active:
        cpu, bandwidth = cpu * snapshot.active, bandwidth * snapshot.active
    if torch.compiler.is_compiling():
        return _granted_by_server(snapshot, action.choice, cpu, bandwidth)
    capacity = torch.cat([snapshot.F_k, snapshot.F_i], dim=1)
    band = torch.cat([snapshot.B_k, snapshot.F_i.new_zeros(b, u)], dim=1)
    f, granted_band = (
        (total / per_device(share, device, k).clamp_min_(1.0)).gather(1, device).view(b, u, j).mul_(share)
        for total, share in ((capacity, cpu), (band, bandwidth))
    )
    return f, granted_band


def _granted_by_server(snapshot: Snapshot, choice: Tensor, cpu: Tensor, bandwidth: Tensor) -> tuple[Tensor, Tensor]:
    """The same without an index: a compiler fuses comparisons with everything around them, gathers it does not."""
    device = choice.to(cpu.dtype)
    own = torch.where(device == 0, cpu, 0.0).sum(-1, keepdim=True).clamp_min(1.0)
    f = torch.where(device == 0, cpu * (snapshot.F_i[:, :, None] / own), 0.0)
    b = torch.zeros_like(f)
    for k in range(snapshot.F_k.shape[1]):
        here = device == k + 1
        asked_f = torch.where(here, cpu, 0.0).sum((1, 2)).clamp_min(1.0)
        asked_b = torch.where(here, bandwidth, 0.0).sum((1, 2)).clamp_min(1.0)
        f = torch.where(here, cpu * (snapshot.F_k[:, k] / asked_f)[:, None, None], f)
        b = torch.where(here, bandwidth * (snapshot.B_k[:, k] / asked_b)[:, None, None], b)
    return f, b
