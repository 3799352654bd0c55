"""A backend of `nets.backend`: Encoder, GRU, two-layer perceptron and a task's turn as compiled kernels for CPUs.

Written with tensors, a block of many small networks moves through memory once per operation, and half of an update's time is
spent outside its matrix products. A kernel takes a few rows of one network through a whole block, forward or backward, in
cache. The mathematics is that of the modules, which compute wherever a kernel cannot: without a C++ compiler, on a GPU, in
another precision. Deleting this folder (and tests/nets/test_kernels.py) only costs speed.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from iomt_core.nets.kernels import functions
from iomt_core.nets.kernels.library import identity as name
from iomt_core.nets.sequential_q import Prepared, prepare

if TYPE_CHECKING:
    from torch import Tensor

    from iomt_core.nets.encoder import Encoder
    from iomt_core.nets.grouped import GroupedGRU, GroupedLinear
    from iomt_core.nets.inputs import Inputs
    from iomt_core.nets.search import Preference
    from iomt_core.nets.task_q import TaskQ

__all__ = ["REPLACEMENTS", "name"]


def _forward(block: Encoder, tokens: Tensor, present: Tensor | None = None) -> Tensor | None:
    return functions.encoder(_layers(block), tokens) if present is None else None


def _passes(block: Encoder, rows: Tensor, memory: Tensor, present: Tensor | None = None) -> Tensor | None:
    return functions.encoder(_layers(block), rows, memory) if present is None else None


def _advance(gru: GroupedGRU, x: Tensor, state: Tensor) -> Tensor | None:
    return None if gru.from_state is None else functions.gru_step((gru.from_input, gru.from_state), x, state)


def _unroll(gru: GroupedGRU, x: Tensor, state: Tensor) -> Tensor | None:
    return None if gru.from_state is None else functions.gru_episode((gru.from_input, gru.from_state), x, state)


def _two_layers(wide: GroupedLinear, out: GroupedLinear, x: Tensor) -> Tensor | None:
    return functions.two_layers((wide, out), x)


def _search(
    q: TaskQ, tokens: Tensor, shares: Tensor, past: Tensor, inputs: Inputs, taken: Tensor, preference: Preference
) -> Tensor | None:
    # Networks that all tasks share have no slice for each task.
    turns = None if q.sizes.shared or torch.is_grad_enabled() else _sequential_q(q, prepare(q, tokens, shares, past))
    return None if turns is None else turns.search(taken, inputs, preference, q.exact_local)


def _own_shares(local_cost: Tensor, weight: Tensor, local: Tensor) -> Tensor | None:
    return functions.own_shares(local_cost, weight, local)


def _sequential_q(q: TaskQ, prepared: Prepared) -> functions.Turns | None:
    # In the order that the kernel expects.
    layers = (q.others_asked, *_layers(q.second), q.memory.from_input, *_layers(q.third), q.wide, q.out)
    p = prepared
    if not functions.Turns.fit(layers, p.rows, p.shares, p.past):
        return None
    return functions.Turns(layers, p.shares, p.rows, p.of_rows, p.of_rest, p.of_tokens, p.others, p.past, p.from_past)


def _layers(block: Encoder) -> tuple[GroupedLinear, ...]:
    return block.project, block.out, block.wide, block.narrow


REPLACEMENTS = MappingProxyType(
    {
        "Encoder.forward": _forward,
        "Encoder.passes": _passes,
        "GroupedGRU.advance": _advance,
        "GroupedGRU.unroll": _unroll,
        "two_layers": _two_layers,
        "own_shares": _own_shares,
        "search": _search,
        "sequential_q": _sequential_q,
    }
)
