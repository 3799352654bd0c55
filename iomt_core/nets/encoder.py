"""The Encoder block of the paper's Fig. 3: multi-head self-attention and a feed-forward network, with residual connections."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from iomt_core.model.batch import cached_tensors
from iomt_core.nets.backend import replaceable
from iomt_core.nets.grouped import GroupedLinear, normalised

HEADS = 4  # Table III


class Encoder(nn.Module):
    """G Encoder blocks (Vaswani et al. 2017), normalised before each part (Xiong et al. 2020).

    groups: G; width: features of a token; hidden: width of the feed-forward network. Raises `ValueError` if `width` is no
    multiple of `HEADS`.
    """

    def __init__(self, groups: int, width: int, hidden: int) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"width = {width} does not divide into {HEADS} heads")
        self.width = width
        self.project = GroupedLinear(groups, width, 3 * width)
        self.out = GroupedLinear(groups, width, width)
        self.wide = GroupedLinear(groups, width, hidden)
        self.narrow = GroupedLinear(groups, hidden, width)

    @replaceable
    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Self-attention among n tokens.

        tokens: (G, n, N, width); present: (G, n, N) bool, tokens that are False are not attended to. Returns tokens' shape.
        """
        q, k, v = self.project(normalised(tokens)).chunk(3, -1)
        return self._feed_forward(tokens, _attend(q, k.split(1, 1), v.split(1, 1), present))

    @replaceable
    def passes(self, rows: Tensor, memory: Tensor, present: Tensor | None = None) -> Tensor:
        """P alternatives for one token, each next to the same n other tokens.

        rows: (G, P, N, width), the alternatives; memory: (G, n, N, width), the other tokens; present: (G, n, N) bool, which
        of these are attended to. A row attends to itself and to the memory, whose keys and values are computed once for all
        passes. Returns rows' shape.
        """
        d = self.width
        q, k, v = self.project(normalised(rows)).chunk(3, -1)
        shared_k, shared_v = self.project.part(normalised(memory), slice(d, 3 * d)).chunk(2, -1)
        if present is not None:
            present = torch.cat([torch.ones_like(present[:, :1]), present], dim=1)
        return self._feed_forward(rows, _attend(q, (k, *shared_k.split(1, 1)), (v, *shared_v.split(1, 1)), present))

    def _feed_forward(self, tokens: Tensor, attended: Tensor) -> Tensor:
        tokens = tokens + self.out(attended)
        result: Tensor = tokens + self.narrow(self.wide.rectified(normalised(tokens)))
        return result


def _attend(q: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], present: Tensor | None) -> Tensor:
    """Multi-head attention of rows (G, P, N, width) to a few tokens, each (G, 1 or P, N, width).

    Heads are so narrow that a matmul per head would be mostly overhead. Token by token over the whole width, with the sums
    over heads as a matmul by a constant, is several times faster on a CPU than `scaled_dot_product_attention`.
    """
    d = q.shape[-1]
    heads = head_indicator(d, q.dtype, q.device)
    scores = torch.stack([(q * k) @ heads for k in keys]).mul_(math.sqrt(HEADS / d))
    if present is not None:
        scores = scores.masked_fill(~present.transpose(0, 1)[:, :, None, :, None], -math.inf)
    weights = scores.softmax(0)
    mixed = (weights[0] @ heads.T) * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        mixed = torch.addcmul(mixed, weight @ heads.T, value)
    return mixed


@cached_tensors
def head_indicator(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The head of each feature, as a (width, HEADS) matrix of 0 and 1."""
    return torch.eye(HEADS, dtype=dtype, device=device).repeat_interleave(width // HEADS, dim=0)
