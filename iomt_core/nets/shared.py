"""Networks that all agents and all tasks share, for wards of any size: one Actor and one MPTQ network.

In the paper every agent and task has its own weights. Here that knowledge is an input instead: a task is described beside the
mean of its agent's other tasks, a server by what it offers and by who uses it. No input's length depends on a count, so the same
weights serve any number of users, tasks and servers. Untrained, the networks correct nothing: agents then decide by prices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear, two_layers
from iomt_core.nets.inputs import (
    Inputs,
    Sizes,
    compress_cost,
    cyclic_order,
    flatten_tasks,
    mean_of_others,
    share_features,
)
from iomt_core.nets.shared_sequential import Q_SCALE, SharedSequentialQ
from iomt_core.nets.task_q import ActionFeatures, TaskQ

WIDTH, HIDDEN, HEAD = 32, 96, 64
ACTOR_SCALE = 0.5
DEVICE_FEATURES = 7  # numbers that describe a task on a device; the last is its worth at the expected prices


class SharedTokens(nn.Module):
    """An agent's observation from the view of one of its tasks: own task, other tasks, the rest; (U·J, 3, N, width)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.own = GroupedLinear(1, sizes.features, WIDTH)
        self.others = GroupedLinear(1, sizes.features, WIDTH)
        self.rest = GroupedLinear(1, sizes.other, WIDTH)
        self.first = Encoder(1, WIDTH, HIDDEN)

    def forward(self, inputs: Inputs) -> Tensor:
        """The tokens after the first Encoder."""
        rest = self.rest(inputs.other).repeat_interleave(inputs.tasks.shape[2], dim=0)
        own, tasks = self.own(flatten_tasks(inputs.tasks)), inputs.tasks
        others = mean_of_others(self.others.rectified(tasks.flatten(0, 1)[None]).view(*tasks.shape[:3], -1))
        result: Tensor = self.first(torch.stack([own, others, rest], 1))
        return result


