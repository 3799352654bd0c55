"""The critic of PA-DDPG: one value for everything that an agent, or all agents, see and do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear, two_layers
from iomt_core.nets.inputs import TASK_FEATURES

WIDTH, HIDDEN = 64, 116
HEAD = 64


class Critic(nn.Module):
    """G critics, each of three Encoders with a GRU after the second (Fig. 3).

    groups: G. tasks, other: J and the length of an observation without its tasks. actions: numbers an Actor gives per task.
    members: M, the agents that one critic values together: 1 for an agent's own critic, U for the central one. features: numbers
    that are observed of a task.
    """

    def __init__(
        self, groups: int, tasks: int, other: int, actions: int, recurrent: bool = True, members: int = 1,
        features: int = TASK_FEATURES,
    ) -> None:  # fmt: skip
        super().__init__()
        # Tells members apart: strategies count from each agent's own first server, and each has its own radio link.
        self.member = nn.Parameter(0.1 * torch.randn(members, 1, WIDTH)) if members > 1 else None
        self.of_tasks = GroupedLinear(groups, features * tasks, WIDTH)
        self.of_other = GroupedLinear(groups, other, WIDTH)
        self.of_action = GroupedLinear(groups, actions * tasks, WIDTH)
        self.first = Encoder(groups, WIDTH, HIDDEN)
        self.second = Encoder(groups, WIDTH, HIDDEN)
        self.memory = GroupedGRU(groups, WIDTH, recurrent)
        self.third = Encoder(groups, WIDTH, HIDDEN)
        self.wide = GroupedLinear(groups, WIDTH, HEAD)
        self.out = GroupedLinear(groups, HEAD, 1, gain=0.1)

    def embed(self, tasks: Tensor, other: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the observations, (G, 2 M, N, width), and of observations with actions, (G, M, N, width).

        tasks: (G, M, N, features · J); other: (G, M, N, ·); action: (G, M, N, actions · J).
        """
        m, of_tasks = tasks.shape[1], self.of_tasks(tasks)
        if self.member is not None:
            of_tasks = of_tasks + self.member
        seen = self.first(torch.cat([of_tasks, self.of_other(other)], dim=1))
        return seen, self.second(torch.cat([seen[:, :m] + self.of_action(action), seen[:, m:]], dim=1))[:, :m]

    def forward(self, tasks: Tensor, other: Tensor, action: Tensor, done: Tensor, batch: int) -> Tensor:
        """Values (G, N) of `action` over episodes in which `done` was done; all (G, M, N, ·), N = T·B, time first.

        The memory follows `done`; `action` is what is valued in each step. batch: B.
        """
        seen, joint = self.embed(tasks, other, action)
        if self.memory.recurrent:
            past = self._past(joint if action is done else self.embed(tasks, other, done)[1], batch)
            after = self.memory.advance(joint.mean(1, keepdim=True), past)
        else:
            after = self.memory.advance(joint.mean(1, keepdim=True), joint[:, 0])
        mixed = self.third.passes(joint.mean(1, keepdim=True) + after, torch.cat([seen, joint], dim=1))
        value: Tensor = two_layers(self.wide, self.out, mixed)
        return value[:, 0, :, 0]

    def _past(self, joint: Tensor, batch: int) -> Tensor:
        g, _, n, d = joint.shape
        states = self.memory.unroll(joint.mean(1).view(g, n // batch, batch, d), self.memory.start(batch))
        return states[:, :-1].flatten(1, 2)
