"""One task's networks after another, while choices change: what no choice changes is computed once for all of them.

A joint decision in turn asks every task's networks several times, each time with other tasks' strategies changed. Only the
token that tells of them is new then; keys, values and scores of everything else stay.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from iomt_core.nets.encoder import HEADS, heads_of
from iomt_core.nets.grouped import GroupedLinear, normalised
from iomt_core.nets.inputs import flatten_tasks, other_tasks, share_features
from iomt_core.nets.kernels.functions import Turns

if TYPE_CHECKING:
    from iomt_core.nets.task_q import TaskQ

Maps = list[tuple[Tensor, Tensor]]  # weight and bias of a layer, task by task


class SequentialQ:
    """`TaskQ` at fixed observations, requests and memories; called with a task and the strategies of all."""

    def __init__(self, q: TaskQ, tokens: Tensor, shares: Tensor, past: Tensor) -> None:
        """`tokens` (U·J, 3, N, width), `shares` (U, N, J, 2), `past` (U·J, N, width)."""
        self.q, (self.u, self.n, self.j, _) = q, shares.shape
        d = tokens.shape[-1]
        features = share_features(shares)
        g, slots = self.u * self.j, q.slots
        own = flatten_tasks(features)[:, None].expand(g, slots, self.n, 2)
        rows = tokens[:, :1] + q.slot(own.reshape(-1, self.n, 2)).view(g, slots, self.n, d)
        of_rows = q.second.project(normalised(rows))
        of_rest = q.second.project.part(normalised(tokens[:, 2:]), slice(d, 3 * d))
        of_tokens = q.third.project.part(normalised(tokens), slice(d, 3 * d))
        known = other_tasks(features)
        self.known = known.shape[-1]
        weight = q.others_asked.weight
        others = tokens[:, 1] + torch.baddbmm(q.others_asked.bias, known, weight[:, : self.known])
        from_state = q.memory.from_state
        from_past = None if from_state is None else from_state(past)
        self._turns: Turns | None = None
        if Turns.fit(layers := _layers(q), tokens, shares, past):
            self._turns = Turns(layers, shares, rows, of_rows, of_rest, of_tokens, others, past, from_past)
            return
        heads = heads_of(d, tokens.dtype, tokens.device)
        (query, key, value), (rest_key, rest_value) = of_rows.chunk(3, -1), of_rest.chunk(2, -1)
        keys, values = of_tokens.chunk(2, -1)
        self.scaled, self.spread = heads * math.sqrt(HEADS / d), heads.T.contiguous()
        self.rows, self.query, self.value = self._tasks(rows), self._tasks(query), self._tasks(value)
        self.scores = self._tasks((query * key) @ self.scaled), self._tasks((query * rest_key) @ self.scaled)
        self.rest, self.others = self._tasks(rest_value), self._tasks(others)
        self.keys, self.values = self._tasks(keys[:, :, None]), self._tasks(values[:, :, None])
        self.past = self._tasks(past[:, None])
        self.from_past = None if from_past is None else self._tasks(from_past[:, None])
        self.shares = shares
        self.maps = _maps_of(q, self.u, self.j)

    @property
    def compiled(self) -> bool:
        """Whether a kernel does it."""
        return self._turns is not None

    def __call__(self, j: int, taken: Tensor) -> Tensor:
        """Values of every pass of task j's networks, (U, P, N, outputs); strategies `taken` (U, N, J, K + 1) of 0 and 1."""
        if self._turns is not None:
            return self._turns(j, taken)
        d, (a, b) = self.scaled.shape[0], self.scores
        query, value = self.query[j], self.value[j]
        others = normalised(self.others[j] + self._of_choices(j, taken))[:, None]
        weight, bias = self.maps["second.project"][j]
        key, other = torch.baddbmm(bias[..., d:], others[:, 0], weight[..., d:])[:, None].chunk(2, -1)
        weights = torch.stack([a[j], (query * key) @ self.scaled, b[j]]).softmax(0) @ self.spread
        mixed = torch.addcmul(torch.addcmul(weights[0] * value, weights[1], other), weights[2], self.rest[j])
        rows = self._feed("second", j, self.rows[j], mixed)
        rows = rows + self._advance(j, rows)
        query, key, value = self._map("third.project", j, normalised(rows)).chunk(3, -1)
        seen = torch.cat([(query * key)[:, None], query[:, None] * self.keys[j]], dim=1) @ self.scaled
        weights = seen.softmax(1) @ self.spread
        mixed = torch.addcmul(weights[:, 0] * value, weights[:, 1], self.values[j][:, 0])
        for n in range(1, self.values[j].shape[1]):
            mixed = torch.addcmul(mixed, weights[:, 1 + n], self.values[j][:, n])
        rows = self._feed("third", j, rows, mixed)
        return self._map("out", j, self._map("wide", j, rows).relu_())

    def _of_choices(self, j: int, taken: Tensor) -> Tensor:
        """What the token of the others says of their strategies; (U, N, width)."""
        loads = taken.transpose(2, 3) @ self.shares - taken[:, :, j, :, None] * self.shares[:, :, j, None]
        parts = (taken[:, :, j + 1 :], taken[:, :, :j], loads)
        weight = self.maps["others_asked"][j][0][:, self.known :]
        return torch.bmm(torch.cat([x.flatten(2) for x in parts], dim=-1), weight)

    def _advance(self, j: int, rows: Tensor) -> Tensor:
        gates = self._map("memory.from_input", j, rows)
        if self.from_past is None:
            return self.q.memory.gated(gates, None, None)
        return self.q.memory.gated(gates, self.from_past[j], self.past[j])

    def _feed(self, encoder: str, j: int, rows: Tensor, mixed: Tensor) -> Tensor:
        """The rest of an Encoder after its attention."""
        rows = rows + self._map(f"{encoder}.out", j, mixed)
        return rows + self._map(f"{encoder}.narrow", j, self._map(f"{encoder}.wide", j, normalised(rows)).relu_())

    def _map(self, name: str, j: int, x: Tensor) -> Tensor:
        weight, bias = self.maps[name][j]
        return torch.baddbmm(bias, x.flatten(1, 2), weight).view(*x.shape[:-1], weight.shape[-1])

    def _tasks(self, x: Tensor) -> tuple[Tensor, ...]:
        """(U·J, …) task by task, (U, …) each."""
        parts: tuple[Tensor, ...] = x.view(self.u, self.j, *x.shape[1:]).unbind(1)
        return parts


