"""Q-values of one task after another; everything that does not depend on the strategies is computed only once.

When an agent's tasks decide one after another, every task's network is evaluated several times, each time with other
strategies of the other tasks. Only the token of the others' actions is new then; keys, values and scores of everything else
stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from iomt_core.nets.backend import replaceable
from iomt_core.nets.encoder import HEADS, head_indicator
from iomt_core.nets.grouped import GroupedLinear, normalised
from iomt_core.nets.inputs import flatten_tasks, other_tasks, share_features

if TYPE_CHECKING:
    from iomt_core.nets.task_q import TaskQ

Maps = list[tuple[Tensor, Tensor]]  # weight and bias of a layer, task by task


@dataclass(frozen=True)
class Prepared:
    """Intermediate results that do not depend on the strategies, of G = U·J networks with P passes."""

    shares: Tensor  # (U, N, J, 2) as requested
    rows: Tensor  # (G, P, N, width) the own token in every pass
    of_rows: Tensor  # (G, P, N, 3 width) queries, keys and values of `rows` in the second Encoder
    of_rest: Tensor  # (G, 1, N, 2 width) key and value of the last token there
    of_tokens: Tensor  # (G, 3, N, 2 width) keys and values of the tokens in the third Encoder
    others: Tensor  # (G, N, width) the token of the other tasks, without their strategies
    known: int  # number of inputs of `others_asked` that `others` contains
    past: Tensor  # (G, N, width) the memory's states
    from_past: Tensor | None  # (G, N, 3 width) what the GRU computes from them


def prepare(q: TaskQ, tokens: Tensor, shares: Tensor, past: Tensor) -> Prepared:
    """Computes what does not depend on the strategies; tokens (U·J, 3, N, width), shares (U, N, J, 2), past (U·J, N, width)."""
    u, n, j, _ = shares.shape
    d, g, slots = tokens.shape[-1], u * j, q.slots
    features = share_features(shares)
    own = flatten_tasks(features)[:, None].expand(g, slots, n, 2)
    rows = tokens[:, :1] + q.slot(own.reshape(-1, n, 2)).view(g, slots, n, d)
    known = other_tasks(features)
    weight = q.others_asked.weight[:, : known.shape[-1]]
    from_state = q.memory.from_state
    return Prepared(
        shares=shares,
        rows=rows,
        of_rows=q.second.project(normalised(rows)),
        of_rest=q.second.project.part(normalised(tokens[:, 2:]), slice(d, 3 * d)),
        of_tokens=q.third.project.part(normalised(tokens), slice(d, 3 * d)),
        others=tokens[:, 1] + torch.baddbmm(q.others_asked.bias, known, weight),
        known=known.shape[-1],
        past=past,
        from_past=None if from_state is None else from_state(past),
    )


@replaceable
def sequential_q(q: TaskQ, prepared: Prepared) -> Callable[[int, Tensor], Tensor]:
    """The function that `TaskQ.sequential` returns."""
    return SequentialQ(q, prepared)


class SequentialQ:
    """`TaskQ` at fixed observations, requests and memories; call it with a task and the strategies of all tasks."""

    def __init__(self, q: TaskQ, prepared: Prepared) -> None:
        self.q, (self.u, _, self.j, _) = q, prepared.shares.shape
        self.known, self.shares = prepared.known, prepared.shares
        d, rows = prepared.rows.shape[-1], prepared.rows
        heads = head_indicator(d, rows.dtype, rows.device)
        (query, key, value), (rest_key, rest_value) = prepared.of_rows.chunk(3, -1), prepared.of_rest.chunk(2, -1)
        keys, values = prepared.of_tokens.chunk(2, -1)
        self.scaled, self.spread = heads * math.sqrt(HEADS / d), heads.T.contiguous()
        self.rows, self.query, self.value = self._by_task(rows), self._by_task(query), self._by_task(value)
        self.scores = self._by_task((query * key) @ self.scaled), self._by_task((query * rest_key) @ self.scaled)
        self.rest, self.others = self._by_task(rest_value), self._by_task(prepared.others)
        self.keys, self.values = self._by_task(keys[:, :, None]), self._by_task(values[:, :, None])
        self.past, from_past = self._by_task(prepared.past[:, None]), prepared.from_past
        self.from_past = None if from_past is None else self._by_task(from_past[:, None])
        self.maps = _maps_of(q, self.u, self.j)

    def __call__(self, j: int, taken: Tensor) -> Tensor:
        """Values of every pass of task j's networks, (U, P, N, outputs); strategies `taken` (U, N, J, K + 1) of 0 and 1."""
        d, (a, b) = self.scaled.shape[0], self.scores
        query, value = self.query[j], self.value[j]
        others = normalised(self.others[j] + self._of_strategies(j, taken))[:, None]
        weight, bias = self.maps["second.project"][j]
        key, other = torch.baddbmm(bias[..., d:], others[:, 0], weight[..., d:])[:, None].chunk(2, -1)
        weights = torch.stack([a[j], (query * key) @ self.scaled, b[j]]).softmax(0) @ self.spread
        mixed = torch.addcmul(torch.addcmul(weights[0] * value, weights[1], other), weights[2], self.rest[j])
        rows = self._feed_forward("second", j, self.rows[j], mixed)
        rows = rows + self._advance(j, rows)
        query, key, value = self._map("third.project", j, normalised(rows)).chunk(3, -1)
        seen = torch.cat([(query * key)[:, None], query[:, None] * self.keys[j]], dim=1) @ self.scaled
        weights = seen.softmax(1) @ self.spread
        mixed = torch.addcmul(weights[:, 0] * value, weights[:, 1], self.values[j][:, 0])
        for n in range(1, self.values[j].shape[1]):
            mixed = torch.addcmul(mixed, weights[:, 1 + n], self.values[j][:, n])
        rows = self._feed_forward("third", j, rows, mixed)
        return self._map("out", j, self._map("wide", j, rows).relu_())

    def _of_strategies(self, j: int, taken: Tensor) -> Tensor:
        """The part of the other tasks' token that depends on their strategies, (U, N, width)."""
        loads = taken.transpose(2, 3) @ self.shares - taken[:, :, j, :, None] * self.shares[:, :, j, None]
        parts = (taken[:, :, j + 1 :], taken[:, :, :j], loads)
        weight = self.maps["others_asked"][j][0][:, self.known :]
        return torch.bmm(torch.cat([x.flatten(2) for x in parts], dim=-1), weight)

    def _advance(self, j: int, rows: Tensor) -> Tensor:
        gates = self._map("memory.from_input", j, rows)
        if self.from_past is None:
            return self.q.memory.gated(gates, None, None)
        return self.q.memory.gated(gates, self.from_past[j], self.past[j])

    def _feed_forward(self, encoder: str, j: int, rows: Tensor, mixed: Tensor) -> Tensor:
        """What an Encoder computes after its attention."""
        rows = rows + self._map(f"{encoder}.out", j, mixed)
        return rows + self._map(f"{encoder}.narrow", j, self._map(f"{encoder}.wide", j, normalised(rows)).relu_())

    def _map(self, name: str, j: int, x: Tensor) -> Tensor:
        weight, bias = self.maps[name][j]
        return torch.baddbmm(bias, x.flatten(1, 2), weight).view(*x.shape[:-1], weight.shape[-1])

    def _by_task(self, x: Tensor) -> tuple[Tensor, ...]:
        """(U·J, …) as one (U, …) per task."""
        parts: tuple[Tensor, ...] = x.view(self.u, self.j, *x.shape[1:]).unbind(1)
        return parts


_MAPS: WeakKeyDictionary[TaskQ, tuple[tuple[int, ...], dict[str, Maps]]] = WeakKeyDictionary()


def _maps_of(q: TaskQ, users: int, tasks: int) -> dict[str, Maps]:
    """Views of every layer's weights and biases, task by task; cached until the weights lie elsewhere in memory."""
    layers = {name: layer for name, layer in q.named_modules() if isinstance(layer, GroupedLinear)}
    at = (users, tasks, *(layer.weight.data_ptr() for layer in layers.values()))
    known = _MAPS.get(q)
    if known is None or known[0] != at:
        known = _MAPS[q] = at, {name: _views(layer, users, tasks) for name, layer in layers.items()}
    return known[1]


def _views(layer: GroupedLinear, users: int, tasks: int) -> Maps:
    if len(layer.weight) > users * tasks:  # several maps a network: `prepare` computes all of its passes at once
        return []
    weights, biases = (x.detach().view(users, tasks, *x.shape[1:]).unbind(1) for x in (layer.weight, layer.bias))
    return list(zip(weights, biases, strict=True))
