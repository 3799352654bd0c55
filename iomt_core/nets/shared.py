"""Networks that all agents, all tasks and all wards of the lab share: one Actor and one MPTQ network.

What is one's own weights in the paper is here an input: a task stands beside the others of its agent, a server is known by
what it offers and holds. So the same weights serve any number of users, tasks and servers.
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
    LEAST_SHARE_OF_ANY,
    Inputs,
    Sizes,
    compressed,
    cyclic_order,
    flatten_tasks,
    other_tasks,
    share_features,
)
from iomt_core.nets.task_q import ActionFeatures, TaskQ

WIDTH, HIDDEN, HEAD = 32, 96, 64
REACH = 0.2  # scale of what the networks add to prices: a step of theirs must not overturn a ward's whole ranking
ACTOR_REACH = 0.5
LEAST_PART = 0.002  # of the range of shares: closer to its ends a suggestion would leave the Actor nothing to learn
DEVICE_FEATURES = (
    4  # of a task on a device, see `training.observation_encoder`; the last is what it is worth at the ward's prices
)


class SharedTokens(nn.Module):
    """An agent's observation as one of its tasks sees it: own task, the others, the rest; (U·J, 3, N, width)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.own = GroupedLinear(1, sizes.features, WIDTH)
        self.others = GroupedLinear(1, sizes.features * (sizes.tasks - 1), WIDTH)
        self.rest = GroupedLinear(1, sizes.other, WIDTH)
        self.first = Encoder(1, WIDTH, HIDDEN)

    def forward(self, inputs: Inputs) -> Tensor:
        """The tokens after the Encoder."""
        tasks = inputs.tasks.shape[2]
        rest = self.rest(inputs.other).repeat_interleave(tasks, dim=0)
        result: Tensor = self.first(
            torch.stack([self.own(flatten_tasks(inputs.tasks)), self.others(other_tasks(inputs.tasks)), rest], 1)
        )
        return result


