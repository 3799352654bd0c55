"""The mixer in one step: from the agents' values to Q_tot, (22)-(24), and its derivatives by these values, (25)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from iomt_core.nets.mixers import KEY, QMIX, SAEQMIX, Mixer


@dataclass(frozen=True)
class Mixing:
    """Intermediate results of the mixer for U agents in one step; None if the mixer does not have them."""

    users: tuple[int, ...]  # the agents' numbers in the whole ward
    kind: str  # "sum", "QMIX", "attention" or "attention as printed"
    agent_values: Tensor  # (U,) Q_i (18)
    scores: Tensor | None  # (U, U) A of (22), before the softmax
    attention: Tensor | None  # (U, U) Â of (22); the sum of each row is 1
    weighted: Tensor  # (U,) Q̂_i (23), the input of (24); without attention Q_i itself
    slopes: Tensor  # (U,) ∂Q_tot/∂Q_i (25)
    q_tot: float
    hidden: tuple[int, int] | None  # active units and all units of the hidden layer of (24)
    offset: float | None  # b_2 of (24)


def mixing(mixer: Mixer, users: tuple[int, ...], q: Tensor, corrected: Tensor, state: Tensor) -> Mixing:
    """Evaluates the mixer; `q` are the values (U,) of the agents of `users`, `corrected` is ô (U, 6), `state` is ŝ."""
    q = q.detach().clone().requires_grad_()
    with torch.enable_grad():
        total = mixer(q[None], corrected[None], state[None])
        slopes = torch.autograd.grad(total.sum(), q)[0]
    with torch.no_grad():
        values, scores, attention, weighted = q.detach(), None, None, q.detach()
        if isinstance(mixer, SAEQMIX):
            x = corrected
            if mixer.attention == "paper":
                x = torch.cat([corrected, values[:, None] / len(values)], -1)
            scores = mixer.query(x) @ mixer.key(x).T / math.sqrt(KEY)
            attention = mixer.weights(values[None], corrected[None])[0]
            weighted = attention @ values
        net = mixer.mix if isinstance(mixer, SAEQMIX) else mixer if isinstance(mixer, QMIX) else None
        hidden, offset = None, None
        if net is not None:
            w_1 = net.w_1(state).abs().view(net.users, -1)[: len(values)].expand(len(values), -1)
            before = weighted @ w_1 + net.b_1(state)
            hidden, offset = (int((before > 0).sum()), len(before)), float(net.b_2(state))
    kind = "sum" if net is None else "QMIX"
    if isinstance(mixer, SAEQMIX):
        kind = "attention as printed" if mixer.attention == "paper" else "attention"
    return Mixing(users, kind, values, scores, attention, weighted, slopes, float(total.detach()), hidden, offset)
