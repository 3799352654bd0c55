"""The Encoder block of the paper's Fig. 3: multi-head self-attention and a feed-forward net, residual, normalised."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iomt_core.model.batch import kept
from iomt_core.nets.grouped import GroupedLinear, normalised
from iomt_core.nets.kernels import functions as kernels

HEADS = 4  # Table III


class Encoder(nn.Module):
    """G Encoder blocks (Vaswani et al. 2017, normalised before each part as in Xiong et al. 2020)."""

    def __init__(self, groups: int, width: int, hidden: int) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"width = {width} does not divide into {HEADS} heads")
        self.width = width
        self.project = GroupedLinear(groups, width, 3 * width)
        self.out = GroupedLinear(groups, width, width)
        self.wide = GroupedLinear(groups, width, hidden)
        self.narrow = GroupedLinear(groups, hidden, width)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Every token attends to every token; (G, n, N, width). Tokens not `present` (G, n, N) are not looked at."""
        if present is None and (done := kernels.encoder(self._layers, tokens)) is not None:
            return done
        q, k, v = self.project(normalised(tokens)).chunk(3, -1)
        return self._rest(tokens, _attend(q, k.split(1, 1), v.split(1, 1), present))

    def passes(self, rows: Tensor, memory: Tensor, present: Tensor | None = None) -> Tensor:
        """P alternatives for one token, each beside the same other tokens.

        `rows` (G, P, N, width) are what the token would be, `memory` (G, n, N, width) the others, which no pass
        changes: their keys and values are made once for all passes. A row attends to itself and to the memory.
        """
        if present is None and (done := kernels.encoder(self._layers, rows, memory)) is not None:
            return done
        d = self.width
        q, k, v = self.project(normalised(rows)).chunk(3, -1)
        shared_k, shared_v = self.project.part(normalised(memory), slice(d, 3 * d)).chunk(2, -1)
        if present is not None:
            present = torch.cat([torch.ones_like(present[:, :1]), present], dim=1)
        return self._rest(rows, _attend(q, (k, *shared_k.split(1, 1)), (v, *shared_v.split(1, 1)), present))

    @property
    def _layers(self) -> tuple[GroupedLinear, ...]:
        return self.project, self.out, self.wide, self.narrow

    def _rest(self, tokens: Tensor, mixed: Tensor) -> Tensor:
        tokens = tokens + self.out(mixed)
        result: Tensor = tokens + self.narrow(self.wide.rectified(normalised(tokens)))
        return result


def _attend(q: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], present: Tensor | None) -> Tensor:
    """Multi-head attention of rows (G, P, N, width) to a few tokens, each (G, 1 or P, N, width).

    With heads this narrow a matmul a head is all overhead; token by token over the whole width, with the heads' sums as
    a matmul by a constant, is several times as fast as `scaled_dot_product_attention` on a CPU.
    """
    d = q.shape[-1]
    heads = heads_of(d, q.dtype, q.device)
    scores = torch.stack([(q * k) @ heads for k in keys]).mul_(math.sqrt(HEADS / d))
    if present is not None:
        scores = scores.masked_fill(~present.transpose(0, 1)[:, :, None, :, None], -math.inf)
    weights = scores.softmax(0)
    mixed = (weights[0] @ heads.T) * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        mixed = torch.addcmul(mixed, weight @ heads.T, value)
    return mixed


@kept
def heads_of(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Which head each number of a row belongs to, (width, HEADS) of 0 and 1."""
    return torch.eye(HEADS, dtype=dtype, device=device).repeat_interleave(width // HEADS, dim=0)
