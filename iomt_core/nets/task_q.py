"""MPTQ networks, one a task: multi-pass values of a task's strategies, eqs. (15) and (16)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear, two_layers
from iomt_core.nets.inputs import TASK_FEATURES, Inputs, Sizes, flatten_tasks, other_tasks, share_features
from iomt_core.nets.sequential_q import SequentialQ

WIDTH, HIDDEN = 24, 56
HEAD = 64  # Table III: five outputs more cost 325 parameters


@dataclass(frozen=True)
class ActionFeatures:
    """What is asked for, as network j of an agent reads it; G = U·J networks, or U of them for one task."""

    own: Tensor  # (G, N, 2) its task's requests, as features
    others: Tensor  # (G, N, ·) the other tasks'


class TaskQ(nn.Module):
    """The MPTQ networks of all agents and tasks.

    The corrected observation ô_j = (o_j, x_-j, o^other) of (15) is three tokens. A first Encoder reads them; a second
    one the own slot's P alternatives beside the rest, with a GRU behind it; a third joins that with the observation.
    Pass s writes the task's request into slot s of a row of K + 1 slots.

    `passes` False is P-DQN's single pass, in which the request stands in one slot for all strategies.
    `columns` True gives every pass a value for each task of the agent (16), cyclically from its own on; False a value
    for each strategy, of which pass s is asked for the s-th.
    `aware` True puts the other tasks' requests into slots too, those of the devices they take: x_-j then holds whole
    parameterised actions, and tasks can decide in turn.
    """

    def __init__(
        self, sizes: Sizes, passes: bool = True, columns: bool = True, aware: bool = False, recurrent: bool = True
    ) -> None:
        super().__init__()
        g, j = sizes.users * sizes.tasks, sizes.tasks
        self.sizes, self.columns, self.aware = sizes, columns, aware
        self.slots = sizes.servers + 1 if passes else 1
        devices = sizes.servers + 1
        self.own = GroupedLinear(g, TASK_FEATURES, WIDTH)
        self.others = GroupedLinear(g, max(1, TASK_FEATURES * (j - 1)), WIDTH)
        self.rest = GroupedLinear(g, sizes.other, WIDTH)
        self.first = Encoder(g, WIDTH, HIDDEN)
        self.slot = GroupedLinear(g * self.slots, 2, WIDTH, maps=self.slots)
        known = max(1, 2 * (j - 1)) + (devices * (j - 1) + 2 * devices if aware else 0)
        self.others_asked = GroupedLinear(g, known, WIDTH)
        self.second = Encoder(g, WIDTH, HIDDEN)
        self.memory = GroupedGRU(g, WIDTH, recurrent)
        self.third = Encoder(g, WIDTH, HIDDEN)
        self.wide = GroupedLinear(g, WIDTH, HEAD)
        self.out = GroupedLinear(g, HEAD, j if columns else devices, gain=0.1, bias=0.8)

    # -- what no pass changes ------------------------------------------------------------------------------------------

    def encode(self, inputs: Inputs) -> Tensor:
        """The observation's tokens after the first Encoder: own task, the others, the rest; (G, 3, N, width)."""
        parts = (
            self.own(flatten_tasks(inputs.tasks)),
            self.others(other_tasks(inputs.tasks)),
            self.rest(inputs.other.repeat_interleave(self.sizes.tasks, dim=0)),
        )
        result: Tensor = self.first(torch.stack(parts, dim=1))
        return result

    def encode_actions(self, shares: Tensor, choice: Tensor, inputs: Inputs | None = None) -> ActionFeatures:
        """Requests (U, N, J, 2) and the strategies (U, N, J) that go with them; `inputs` are for shared networks."""
        asked = share_features(shares)
        known = other_tasks(asked)
        if self.aware:
            taken = functional.one_hot(choice, self.sizes.servers + 1).to(shares.dtype)  # (U, N, J, K + 1)
            loads = (taken[..., None] * shares[..., None, :]).flatten(3)  # what each task puts on each device
            of_others = flatten_tasks(loads.sum(2, keepdim=True) - loads)
            strategies = [other_tasks(taken)] if self.sizes.tasks > 1 else []
            known = torch.cat([known, *strategies, of_others], dim=-1)
        return ActionFeatures(flatten_tasks(asked), known)

    # -- passes --------------------------------------------------------------------------------------------------------

    def rows(self, tokens: Tensor, asked: ActionFeatures, choice: Tensor | None = None) -> Tensor:
        """The own slot after the second Encoder, in every pass or in that of `choice` (G, N); (G, P or 1, N, width)."""
        g, n, c = asked.own.shape
        slots = self.slot(asked.own[:, None].expand(g, self.slots, n, c).reshape(-1, n, c)).view(
            g, self.slots, n, WIDTH
        )
        if choice is not None:
            slots = self.select_pass(slots, choice)
        others = tokens[:, 1] + self.others_asked(asked.others)
        result: Tensor = self.second.passes(tokens[:, :1] + slots, torch.stack([others, tokens[:, 2]], dim=1))
        return result

    def select_pass(self, x: Tensor, choice: Tensor) -> Tensor:
        """That of the pass of `choice` (G, N) among all passes: (G, P, N, c) -> (G, 1, N, c)."""
        g, p, n, c = x.shape
        return x if p == 1 else x.gather(1, choice[:, None, :, None].expand(g, 1, n, c))

    def unroll_memory(self, rows: Tensor, batch: int) -> Tensor:
        """The memory's states over episodes of `batch` worlds whose own slots were `rows` (G, 1, T·B, width).

        (G, T + 1, B, width): entry t is the state before step t.
        """
        g, _, n, d = rows.shape
        return self.memory.unroll(rows.view(g, n // batch, batch, d), self.memory.start(batch))

    def values(self, tokens: Tensor, rows: Tensor, after: Tensor, asked: ActionFeatures) -> Tensor:
        """Values of `rows`, which bring the memory to the states `after` of their shape; (G, P, N, outputs).

        `asked` is what the rows were made of; shared networks start from what it says of prices.
        """
        del asked
        mixed = self.third.passes(rows + after, tokens)
        out: Tensor = two_layers(self.wide, self.out, mixed)
        return out

    def forward(self, tokens: Tensor, asked: ActionFeatures, past: Tensor) -> Tensor:
        """Values of every pass, (G, P, N, outputs), with memories `past` (G, N, width)."""
        rows = self.rows(tokens, asked)
        return self.values(tokens, rows, self.memory.advance(rows, past), asked)

    def sequential(
        self, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs | None = None
    ) -> Callable[[int, Tensor], Tensor]:
        """Values of every pass of one task's networks of all agents, (U, P, N, outputs), as a function of the task and of
        all tasks' strategies, (U, N, J, K + 1) of 0 and 1."""
        assert self.aware
        return SequentialQ(self, tokens, shares, past)