class SharedActor(nn.Module):
    """μ of any task of any agent: what it asks for, seeing all of the agent's tasks, from what prices suggest on."""

    def __init__(self, sizes: Sizes, outputs: int = 2) -> None:
        super().__init__()
        self.tokens = SharedTokens(sizes)
        self.memory = GroupedGRU(1, WIDTH, recurrent=False)
        self.second = Encoder(1, WIDTH, HIDDEN)
        self.wide = GroupedLinear(1, WIDTH, HEAD)
        self.out = GroupedLinear(1, HEAD, outputs, gain=0.1, bias=0.0)

    def forward(self, inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
        """Shares (U, N, J, outputs), as `Actor` gives them; nothing is remembered."""
        tokens = self.tokens(inputs)
        now = tokens[:, :1] + self.memory.advance(tokens[:, :1], state)
        mixed = self.second.passes(now, tokens[:, 1:])[:, 0]
        assert inputs.suggested is not None
        moved = two_layers(self.wide, self.out, mixed)
        moved = moved.unflatten(0, (len(inputs.tasks), -1)).transpose(1, 2)
        least = LEAST_SHARE_OF_ANY
        start = torch.logit((inputs.suggested - least) / (1 - least), eps=LEAST_PART)
        return least + (1 - least) * torch.sigmoid(ACTOR_REACH * moved + start), state[:, None]


@dataclass(frozen=True)
class SharedActionFeatures(ActionFeatures):
    """Requests, and what stands on and speaks for each device."""

    devices: Tensor  # (G, K + 1, N, ·)
    worth: Tensor  # (G, K + 1, N): reward less what the task's resources are worth to others, at the ward's prices
    others_worth: Tensor  # (G, K + 1, N, J - 1): the same of the agent's other tasks where they are


class SharedTaskQ(TaskQ):
    """`TaskQ` with one network for all; a pass is told of its device what there is to know of it.

    Values are what the agent can tell itself: on its own device what a task's cost comes to (1) (2), given who else is there; on
    a server what the ward's mean shadow prices say. To a task's own value on a server, and to nothing else, the network adds
    what it has learned: the rest is known better than any network of this size can tell.
    """

    def __init__(self, sizes: Sizes) -> None:
        nn.Module.__init__(self)
        self.columns, self.aware, self.width = True, True, WIDTH
        self.tokens = SharedTokens(sizes)
        self.slot = GroupedLinear(2, 2 + DEVICE_FEATURES + 2, WIDTH, maps=2)  # at home, on a server
        self.others_asked = GroupedLinear(1, 3 * (sizes.tasks - 1), WIDTH)
        self.second = Encoder(1, WIDTH, HIDDEN)
        self.memory = GroupedGRU(1, WIDTH, recurrent=False)
        self.third = Encoder(1, WIDTH, HIDDEN)
        self.wide = GroupedLinear(1, WIDTH, HEAD)
        self.out = GroupedLinear(1, HEAD, 1, gain=0.1, bias=0.0)
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """Takes on a ward's counts; weights stay."""
        self.sizes, self.slots = sizes, sizes.servers + 1

    def encode(self, inputs: Inputs) -> Tensor:
        """The observation's tokens, (G, 3, N, width)."""
        result: Tensor = self.tokens(inputs)
        return result

    def encode_actions(self, shares: Tensor, choice: Tensor, inputs: Inputs | None = None) -> SharedActionFeatures:
        """Requests (U, N, J, 2), the strategies that go with them, and what the `inputs` say of devices."""
        assert inputs is not None
        return self._encode_actions(
            shares, functional.one_hot(choice, self.slots).to(shares.dtype), inputs, slice(None)
        )

    def _encode_actions(self, shares: Tensor, taken: Tensor, inputs: Inputs, which: slice) -> SharedActionFeatures:
        """The same as the networks of some tasks have it; strategies `taken` (U, N, J, K + 1) of 0 and 1."""
        assert inputs.servers is not None
        asked = share_features(shares)
        loads = taken[..., None] * shares[..., None, :]  # what each task puts on each device
        of_others = loads.sum(2, keepdim=True) - loads[:, :, which]  # (U, N, tasks, K + 1, 2)
        devices = torch.cat([inputs.servers[:, :, which], of_others], -1).permute(0, 2, 3, 1, 4).flatten(0, 1)
        own, others = self._worth(shares[..., 0], taken, inputs, which)
        return SharedActionFeatures(
            flatten_tasks(asked[:, :, which]),
            other_tasks(torch.cat([asked, taken[..., :1]], -1), which),
            devices,
            own,
            others,
        )

    def _worth(self, x: Tensor, taken: Tensor, inputs: Inputs, which: slice) -> tuple[Tensor, Tensor]:
        """Of some tasks on each device, (G, K + 1, N), and of the agent's others meanwhile, (G, K + 1, N, J - 1).

        `x` (U, N, J) are the shares of CPU asked for, `taken` (U, N, J, K + 1) the strategies.
        """
        assert inputs.servers is not None
        assert inputs.at_home is not None
        j, k, at_prices = self.sizes.tasks, self.sizes.servers, inputs.servers[..., -1]
        given = x.detach()  # to network j the others' requests are observation, x_-j
        here = taken[..., 0] * given
        without = (
            here.sum(-1, keepdim=True) - here[..., which]
        )  # (U, N, tasks): asked of the own device by all but task j
        with_it = (without + x[..., which]).clamp_min(1.0)
        asked = torch.stack([with_it, without.clamp_min(1.0)], -1)  # with task j, and where it is sent away
        granted = given[:, :, None, None] / asked[..., None]  # (U, N, tasks, 2, J') of task j'
        time, energy = inputs.at_home.unbind(-1)
        at_home = _kept(time[:, :, None, None], energy[:, :, None, None], granted)
        own_home = _kept(time[..., which], energy[..., which], x[..., which] / with_it)
        stays = taken[..., 0][:, :, None, None]
        elsewhere = (at_prices[..., 1:] * taken[..., 1:]).sum(-1)[:, :, None, None]
        all_tasks = torch.where(stays > 0, at_home, elsewhere)  # (U, N, tasks, 2, J')
        own = torch.cat([own_home[..., None], at_prices[:, :, which, 1:]], -1)
        order = cyclic_order(j, x.device)[which, None, 1:].expand(*all_tasks.shape[:4], j - 1)
        others = all_tasks.gather(4, order).permute(0, 2, 3, 1, 4).flatten(0, 1)  # (G, 2, N, J - 1)
        others = torch.cat([others[:, :1], others[:, 1:].expand(-1, k, -1, -1)], dim=1)
        return own.permute(0, 2, 3, 1).flatten(0, 1), others

    def rows(self, tokens: Tensor, asked: ActionFeatures, choice: Tensor | None = None) -> Tensor:
        """The own slot after the second Encoder, in every pass or in that of `choice`."""
        assert isinstance(asked, SharedActionFeatures)
        g, p, n, _ = asked.devices.shape
        seen = torch.cat([asked.own[:, None].expand(g, p, n, -1), asked.devices], -1)
        weight, bias = self.slot.weight, self.slot.bias
        slots = torch.cat([seen[:, :1] @ weight[0] + bias[0], seen[:, 1:] @ weight[1] + bias[1]], dim=1)
        if choice is not None:
            slots = self.select_pass(slots, choice)
        others = tokens[:, 1] + self.others_asked(asked.others)
        result: Tensor = self.second.passes(tokens[:, :1] + slots, torch.stack([others, tokens[:, 2]], dim=1))
        return result

    def values(self, tokens: Tensor, rows: Tensor, after: Tensor, asked: ActionFeatures) -> Tensor:
        """Values of `rows`, a column for each of the ward's tasks, the own task's first."""
        assert isinstance(asked, SharedActionFeatures)
        mixed = self.third.passes(rows + after, tokens)
        learned = REACH * two_layers(self.wide, self.out, mixed)[..., 0]
        worth = torch.cat([asked.worth[:, :1], asked.worth[:, 1:] + learned[:, 1:]], dim=1)
        return torch.cat([worth[..., None], asked.others_worth], dim=-1)

    def sequential(
        self, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs | None = None
    ) -> Callable[[int, Tensor], Tensor]:
        """As `TaskQ` has it."""
        assert inputs is not None
        u, count = self.sizes.users, self.sizes.tasks

        def values(j: int, taken: Tensor) -> Tensor:
            asked = self._encode_actions(shares, taken, inputs, slice(j, j + 1))
            result: Tensor = self(tokens.view(u, count, *tokens.shape[1:])[:, j], asked, past)
            return result

        return values


def _kept(time: Tensor, energy: Tensor, granted: Tensor) -> Tensor:
    """What a task that stays is worth at a share of the own CPU, (1) (2)."""
    return 1 - compressed(time / granted + energy * granted.square())


def without_others(asked: ActionFeatures) -> ActionFeatures:
    """The same requests, through the others' of which no gradient goes."""
    if isinstance(asked, SharedActionFeatures):
        return replace(asked, others=asked.others.detach(), devices=asked.devices.detach())
    return replace(asked, others=asked.others.detach())
