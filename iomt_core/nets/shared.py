"""Networks that all agents, all tasks and all wards of the lab share: one Actor and one MPTQ network.

What is one's own weights in the paper is here an input: a task stands beside the others of its agent, a server is known by
what it offers and holds. So the same weights serve any number of users, tasks and servers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from iomt_core.nets.actor import FIRST_SHARE
from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear
from iomt_core.nets.inputs import LEAST_SHARE, Inputs, Sizes, share_features
from iomt_core.nets.task_q import Asked, TaskQ, beside, each

WIDTH, HIDDEN, HEAD = 32, 96, 64
SERVER_FEATURES = 3  # link, CPU and bandwidth it offers, see `training.reading`


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
            torch.stack([self.own(each(inputs.tasks)), self.others(beside(inputs.tasks)), rest], 1)
        )
        return result


class SharedActor(nn.Module):
    """μ of any task of any agent: what it asks for, seeing all of the agent's tasks."""

    def __init__(self, sizes: Sizes, outputs: int = 2) -> None:
        super().__init__()
        self.tokens = SharedTokens(sizes)
        self.memory = GroupedGRU(1, WIDTH, recurrent=False)
        self.second = Encoder(1, WIDTH, HIDDEN)
        self.wide = GroupedLinear(1, WIDTH, HEAD)
        start = math.log((FIRST_SHARE - LEAST_SHARE) / (1 - FIRST_SHARE))
        self.out = GroupedLinear(1, HEAD, outputs, gain=0.1, bias=start)

    def forward(self, inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
        """Shares (U, N, J, outputs), as `Actor` gives them; nothing is remembered."""
        tokens = self.tokens(inputs)
        now = tokens[:, :1] + self.memory.advance(tokens[:, :1], state)
        mixed = self.second.passes(now, tokens[:, 1:])[:, 0]
        squashed = torch.sigmoid(self.out(functional.relu(self.wide(mixed), inplace=True)))
        shares = LEAST_SHARE + (1 - LEAST_SHARE) * squashed
        return shares.unflatten(0, (len(inputs.tasks), -1)).transpose(1, 2), state[:, None]


@dataclass(frozen=True)
class SharedAsked(Asked):
    """Requests, and what stands on and speaks for each device."""

    devices: Tensor  # (G, K + 1, N, 5)


class SharedTaskQ(TaskQ):
    """`TaskQ` with one network for all; a pass is told of its server what there is to know of it."""

    def __init__(self, sizes: Sizes) -> None:
        nn.Module.__init__(self)
        self.columns, self.aware, self.width = True, True, WIDTH
        self.tokens = SharedTokens(sizes)
        self.slot = GroupedLinear(2, 2 + SERVER_FEATURES + 2, WIDTH, maps=2)  # at home, on a server
        self.others_asked = GroupedLinear(1, 3 * (sizes.tasks - 1), WIDTH)
        self.second = Encoder(1, WIDTH, HIDDEN)
        self.memory = GroupedGRU(1, WIDTH, recurrent=False)
        self.third = Encoder(1, WIDTH, HIDDEN)
        self.wide = GroupedLinear(1, WIDTH, HEAD)
        self.out = GroupedLinear(1, HEAD, sizes.tasks, gain=0.1, bias=0.8)
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """Takes on a ward's counts; weights stay."""
        self.sizes, self.slots = sizes, sizes.servers + 1

    def encode(self, inputs: Inputs) -> Tensor:
        """The observation's tokens, (G, 3, N, width)."""
        result: Tensor = self.tokens(inputs)
        return result

    def read(self, shares: Tensor, choice: Tensor, servers: Tensor | None = None) -> SharedAsked:
        """Requests (U, N, J, 2), the strategies that go with them, and the `servers` (U, N, K, ·)."""
        assert servers is not None
        asked = share_features(shares)
        taken = functional.one_hot(choice, self.slots).to(shares.dtype)  # (U, N, J, K + 1)
        loads = taken[..., None] * shares[..., None, :]  # what each task puts on each device
        of_others = loads.sum(2, keepdim=True) - loads  # (U, N, J, K + 1, 2)
        offered = functional.pad(servers, (0, 0, 1, 0))[:, :, None].expand(*of_others.shape[:-1], -1)
        devices = torch.cat([offered, of_others], -1).permute(0, 2, 3, 1, 4).flatten(0, 1)
        return SharedAsked(each(asked), beside(torch.cat([asked, taken[..., :1]], -1)), devices)

    def rows(self, tokens: Tensor, asked: Asked, choice: Tensor | None = None) -> Tensor:
        """The own slot after the second Encoder, in every pass or in that of `choice`."""
        assert isinstance(asked, SharedAsked)
        g, p, n, _ = asked.devices.shape
        seen = torch.cat([asked.own[:, None].expand(g, p, n, -1), asked.devices], -1)
        weight, bias = self.slot.weight, self.slot.bias
        slots = torch.cat([seen[:, :1] @ weight[0] + bias[0], seen[:, 1:] @ weight[1] + bias[1]], dim=1)
        if choice is not None:
            slots = self.of_pass(slots, choice)
        others = tokens[:, 1] + self.others_asked(asked.others)
        result: Tensor = self.second.passes(tokens[:, :1] + slots, torch.stack([others, tokens[:, 2]], dim=1))
        return result

    def values(self, tokens: Tensor, rows: Tensor, after: Tensor) -> Tensor:
        """Values of `rows`, a column for each of the ward's tasks."""
        mixed = self.third.passes(rows + after, tokens)
        out: Tensor = self.out.part(functional.relu(self.wide(mixed), inplace=True), slice(0, self.sizes.tasks))
        return out

    def of_task(self, j: int, tokens: Tensor, asked: Asked, past: Tensor) -> Tensor:
        """The same for task j alone, of all agents."""
        assert isinstance(asked, SharedAsked)
        u, count = self.sizes.users, self.sizes.tasks

        def its(x: Tensor) -> Tensor:
            return x.view(u, count, *x.shape[1:])[:, j]

        own = SharedAsked(its(asked.own), its(asked.others), its(asked.devices))
        result: Tensor = self(its(tokens), own, past)
        return result


def without_others(asked: Asked) -> Asked:
    """The same requests, through the others' of which no gradient goes."""
    if isinstance(asked, SharedAsked):
        return replace(asked, others=asked.others.detach(), devices=asked.devices.detach())
    return replace(asked, others=asked.others.detach())
