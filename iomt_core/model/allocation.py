"""From requests to what is granted: C2-C4 hold by construction.

Agents act without seeing each other, so shares are requests. Where the requests on one device add up to more than 1
they are scaled down pro rata; where to less, the rest stays idle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iomt_core.model.snapshot import Action, Snapshot


def device_index(choice: Tensor, servers: int) -> Tensor:
    """Where each task runs on one axis of K servers then U users' own CPUs; (B, U, J) -> (B, U·J), int64."""
    b, u, _ = choice.shape
    own = torch.arange(servers, servers + u, device=choice.device)[None, :, None]
    return torch.where(choice == 0, own, choice - 1).reshape(b, -1)


def per_device(values: Tensor, device: Tensor, servers: int) -> Tensor:
    """Sums of (B, U, J) `values` over the tasks of each device; (B, K + U)."""
    b, u, _ = values.shape
    return values.new_zeros(b, servers + u).scatter_add_(1, device, values.reshape(b, -1))


def granted(snapshot: Snapshot, action: Action) -> tuple[Tensor, Tensor]:
    """CPU in cycle/s and bandwidth in Hz that every task gets; (B, U, J) each, bandwidth 0 for local tasks."""
    b, u, j, k = snapshot.shape
    device = device_index(action.choice, k)
    cpu = action.cpu * snapshot.active
    bandwidth = action.bandwidth * snapshot.active
    capacity = torch.cat([snapshot.F_k, snapshot.F_i], dim=1)
    scale = capacity / per_device(cpu, device, k).clamp_min_(1.0)
    f = cpu * scale.gather(1, device).view(b, u, j)
    band = torch.cat([snapshot.B_k, snapshot.F_i.new_zeros(b, u)], dim=1)
    scale = band / per_device(bandwidth, device, k).clamp_min_(1.0)
    return f, bandwidth * scale.gather(1, device).view(b, u, j)
