"""MPTQ networks, one per task: multi-pass values of a task's strategies, eqs. (15) and (16)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from iomt_core.nets.encoder import Encoder
from iomt_core.nets.grouped import GroupedGRU, GroupedLinear, two_layers
from iomt_core.nets.inputs import Inputs, Sizes, flatten_tasks, other_tasks, share_features
from iomt_core.nets.own_cpu import LocalWorth, local_worth
from iomt_core.nets.sequential_q import prepare, sequential_q

WIDTH, HIDDEN = 24, 56
HEAD = 64  # Table III: five outputs more cost 325 parameters


@dataclass(frozen=True)
class ActionFeatures:
    """Joint actions as network j of an agent sees them; G = U·J networks, or G = U for a single task."""

    own: Tensor  # (G, N, 2) shares requested for the own task
    others: Tensor  # (G, N, ·) the other tasks' actions, x_-j
    local: LocalWorth | None = field(default=None, kw_only=True)  # where the own CPU is divided exactly


class TaskQ(nn.Module):
    """The MPTQ networks of all agents and tasks, G = U·J of them.

    The corrected observation ô_j = (o_j, x_-j, o^other) of (15) is three tokens. A first Encoder reads them. A second one,
    followed by a GRU, reads the P alternatives of the own token next to the others; a third joins the result with the
    observation. Pass s writes the own task's request into slot s of a row of K + 1 slots.

    passes: False gives P-DQN's single pass, in which one slot holds the request for all strategies. columns: True gives
    every pass a value for each of the agent's tasks (16), in cyclic order from the own one; False gives a value for each
    strategy, of which pass s uses the s-th. aware: True adds the other tasks' strategies, and what they request on each
    device, to x_-j, so that tasks can decide one after another.

    exact_local: the values of tasks on the own device are computed instead of learned, as the cost by (1) and (2) at the best
    division of the own CPU. Learned is then only what a server is worth for the own task, minus what its presence there costs all
    other tasks; the values of the agent's other tasks on servers count as 0.
    """

    def __init__(
        self, sizes: Sizes, passes: bool = True, columns: bool = True, aware: bool = False, recurrent: bool = True,
        exact_local: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        g, j = sizes.users * sizes.tasks, sizes.tasks
        self.sizes, self.columns, self.aware, self.exact_local = sizes, columns, aware, exact_local
        self.slots = sizes.servers + 1 if passes else 1
        devices = sizes.servers + 1
        self.own = GroupedLinear(g, sizes.features, WIDTH)
        self.others = GroupedLinear(g, max(1, sizes.features * (j - 1)), WIDTH)
        self.rest = GroupedLinear(g, sizes.other, WIDTH)
        self.first = Encoder(g, WIDTH, HIDDEN)
        self.slot = GroupedLinear(g * self.slots, 2, WIDTH, maps=self.slots)
        known = max(1, 2 * (j - 1)) + (devices * (j - 1) + 2 * devices if aware else 0)
        self.others_asked = GroupedLinear(g, known, WIDTH)  # the name is part of all shipped checkpoints
        self.second = Encoder(g, WIDTH, HIDDEN)
        self.memory = GroupedGRU(g, WIDTH, recurrent)
        self.third = Encoder(g, WIDTH, HIDDEN)
        self.wide = GroupedLinear(g, WIDTH, HEAD)
        self.out = GroupedLinear(g, HEAD, 1 if exact_local else j if columns else devices, gain=0.1, bias=0.8)

    # -- the same in all passes ----------------------------------------------------------------------------------------

    def encode(self, inputs: Inputs) -> Tensor:
        """The tokens of the own task, the other tasks and the rest after the first Encoder, (G, 3, N, width)."""
        parts = (
            self.own(flatten_tasks(inputs.tasks)),
            self.others(other_tasks(inputs.tasks)),
            self.rest(inputs.other.repeat_interleave(self.sizes.tasks, dim=0)),
        )
        result: Tensor = self.first(torch.stack(parts, dim=1))
        return result

    def encode_actions(self, shares: Tensor, choice: Tensor, inputs: Inputs | None = None) -> ActionFeatures:
        """Joint actions as network inputs.

        shares: requested shares, (U, N, J, 2); choice: strategies, (U, N, J); inputs: needed by shared networks only.
        """
        features = share_features(shares)
        others, local = other_tasks(features), None
        if self.aware:
            taken = functional.one_hot(choice, self.sizes.servers + 1).to(shares.dtype)  # (U, N, J, K + 1)
            local = self.local_worth(inputs, taken, range(self.sizes.tasks))
            loads = (taken[..., None] * shares[..., None, :]).flatten(3)  # what each task requests on each device
            of_others = flatten_tasks(loads.sum(2, keepdim=True) - loads)
            strategies = [other_tasks(taken)] if self.sizes.tasks > 1 else []
            others = torch.cat([others, *strategies, of_others], dim=-1)
        return ActionFeatures(flatten_tasks(features), others, local=local)

    def local_worth(self, inputs: Inputs | None, taken: Tensor, tasks: range) -> LocalWorth | None:
        """What local tasks are worth in the networks of some `tasks`; None where networks learn that.

        taken: strategies, (U, N, J, K + 1) of 0 and 1; inputs: needed where it is not None.
        """
        if not self.exact_local:
            return None
        assert inputs is not None
        return local_worth(inputs, taken, tasks)

    # -- passes --------------------------------------------------------------------------------------------------------

    def rows(self, tokens: Tensor, actions: ActionFeatures, choice: Tensor | None = None) -> Tensor:
        """The own token after the second Encoder, in every pass or in the pass of `choice` (G, N).

        tokens: (G, 3, N, width) from `encode`. Returns (G, P, N, width), with P = 1 for a `choice`.
        """
        g, n, c = actions.own.shape
        slots = self.slot(actions.own[:, None].expand(g, self.slots, n, c).reshape(-1, n, c)).view(
            g, self.slots, n, WIDTH
        )
        if choice is not None:
            slots = self.select_pass(slots, choice)
        others = tokens[:, 1] + self.others_asked(actions.others)
        result: Tensor = self.second.passes(tokens[:, :1] + slots, torch.stack([others, tokens[:, 2]], dim=1))
        return result

    def select_pass(self, x: Tensor, choice: Tensor) -> Tensor:
        """The pass of `choice` (G, N): (G, P, N, c) -> (G, 1, N, c)."""
        g, p, n, c = x.shape
        return x if p == 1 else x.gather(1, choice[:, None, :, None].expand(g, 1, n, c))

    def unroll_memory(self, rows: Tensor, batch: int) -> Tensor:
        """The memory's states over whole episodes of `batch` worlds.

        rows: (G, 1, T·B, width), `rows` of what was done. Returns (G, T + 1, B, width): entry t is the state before step t.
        """
        g, _, n, d = rows.shape
        return self.memory.unroll(rows.view(g, n // batch, batch, d), self.memory.start(batch))

    def values(self, tokens: Tensor, rows: Tensor, after: Tensor, actions: ActionFeatures) -> Tensor:
        """Q-values of `rows`, (G, P, N, outputs).

        after: the memory's states after `rows`, of the same shape; actions: what `rows` were computed from, whose local tasks
        may have a known worth, and which shared networks need for the value at prices.
        """
        mixed = self.third.passes(rows + after, tokens)
        out: Tensor = two_layers(self.wide, self.out, mixed)
        return out if actions.local is None else actions.local.insert(out)

    def forward(self, tokens: Tensor, actions: ActionFeatures, past: Tensor) -> Tensor:
        """Q-values of every pass, (G, P, N, outputs), with the memory's states `past` (G, N, width) before the step."""
        rows = self.rows(tokens, actions)
        return self.values(tokens, rows, self.memory.advance(rows, past), actions)

    def sequential(
        self, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs | None = None
    ) -> Callable[[int, Tensor], Tensor]:
        """Q-values for tasks that decide one after another.

        Returns a function of a task j and all tasks' strategies, (U, N, J, K + 1) of 0 and 1, that gives the values of every
        pass of task j's networks, (U, P, N, outputs).
        """
        assert self.aware
        return self.with_local_worth(sequential_q(self, prepare(self, tokens, shares, past)), inputs)

    def joint(
        self, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Q-values of all networks for changing strategies.

        Returns a function of all tasks' strategies, (U, N, J, K + 1) of 0 and 1, that gives the values of every pass,
        (U, J, P, N, outputs).
        """
        of_task = self.sizes.users, self.sizes.tasks
        return lambda taken: self(tokens, self.encode_actions(shares, taken.argmax(-1), inputs), past).unflatten(
            0, of_task
        )

    def insert_local_worth(self, values: Tensor, taken: Tensor, inputs: Inputs | None) -> Tensor:
        """The values of all networks, (U, J, P, N, outputs), with the worth of local tasks inserted where it is known."""
        local = self.local_worth(inputs, taken, range(taken.shape[2]))
        return values if local is None else local.insert(values.flatten(0, 1)).unflatten(0, values.shape[:2])

    def with_local_worth(
        self, learned: Callable[[int, Tensor], Tensor], inputs: Inputs | None
    ) -> Callable[[int, Tensor], Tensor]:
        """A function as `sequential` returns it, with the worth of local tasks inserted where it is known."""

        if not self.exact_local:
            return learned

        def values(j: int, taken: Tensor) -> Tensor:
            local = self.local_worth(inputs, taken, range(j, j + 1))
            assert local is not None
            return local.insert(learned(j, taken))

        return values