def _layers(q: TaskQ) -> tuple[GroupedLinear, ...]:
    """Those of a turn, in the order in which the kernel has them."""
    second, third = q.second, q.third
    return (
        q.others_asked, second.project, second.out, second.wide, second.narrow, q.memory.from_input,
        third.project, third.out, third.wide, third.narrow, q.wide, q.out,
    )  # fmt: skip


_MAPS: WeakKeyDictionary[TaskQ, tuple[tuple[int, ...], dict[str, Maps]]] = WeakKeyDictionary()


def _maps_of(q: TaskQ, users: int, tasks: int) -> dict[str, Maps]:
    """Every layer's weights and biases task by task: views, made again only where the weights have moved."""
    layers = {name: layer for name, layer in q.named_modules() if isinstance(layer, GroupedLinear)}
    at = (users, tasks, *(layer.weight.data_ptr() for layer in layers.values()))
    known = _MAPS.get(q)
    if known is None or known[0] != at:
        known = _MAPS[q] = at, {name: _views(layer, users, tasks) for name, layer in layers.items()}
    return known[1]


def _views(layer: GroupedLinear, users: int, tasks: int) -> Maps:
    if len(layer.weight) > users * tasks:  # several maps a network: read above, for all passes at once
        return []
    weights, biases = (x.detach().view(users, tasks, *x.shape[1:]).unbind(1) for x in (layer.weight, layer.bias))
    return list(zip(weights, biases, strict=True))
