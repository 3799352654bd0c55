"""The own CPU, of which an agent knows everything: how its tasks divide it best by (1) and (2), and what each is worth then."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from iomt_core.nets.backend import replaceable
from iomt_core.nets.inputs import LEAST_SHARE_GENERAL, Inputs, compress_cost, cyclic_order
from iomt_core.policies.demand import OwnCpuTasks
from iomt_core.policies.shares import own_allocation

ROUNDING = 1e-4  # by which a share may be below the least one
SMALLEST_COST = 1e-9  # of a task's delay, so that tasks of no weight do not divide by 0


@dataclass(frozen=True)
class LocalWorth:
    """What an agent's local tasks are worth with task j of network j on the own device (first) and without it (second).

    Columns are the agent's tasks in the cyclic order of (16).
    """

    worth: Tensor  # (G, 2, N, J) 1 - cost of a task on the own device; where it is not there, the entry means nothing
    stays: Tensor  # (G, 2, N, J) bool, whether the task of the column is on the own device

    def insert(self, values: Tensor) -> Tensor:
        """The values of all passes, (G, K + 1, N, J), with those of local tasks replaced by what they are worth.

        values: of the same shape, or (G, K + 1, N, 1), of the own task only; then other tasks on servers count as 0.
        """
        values = pad(values, (0, self.worth.shape[-1] - values.shape[-1]))
        index = (torch.arange(values.shape[1], device=values.device) > 0).long()  # 0 in the pass of the own device
        return torch.where(self.stays.index_select(1, index), self.worth.index_select(1, index), values)


def local_worth(inputs: Inputs, taken: Tensor, tasks: range) -> LocalWorth:
    """The worth of all local tasks for the networks of some `tasks`, G = U · len(tasks), at the best division of the own CPU.

    taken: strategies of 0 and 1, (U, N, J, K + 1).
    """
    assert inputs.local_cost is not None
    j, local = taken.shape[2], taken[:, :, None, None, :, 0] > 0
    own = torch.eye(j, dtype=torch.bool, device=taken.device)[tasks.start : tasks.stop]
    sets = torch.stack([own, torch.zeros_like(own)], 1) | (local & ~own[:, None])  # (U, N, tasks, 2, J)
    sets = sets & (inputs.weight > 0)[:, :, None, None]  # a missing task takes nothing
    shares = timely_shares(inputs, sets)
    time, energy = inputs.local_cost[:, :, None, None].unbind(-1)
    cost = time / shares.clamp_min(LEAST_SHARE_GENERAL) + energy * shares.square()
    if inputs.least_share is not None:
        least, lost = inputs.least_share[:, :, None, None].unbind(-1)
        cost = torch.where(shares < least * (1 - ROUNDING), torch.maximum(cost, lost), cost)
    worth = 1 - compress_cost(cost)
    order = cyclic_order(j, taken.device)[tasks.start : tasks.stop, None].expand(worth.shape)
    worth, stays = (x.gather(4, order).permute(0, 2, 3, 1, 4).flatten(0, 1) for x in (worth, sets))
    return LocalWorth(worth, stays)


def timely_shares(inputs: Inputs, local: Tensor) -> Tensor:
    """`own_shares`, of which no task gets less than its least share while the own CPU suffices; nearly the least cost then.

    local: (U, N, …, J) bool, sets of tasks. Returns the shape of `local`.
    """
    assert inputs.local_cost is not None
    shares = own_shares(inputs.local_cost, inputs.weight, local)
    if inputs.least_share is None:
        return shares
    u, n, j = inputs.weight.shape
    least = inputs.least_share[..., 0].view(u, n, *(1,) * (local.dim() - 3), j) * local
    above = (shares - least).clamp_min(0.0)
    room = (1 - least.sum(-1, keepdim=True)).clamp_min(0.0) / above.sum(-1, keepdim=True).clamp_min(1e-9)
    raised = least + above * room.clamp_max(1.0)
    return raised / raised.sum(-1, keepdim=True).clamp_min(1.0)


@replaceable
def own_shares(local_cost: Tensor, weight: Tensor, local: Tensor) -> Tensor:
    """The shares of the own CPU that minimise the weighted cost of the tasks that are on it; 0 for all others.

    local_cost: (U, N, J, 2), see `Inputs`; weight: p, (U, N, J); local: (U, N, …, J) bool, sets of tasks. Returns the shape of
    `local`. A set may leave a part of the CPU idle to save energy, as in `policies.shares.own_allocation`.
    """
    shape = (*weight.shape[:2], *(1,) * (local.dim() - 3), weight.shape[2])
    time, energy = (local_cost.double() * weight[..., None]).unbind(-1)
    time, energy = (torch.where(local, x.view(shape), 1.0) for x in (time.clamp_min(SMALLEST_COST), energy))
    shares = own_allocation(OwnCpuTasks(time, energy), local, time.new_ones(()).expand(local.shape[:-1]))
    return shares.to(weight.dtype)
