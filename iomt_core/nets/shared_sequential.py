"""Q-values of the shared networks, one task after another; what does not depend on the strategies is computed only once.

`nets.sequential_q` does the same for networks of which every task has its own. Tensors are so small here that the number of
operations determines the time. The blocks are therefore written again for a single network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import linear

from iomt_core.nets.encoder import HEADS, Encoder, head_indicator
from iomt_core.nets.grouped import GroupedLinear, normalised
from iomt_core.nets.inputs import Inputs, compress_cost, cyclic_order, share_features

if TYPE_CHECKING:
    from iomt_core.nets.shared import SharedTaskQ

Q_SCALE = 0.2  # scale of the learned correction; small, so that one update cannot reorder all strategies


class SharedSequentialQ:
    """`SharedTaskQ` at fixed observations and requests; call it with a task and the strategies of all tasks.

    The agents of all worlds are rows, R = U·N. A task is valued again only in the rows in which another task's strategy has
    changed since its last turn. Networks compute the passes of the K servers only: on the own device they correct nothing. Local
    tasks are worth what their requests bring them; where the own CPU is divided exactly, the caller inserts their worth.
    """

    def __init__(self, q: SharedTaskQ, tokens: Tensor, shares: Tensor, inputs: Inputs) -> None:
        """tokens: (U·J, 3, N, width) from `q.encode`; shares: as requested, (U, N, J, 2)."""
        assert inputs.devices is not None
        assert inputs.local_cost is not None
        (self.u, self.n, j, _), self.k = shares.shape, q.sizes.servers
        self.shares, devices = shares.flatten(0, 1), inputs.devices.flatten(0, 1)
        features, cpu = share_features(self.shares), self.shares[..., 0]
        time, energy = inputs.local_cost.flatten(0, 1).unbind(-1)
        self.local_cost = torch.stack([time / cpu, energy * cpu.square(), cpu], 1)[:, :, None]  # (R, 3, 1, J)
        self.at_prices = devices[..., 1:, -1]
        self.order = cyclic_order(j, shares.device)
        self.is_away = (
            torch.arange(self.k + 1, device=shares.device) > 0
        ).long()  # 0 in the pass of the own device, else 1
        self.second, self.third = _Encoder(q.second), _Encoder(q.third)
        self.gates, self.wide, self.out = _weights(q.memory.from_input), _weights(q.wide), _weights(q.out)
        tokens = tokens.view(self.u, j, 3, self.n, -1).permute(1, 2, 0, 3, 4).flatten(2, 3)  # (J, 3, R, width)

        # The token of the task on each server, without what its agent's other tasks request there.
        seen = torch.cat([features[:, :, None].expand(-1, -1, self.k, -1), devices[:, :, 1:]], -1).permute(1, 2, 0, 3)
        weight, self.load_weight = q.slot.weight[1].split((seen.shape[-1], 2))
        servers = tokens[:, :1] + seen @ weight + q.slot.bias[1]

        # The token of the other tasks, without which of them are local.
        known, self.local_weight = (q.others_asked.weight[0] / max(1, j - 1)).split((2, 1))
        of_others = (features.sum(1, keepdim=True) - features).transpose(0, 1)  # (J, R, 2)
        others = tokens[:, 1] + of_others @ known + q.others_asked.bias

        rest, memory = self.second.keys_values(tokens[:, 2:]), self.third.keys_values(tokens)
        parts = torch.cat([servers, others[:, None], *rest, *memory], dim=1)  # (J, K + 9, R, width)
        self.parts = parts.transpose(0, 1).flatten(1, 2)
        self.exact_local = q.exact_local
        # The strategies (R, J, K + 1) and values (R, P, J) of each task's last turn; of all tasks' last, (R, J, P, J), under -1.
        self.last: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, j: int, taken: Tensor) -> Tensor:
        """Values of every pass of task j, (U, P, N, outputs); strategies `taken` (U, N, J, K + 1) of 0 and 1."""
        others = taken.flatten(0, 1).clone()
        others[:, j] = 0
        return self._changed(j, others).view(self.u, self.n, self.k + 1, -1).transpose(1, 2)

    def all_tasks(self, taken: Tensor) -> Tensor:
        """Values of every pass of all tasks, (U, J, P, N, outputs)."""
        values = self._changed(-1, taken.flatten(0, 1))
        return values.view(self.u, self.n, *values.shape[1:]).permute(0, 2, 3, 1, 4)

    def _changed(self, j: int, taken: Tensor) -> Tensor:
        """Values of task j, or of all tasks if j is -1, valued again in the rows in which `taken` (R, J, K + 1) has changed."""
        if j in self.last:
            before, values = self.last[j]
            changed = (taken != before).flatten(1).any(1).nonzero()[:, 0]
            if len(changed):
                values = values.index_copy(0, changed, self._evaluate(j, taken, changed))
        else:
            values = self._evaluate(j, taken, torch.arange(len(taken), device=taken.device))
        self.last[j] = taken, values
        return values

    def _evaluate(self, j: int, taken: Tensor, rows: Tensor) -> Tensor:
        """Values of task j in some rows, (rows, P, J), or of all T tasks if j is -1, (rows, T, P, J)."""
        tasks = slice(None) if j < 0 else slice(j, j + 1)
        which = torch.arange(taken.shape[1], device=rows.device)[tasks]
        parts = self.parts.index_select(1, (which[:, None] * len(self.shares) + rows).flatten())
        taken, shares, at_prices, local_cost = (
            x.index_select(0, rows) for x in (taken, self.shares, self.at_prices, self.local_cost)
        )
        if j < 0:
            apart = 1 - torch.eye(len(which), dtype=taken.dtype, device=taken.device)
            taken = taken * apart[:, None, :, None]  # (T, rows, J, K + 1), in each only the other tasks
        else:
            taken = taken[None]
        local, sent = taken[..., 0], taken[..., 1:]

        # The correction that the networks add on each server, (K, T · rows).
        servers, others, rest_key, rest_value, keys, values = parts.split((self.k, 1, 1, 1, 3, 3))
        loads = (sent.mT @ shares).flatten(0, 1)  # what the others request on each server, (T · rows, K, 2)
        key, value = self.second.keys_values(others + (local.sum(-1, keepdim=True) * self.local_weight).flatten(0, 1))
        passes = (loads.transpose(0, 1) @ self.load_weight).add_(servers)
        passes = self.second(passes, [key, rest_key], [value, rest_value])
        update, _, candidate = linear(passes, *self.gates).chunk(3, -1)
        passes = torch.addcmul(passes, update.neg().sigmoid_(), candidate.tanh())
        passes = self.third(passes, keys.split(1), values.split(1))
        correction = Q_SCALE * linear(linear(passes, *self.wide).relu_(), *self.out)[..., 0]

        # The worth of all tasks, (T, rows, 2, J): with the task on the own device, and without.
        elsewhere = (at_prices * sent).sum(-1)[:, :, None]
        own_local = None
        if self.exact_local:  # local tasks' worth is inserted by the caller
            worth = elsewhere.expand(-1, -1, 2, -1)
        else:
            time, energy, cpu = local_cost.unbind(1)
            without = (local * cpu[:, 0]).sum(-1, keepdim=True)
            requested = torch.cat([without + cpu[:, 0].T[tasks, :, None], without], 2).clamp_min_(1.0)[..., None]
            locally = 1 - compress_cost(time * requested + energy / requested.square())
            worth = torch.where(local[:, :, None] > 0, locally, elsewhere)
            own_local = locally[:, :, 0].gather(2, which[:, None, None].expand(-1, len(rows), 1))

        order = self.order[tasks, None, None].expand(-1, *worth.shape[1:3], -1)
        result = worth.gather(3, order).index_select(2, self.is_away)
        if own_local is not None:
            result[:, :, 0, :1] = own_local
        correction = correction.T.view(*result.shape[:2], self.k).mean(-1, keepdim=True)  # the same for all servers
        result[:, :, 1:, 0] = at_prices.transpose(0, 1)[tasks] + correction
        return result[0] if j >= 0 else result.transpose(0, 1)


class _Encoder:
    """`Encoder.passes` for rows (P, N, width), with keys and values of the other tokens that are known."""

    def __init__(self, encoder: Encoder) -> None:
        layers = (encoder.project, encoder.out, encoder.wide, encoder.narrow)
        self.project, self.out, self.wide, self.narrow = map(_weights, layers)
        weight = encoder.project.weight
        heads = head_indicator(encoder.width, weight.dtype, weight.device)
        self.scaled, self.spread = heads * math.sqrt(HEADS / encoder.width), heads.T.contiguous()

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of tokens that rows attend to, each of the same shape."""
        _, keys, values = linear(normalised(tokens), *self.project).chunk(3, -1)
        return keys, values

    def __call__(self, rows: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
        query, key, value = linear(normalised(rows), *self.project).chunk(3, -1)
        scores = torch.stack([(query * k) @ self.scaled for k in (key, *keys)])
        first, *weights = (scores.softmax(0) @ self.spread).unbind()
        mixed = first * value
        for weight, v in zip(weights, values, strict=True):
            mixed.addcmul_(weight, v)
        rows = linear(mixed, *self.out).add_(rows)
        return linear(linear(normalised(rows), *self.wide).relu_(), *self.narrow).add_(rows)


def _weights(layer: GroupedLinear) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer's only map, as `torch.nn.functional.linear` takes them."""
    return layer.weight[0].T, layer.bias[0, 0]
