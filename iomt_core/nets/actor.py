"""The Actor μ_i: from an agent's observation to the resource shares that it requests for all its tasks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear, two_layers
from iomt_core.nets.inputs import LEAST_SHARE, Inputs, Sizes

WIDTH, HIDDEN = 48, 80
HEAD = 64  # Table III: one output more costs 65 parameters
FIRST_SHARE = 0.3  # share that an untrained Actor requests: near an even share of a server


class Actor(nn.Module):
    """Encoder, GRU and Encoder, with `outputs` numbers in (0, 1) per task; every agent has its own weights (Fig. 3).

    There are two tokens: the agent's tasks, and the rest of its observation. The GRU remembers the latter; the second
    Encoder joins that memory with the current observation. Outputs start near `FIRST_SHARE`.
    """

    def __init__(self, sizes: Sizes, outputs: int = 2, recurrent: bool = True) -> None:
        super().__init__()
        g, self.tasks = sizes.users, sizes.tasks
        self.of_tasks = GroupedLinear(g, sizes.features * sizes.tasks, WIDTH)
        self.of_other = GroupedLinear(g, sizes.other, WIDTH)
        self.first = Encoder(g, WIDTH, HIDDEN)
        self.memory = GroupedGRU(g, WIDTH, recurrent)
        self.second = Encoder(g, WIDTH, HIDDEN)
        self.wide = GroupedLinear(g, WIDTH, HEAD)
        start = math.log((FIRST_SHARE - LEAST_SHARE) / (1 - FIRST_SHARE))
        self.out = GroupedLinear(g, HEAD, outputs * sizes.tasks, gain=0.1, bias=start)

    def forward(self, inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
        """The Actor over T steps of B worlds, N = T·B with time first.

        inputs: observations of all agents, N rows; state: (U, B, width), the memory before the first step. Returns the
        requested shares, (U, N, J, outputs), in (`LEAST_SHARE`, 1), and the memory's states, (U, T + 1, B, width), as
        `GroupedGRU.unroll` gives them.
        """
        tokens = torch.stack([self.of_tasks(inputs.tasks.flatten(2)), self.of_other(inputs.other)], dim=1)
        tokens = self.first(tokens)
        g, _, n, d = tokens.shape
        batch = state.shape[1]
        states = self.memory.unroll(tokens[:, 1].reshape(g, n // batch, batch, d), state)
        now = states[:, 1:].reshape(g, 1, n, d) + tokens[:, 1:]
        mixed = self.second.passes(now, tokens[:, :1])[:, 0]
        squashed = torch.sigmoid(two_layers(self.wide, self.out, mixed))
        return (LEAST_SHARE + (1 - LEAST_SHARE) * squashed).unflatten(-1, (self.tasks, -1)), states
