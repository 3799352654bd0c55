"""From requested to granted resources; constraints C2-C4 hold by construction.

Agents decide without seeing each other, so shares are requests. If the requests on a device add up to more than 1, all are
scaled down by the same factor; if they add up to less, the rest stays idle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.batch import cached_tensors
from iomt_core.model.snapshot import Action, Snapshot


def device_index(choice: Tensor, servers: int) -> Tensor:
    """Number of each task's device, from 0: the K servers, then the own devices of U users; (B, U, J) -> (B, U·J) int64."""
    b, u, j = choice.shape
    device = choice.reshape(b, u * j) - 1
    local = device >> 63  # sign extension: all bits are 1 where the choice is 0
    return device.bitwise_xor_(local.bitwise_and_(_inverted_own_device(servers, u, j, choice.device)))


@cached_tensors
def _inverted_own_device(servers: int, users: int, tasks: int, device: torch.device) -> Tensor:
    """Bitwise complement of the number of each task's own device, (U·J,); -1 xor the complement is that number."""
    return ~torch.arange(servers, servers + users, device=device).repeat_interleave(tasks)


def per_device(values: Tensor, device: Tensor, servers: int) -> Tensor:
    """Sums of `values` (B, U, J) over the tasks of each device, (B, K + U); `device` as from `device_index`."""
    b, u, _ = values.shape
    return values.new_zeros(b, servers + u).scatter_add_(1, device, values.reshape(b, -1))


def granted(snapshot: Snapshot, action: Action) -> tuple[Tensor, Tensor]:
    """CPU (cycle/s) and bandwidth (Hz) granted to every task, (B, U, J) each; bandwidth is 0 for local tasks."""
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
    """`granted` for torch.compile, which fuses comparisons with the operations around them, but not gathers."""
    device = choice.to(cpu.dtype)
    own = torch.where(device == 0, cpu, 0.0).sum(-1, keepdim=True).clamp_min(1.0)
    f = torch.where(device == 0, cpu * (snapshot.F_i[:, :, None] / own), 0.0)
    b = torch.zeros_like(f)
    for k in range(snapshot.F_k.shape[1]):
        on_server = device == k + 1
        requested_f = torch.where(on_server, cpu, 0.0).sum((1, 2)).clamp_min(1.0)
        requested_b = torch.where(on_server, bandwidth, 0.0).sum((1, 2)).clamp_min(1.0)
        f = torch.where(on_server, cpu * (snapshot.F_k[:, k] / requested_f)[:, None, None], f)
        b = torch.where(on_server, bandwidth * (snapshot.B_k[:, k] / requested_b)[:, None, None], b)
    return f, b
