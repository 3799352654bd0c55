"""Mixers, from the agents' values to the team's: VDN, QMIX and self-attention before QMIX, eqs. (22)-(24)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

HYPER = 64  # hidden width of the networks that make the mixer's weights
EMBED = 32  # W_1 of (24) is U x 32
KEY = 16  # d_k of (22)

Attention = Literal["observations", "paper"]


class Mixer(nn.Module, ABC):
    """Computes the team's value Q_tot of a step from the agents' values Q_i."""

    @abstractmethod
    def forward(self, q: Tensor, corrected: Tensor, state: Tensor) -> Tensor:
        """Q_tot, (N,); q: Q_i, (N, U); corrected: ô, (N, U, 6); state: ŝ, (N, ·)."""


class VDN(Mixer):
    """The sum of the agents' values (Sunehag et al. 2018)."""

    def forward(self, q: Tensor, corrected: Tensor, state: Tensor) -> Tensor:
        """Σ_i Q_i; observations and state are not used."""
        return q.sum(-1)


class _Hyper(nn.Module):
    """Hypernetwork: Linear-ReLU-Linear from ŝ to weights, initially near `start`."""

    def __init__(self, state: int, outputs: int, start: float) -> None:
        super().__init__()
        self.wide = nn.Linear(state, HYPER)
        self.out = nn.Linear(HYPER, outputs)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.fill_(start)

    def forward(self, state: Tensor) -> Tensor:
        result: Tensor = self.out(functional.relu(self.wide(state)))
        return result


class QMIX(Mixer):
    """(24): a two-layer network over the agents' values, monotone because its weights are non-negative (Rashid et al. 2018).

    Untrained, it is close to their sum, so that the agents' values are useful from the first update on.
    """

    def __init__(self, users: int, state: int, activation: Callable[[Tensor], Tensor] = functional.relu) -> None:
        """`activation` is the hidden layer's: ReLU in the paper's (24), ELU in Rashid et al."""
        super().__init__()
        self.users, self.activation = users, activation
        self.w_1 = _Hyper(state, users * EMBED, 1.0)
        self.b_1 = nn.Linear(state, EMBED)
        self.w_2 = _Hyper(state, EMBED, 1 / EMBED)
        self.b_2 = _Hyper(state, 1, 0.0)

    def forward(self, q: Tensor, corrected: Tensor, state: Tensor) -> Tensor:
        """W_2 ReLU(W_1 q + b_1) + b_2, all four computed from ŝ. A mixer that is built for 1 user has one row of W_1 for all."""
        w_1 = self.w_1(state).abs().view(-1, self.users, EMBED)[:, : q.shape[1]]
        hidden = self.activation(torch.einsum("nu,nue->ne", q, w_1) + self.b_1(state))
        q_tot: Tensor = (hidden * self.w_2(state).abs()).sum(-1) + self.b_2(state).squeeze(-1)
        return q_tot


class SAEQMIX(Mixer):
    """Self-attention between the agents' values and QMIX, (22)-(24).

    attention "paper": queries and keys are computed from (ô_i, Q_i), as (22) is printed. The attention weights then change
    with the values, and (25) does not hold. attention "observations": queries and keys are computed from ô_i only. The
    weights are positive and do not depend on the values, so Q_tot is monotone in each of them by construction. Untrained,
    the weights are nearly even: each weighted value is near the mean, and their sum in (24) near the sum of all values.
    """

    def __init__(self, users: int, state: int, corrected: int, attention: Attention = "observations") -> None:
        super().__init__()
        self.attention = attention
        wide = corrected + (attention == "paper")
        self.query, self.key = nn.Linear(wide, KEY), nn.Linear(wide, KEY)
        self.mix = QMIX(users, state)

    def weights(self, q: Tensor, corrected: Tensor) -> Tensor:
        """The attention weights Â of (22), (N, U, U); every row sums to 1."""
        x = torch.cat([corrected, q[..., None] / q.shape[-1]], -1) if self.attention == "paper" else corrected
        weights: Tensor = (self.query(x) @ self.key(x).transpose(1, 2) / math.sqrt(KEY)).softmax(-1)
        return weights

    def forward(self, q: Tensor, corrected: Tensor, state: Tensor) -> Tensor:
        """Q_tot by Q̂ = Â v (23) and (24), (N,)."""
        weighted = (self.weights(q, corrected) @ q[..., None]).squeeze(-1)
        result: Tensor = self.mix(weighted, corrected, state)
        return result
