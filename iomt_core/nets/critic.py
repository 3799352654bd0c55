"""The critic of PA-DDPG: one value for everything an agent, or all agents together, see and do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear, two_layers
from iomt_core.nets.inputs import TASK_FEATURES

WIDTH, HIDDEN = 64, 116
HEAD = 64


class Critic(nn.Module):
    """Three Encoders with a GRU after the second, as in Fig. 3; of `groups` critics each with its own weights.

    A critic has `tokens` members: one agent's own critic has one, the central critic of all agents has as many as there
    are agents. Each is what the member sees of its tasks, of the rest, and what it does.
    """

    def __init__(
        self, groups: int, tasks: int, other: int, actions: int, recurrent: bool = True, members: int = 1
    ) -> None:
        super().__init__()
        # Who is who: a member's servers count from its own offset, and its link is its own.
        self.member = nn.Parameter(0.1 * torch.randn(members, 1, WIDTH)) if members > 1 else None
        self.of_tasks = GroupedLinear(groups, TASK_FEATURES * tasks, WIDTH)
        self.of_other = GroupedLinear(groups, other, WIDTH)
        self.of_action = GroupedLinear(groups, actions * tasks, WIDTH)
        self.first = Encoder(groups, WIDTH, HIDDEN)
        self.second = Encoder(groups, WIDTH, HIDDEN)
        self.memory = GroupedGRU(groups, WIDTH, recurrent)
        self.third = Encoder(groups, WIDTH, HIDDEN)
        self.wide = GroupedLinear(groups, WIDTH, HEAD)
        self.out = GroupedLinear(groups, HEAD, 1, gain=0.1)

    def embed(self, tasks: Tensor, other: Tensor, action: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """What is seen, and with what is done; (G, 2 M, N, width) and (G, M, N, width), over episodes of `batch` worlds.

        `tasks` (G, M, N, 3 J), `other` (G, M, N, ·), `action` (G, M, N, actions · J) of M members.
        """
        m, of_tasks = tasks.shape[1], self.of_tasks(tasks)
        if self.member is not None:
            of_tasks = of_tasks + self.member
        seen = self.first(torch.cat([of_tasks, self.of_other(other)], dim=1))
        return seen, self.second(torch.cat([seen[:, :m] + self.of_action(action), seen[:, m:]], dim=1))[:, :m]

    def forward(self, tasks: Tensor, other: Tensor, action: Tensor, done: Tensor, batch: int) -> Tensor:
        """Values (G, N) of `action` at steps before which `done` was done; all (G, M, N, ·), N = T·B, time first."""
        seen, joint = self.embed(tasks, other, action, batch)
        if self.memory.recurrent:
            past = self._past(joint if action is done else self.embed(tasks, other, done, batch)[1], batch)
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