class SharedActor(nn.Module):
    """μ of any task of any agent: it corrects the shares that prices suggest, given all tasks of the agent."""

    def __init__(self, sizes: Sizes, outputs: int = 2) -> None:
        super().__init__()
        self.tokens = SharedTokens(sizes)
        self.memory = GroupedGRU(1, WIDTH, recurrent=False)
        self.second = Encoder(1, WIDTH, HIDDEN)
        self.wide = GroupedLinear(1, WIDTH, HEAD)
        self.out = GroupedLinear(1, HEAD, outputs, gain=0.0, bias=0.0)

    def forward(self, inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
        """Requested shares (U, N, J, outputs) and states, as `Actor.forward` returns them; there is no memory."""
        tokens = self.tokens(inputs)
        now = tokens[:, :1] + self.memory.advance(tokens[:, :1], state)
        mixed = self.second.passes(now, tokens[:, 1:])[:, 0]
        assert inputs.suggested is not None
        correction = two_layers(self.wide, self.out, mixed)
        correction = correction.unflatten(0, (len(inputs.tasks), -1)).transpose(1, 2)
        return inputs.suggested * (ACTOR_SCALE * correction).exp(), state[:, None]


@dataclass(frozen=True)
class SharedActionFeatures(ActionFeatures):
    """Joint actions, and features of each device under these actions."""

    devices: (
        Tensor  # (G, K + 1, N, ·) features of the own task on each device, and what the agent's others request there
    )
    worth: Tensor  # (G, K + 1, N) own reward minus what the task's resources are worth to others, at the ward's prices
    others_worth: Tensor  # (G, K + 1, N, J - 1) the same for the agent's other tasks on their devices


class SharedTaskQ(TaskQ):
    """`TaskQ` with one network for all agents and tasks; a pass gets all that is known of its device.

    Values start from what the agent can compute: on its own device a task's cost by (1) and (2), given who else is there; on
    a server the value at the shadow prices that it expects. The network adds a learned correction to the own task's value on
    servers only. Everything else is computed more exactly than a network of this size could learn it. The correction is the
    same for all servers of a task, the mean of the passes: so agents learn how much to send, and prices spread it. With one for
    each server they would all go to the server that the networks think a little too good, because they cannot see each other.
    """

    def __init__(self, sizes: Sizes, exact_local: bool = False) -> None:
        nn.Module.__init__(self)
        self.columns, self.aware, self.width, self.exact_local = True, True, WIDTH, exact_local
        self.tokens = SharedTokens(sizes)
        self.slot = GroupedLinear(2, 2 + DEVICE_FEATURES + 2, WIDTH, maps=2)  # for the own device, for a server
        self.others_asked = GroupedLinear(1, 3, WIDTH)
        self.second = Encoder(1, WIDTH, HIDDEN)
        self.memory = GroupedGRU(1, WIDTH, recurrent=False)
        self.third = Encoder(1, WIDTH, HIDDEN)
        self.wide = GroupedLinear(1, WIDTH, HEAD)
        self.out = GroupedLinear(1, HEAD, 1, gain=0.0, bias=0.0)
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """Sets the counts of the ward to decide for; the weights stay."""
        self.sizes, self.slots = sizes, sizes.servers + 1

    def encode(self, inputs: Inputs) -> Tensor:
        """The observation's tokens, (G, 3, N, width)."""
        result: Tensor = self.tokens(inputs)
        return result

    def encode_actions(self, shares: Tensor, choice: Tensor, inputs: Inputs | None = None) -> SharedActionFeatures:
        """As `TaskQ.encode_actions`; `inputs` are required."""
        assert inputs is not None
        assert inputs.devices is not None
        assert inputs.local_cost is not None
        taken = functional.one_hot(choice, self.slots).to(shares.dtype)  # (U, N, J, K + 1)
        features = share_features(shares)
        loads = taken[..., None] * shares[..., None, :]  # what each task requests on each device
        of_others = loads.sum(2, keepdim=True) - loads  # (U, N, J, K + 1, 2)
        devices = torch.cat([inputs.devices, of_others], -1).permute(0, 2, 3, 1, 4).flatten(0, 1)
        actions = torch.cat([features, taken[..., :1]], -1)
        worth = self._worth(shares[..., 0], taken, inputs.devices[..., -1], inputs.local_cost)
        local = self.local_worth(inputs, taken, range(self.sizes.tasks))
        return SharedActionFeatures(flatten_tasks(features), mean_of_others(actions), devices, *worth, local=local)

    def _worth(self, x: Tensor, taken: Tensor, at_prices: Tensor, local_cost: Tensor) -> tuple[Tensor, Tensor]:
        """The worth of every task on each device, (G, K + 1, N), and of its agent's others then, (G, K + 1, N, J - 1).

        x: requested shares of CPU, (U, N, J); taken: strategies, (U, N, J, K + 1) of 0 and 1; at_prices: worth at the ward's
        prices, (U, N, J, K + 1); local_cost: see `Inputs`.
        """
        j, k = self.sizes.tasks, self.sizes.servers
        given = x.detach()  # for network j the others' requests are part of the observation, x_-j
        local = taken[..., 0] * given
        without = local.sum(-1, keepdim=True) - local  # (U, N, J): own CPU requested by all but task j
        with_it = (without + x).clamp_min(1.0)
        requested = torch.stack([with_it, without.clamp_min(1.0)], -1)  # with task j on the own device, and without
        granted = given[:, :, None, None] / requested[..., None]  # (U, N, J, 2, J') to task j'
        time, energy = local_cost.unbind(-1)
        locally = _local_worth(time[:, :, None, None], energy[:, :, None, None], granted)
        own_local = _local_worth(time, energy, x / with_it)
        is_local = taken[..., 0][:, :, None, None]
        elsewhere = (at_prices[..., 1:] * taken[..., 1:]).sum(-1)[:, :, None, None]
        all_tasks = torch.where(is_local > 0, locally, elsewhere)  # (U, N, J, 2, J')
        own = torch.cat([own_local[..., None], at_prices[..., 1:]], -1)
        order = cyclic_order(j, x.device)[:, None, 1:].expand(*all_tasks.shape[:4], j - 1)
        others = all_tasks.gather(4, order).permute(0, 2, 3, 1, 4).flatten(0, 1)  # (G, 2, N, J - 1)
        others = torch.cat([others[:, :1], others[:, 1:].expand(-1, k, -1, -1)], dim=1)
        return own.permute(0, 2, 3, 1).flatten(0, 1), others

    def rows(self, tokens: Tensor, actions: ActionFeatures, choice: Tensor | None = None) -> Tensor:
        """As `TaskQ.rows`."""
        assert isinstance(actions, SharedActionFeatures)
        g, p, n, _ = actions.devices.shape
        seen = torch.cat([actions.own[:, None].expand(g, p, n, -1), actions.devices], -1)
        weight, bias = self.slot.weight, self.slot.bias
        slots = torch.cat([seen[:, :1] @ weight[0] + bias[0], seen[:, 1:] @ weight[1] + bias[1]], dim=1)
        if choice is not None:
            slots = self.select_pass(slots, choice)
        others = tokens[:, 1] + self.others_asked(actions.others)
        result: Tensor = self.second.passes(tokens[:, :1] + slots, torch.stack([others, tokens[:, 2]], dim=1))
        return result

    def values(self, tokens: Tensor, rows: Tensor, after: Tensor, actions: ActionFeatures) -> Tensor:
        """As `TaskQ.values`: a column for each of the agent's tasks, the own one first."""
        assert isinstance(actions, SharedActionFeatures)
        learned = Q_SCALE * two_layers(self.wide, self.out, self.third.passes(rows + after, tokens))[..., 0]
        worth = torch.cat([actions.worth[:, :1], actions.worth[:, 1:] + learned[:, 1:].mean(1, keepdim=True)], dim=1)
        values = torch.cat([worth[..., None], actions.others_worth], dim=-1)
        return values if actions.local is None else actions.local.insert(values)

    def sequential(
        self, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs | None = None
    ) -> Callable[[int, Tensor], Tensor]:
        """As `TaskQ.sequential`; `inputs` are required."""
        assert inputs is not None
        return self.with_local_worth(SharedSequentialQ(self, tokens, shares, inputs), inputs)

    def joint(
        self, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs | None = None
    ) -> Callable[[Tensor], Tensor]:
        """As `TaskQ.joint`; `inputs` are required."""
        assert inputs is not None
        prices_and_networks = SharedSequentialQ(self, tokens, shares, inputs)
        return lambda taken: self.insert_local_worth(prices_and_networks.all_tasks(taken), taken, inputs)


def _local_worth(time: Tensor, energy: Tensor, granted: Tensor) -> Tensor:
    """1 minus the cost (1), (2) of a task at a `granted` share of the own CPU; `time`, `energy` are costs at all of it."""
    return 1 - compress_cost(time / granted + energy * granted.square())


def without_others(actions: ActionFeatures) -> ActionFeatures:
    """The same actions without gradients to what the other tasks do."""
    if isinstance(actions, SharedActionFeatures):
        return replace(actions, others=actions.others.detach(), devices=actions.devices.detach())
    return replace(actions, others=actions.others.detach())
