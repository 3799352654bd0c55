"""The search for an agent's strategies in which the task that gains most by moving moves next, until none gains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from iomt_core.nets.backend import replaceable
from iomt_core.nets.inputs import Inputs, cyclic_order

if TYPE_CHECKING:
    from iomt_core.nets.task_q import TaskQ

# Moves for each task of an agent. About one is usual: some tasks of an agent never move, and few move twice.
MOVES_PER_TASK = 1.5
SMALLEST_GAIN = 1e-6  # in units of reward, for which a task moves


@dataclass(frozen=True)
class Preference:
    """Which servers agents favour where they seem equal; see `ParameterisedQ.margins`."""

    rank: Tensor  # (U, K + 1) of each server for each agent, 0 to 1; infinite for the own device
    margins: tuple[float, float]  # added to the worth of the favoured server, and of every other one


@dataclass(frozen=True)
class Move:
    """One step of the search: all tasks are valued, and each agent moves the task that gains most, if any gains."""

    values: Tensor  # (U, J, P, N, outputs) Q-values of every pass of all networks
    worth: Tensor  # (U, N, J, K + 1) the sum in (17) for each strategy
    margin: Tensor  # (U, N, J, K + 1) added to the worth
    after: Tensor  # (U, N, J, K + 1) the strategies after, of 0 and 1


def most_moves(tasks: int) -> int:
    """How many times an agent with this number of tasks moves one at most."""
    return math.ceil(MOVES_PER_TASK * tasks)


def moves(
    values_of: Callable[[Tensor], Tensor],
    inputs: Inputs,
    taken: Tensor,
    preference: Preference,
    explore: Tensor | None = None,
) -> Iterator[Move]:
    """The steps of the search; in the last one no task moves, unless the number of moves ends it.

    values_of: as `TaskQ.joint` returns it; taken: strategies at first, (U, N, J, K + 1) of 0 and 1; explore: exploration noise on
    the worth of strategies, of the same shape.
    """
    j, devices = taken.shape[2:]
    favoured_margin, other_margin = preference.margins
    margins = taken.new_tensor([0.0] + [other_margin] * (devices - 1)).expand_as(taken)
    number, rank = torch.arange(j, device=taken.device), preference.rank[:, None, None]
    weights = inputs.weight[:, :, cyclic_order(j, taken.device)].transpose(1, 2)[:, :, None]  # (U, J, 1, N, J)
    for _ in range(most_moves(j)):
        values = values_of(taken)
        worth = (values * weights).sum(-1).permute(0, 3, 1, 2)
        # The favoured server is the one with the fewest of the agent's other tasks. This spreads tasks evenly over the servers
        # although the agents do not know each other's choices.
        if inputs.crowding is None:
            crowd = taken.sum(2, keepdim=True) - taken
            margin = margins.scatter(-1, (crowd + rank).argmin(-1, keepdim=True), favoured_margin)
        else:
            margin = surcharge(values[:, :, 1:, :, 0].permute(0, 3, 1, 2), inputs, taken[..., 1:])
        if explore is not None:
            margin = margin + explore * inputs.weight[..., None]
        score = worth + margin
        if inputs.crowding is not None:
            score = score * (inputs.weight > 0)[..., None]  # a task that is given up gains nothing
        largest, at = (score - (score * taken).sum(-1, keepdim=True)).flatten(2).max(-1, keepdim=True)  # (U, N, 1)
        gains = largest > SMALLEST_GAIN
        after = taken * ~((number == at // devices) & gains)[..., None]
        after.flatten(2).scatter_add_(2, at, gains.to(taken.dtype))
        yield Move(values, worth, margin, after)
        if not bool(gains.any()):
            return
        taken = after


def surcharge(own: Tensor, inputs: Inputs, taken: Tensor) -> Tensor:
    """The margins of general networks: a server costs more, the more of the agent's other tasks it has, as in price response.

    own: what each task values each server at, (U, N, J, K); taken: which of the agent's tasks each server has, of the same
    shape. Returns (U, N, J, K + 1), in units of the worth.
    """
    if inputs.own_load is not None:
        there = taken[..., None] * inputs.own_load
        others = there.sum(2, keepdim=True) - there
        return pad(-(inputs.own_load * others).sum(-1), (1, 0))
    assert inputs.crowding is not None
    crowd = taken.sum(2, keepdim=True) - taken
    cost = inputs.weight[..., None] * (1 - own)
    first, room = inputs.crowding[:, :, None].unbind(-1)
    dearer = cost * (crowd + first) / room
    return pad(dearer.amin(-1, keepdim=True) - dearer, (1, 0))


@replaceable
def search(
    q: TaskQ, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs, taken: Tensor, preference: Preference
) -> Tensor:
    """The strategies at the end of the search, (U, N, J, K + 1) of 0 and 1; arguments as in `TaskQ.joint` and `moves`."""
    for move in moves(q.joint(tokens, shares, past, inputs), inputs, taken, preference):
        taken = move.after
    return taken
