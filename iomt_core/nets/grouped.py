"""Layers of G networks at once: weights are stacked along a first axis, and one batched matmul computes all of them.

Tensors are (G, …, width): G networks, any batch axes, features. Slices of different networks never mix. Where a network
has several tokens or passes, their axis stands before the batch's, (G, P, N, width): what all passes share is then added to
them in long contiguous blocks of memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from iomt_core.nets.backend import replaceable


class GroupedLinear(nn.Module):
    """G affine maps, (G, …, inputs) -> (G, …, outputs), initialised as `nn.Linear` is.

    groups: G, the number of maps; inputs, outputs: their sizes. gain: factor on the initial weights. bias: initial bias;
    None draws it as `nn.Linear` does. maps: maps a network, so that G is networks times maps, with a network's maps next
    to each other. A layer of one group serves any number of slices. Fewer inputs than the layer has are allowed: the
    missing ones count as 0.
    """

    def __init__(
        self, groups: int, inputs: int, outputs: int, gain: float = 1.0, bias: float | None = None, maps: int = 1
    ) -> None:
        super().__init__()
        self.networks = groups // maps
        bound = gain / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(groups, inputs, outputs).uniform_(-bound, bound))
        start = torch.empty(groups, 1, outputs).uniform_(-bound, bound) if bias is None else bias
        self.bias = nn.Parameter(torch.zeros(groups, 1, outputs) + start)

    def forward(self, x: Tensor) -> Tensor:
        """Each map applied to its own slice of `x`, (G, …, inputs) -> (G, …, outputs)."""
        return _map(x, self.weight, self.bias)

    def rectified(self, x: Tensor) -> Tensor:
        """ReLU of `forward`; in place and before the result becomes a view, which saves two copies."""
        return _flat(x, self.weight, self.bias).relu_().view(*x.shape[:-1], -1)

    def part(self, x: Tensor, outputs: slice) -> Tensor:
        """`forward` for some of the outputs only."""
        return _map(x, self.weight[..., outputs], self.bias[..., outputs])


def grouped_parameters(module: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """All parameters of `module` that several networks each own a slice of, with the number of those networks."""
    for layer in module.modules():
        if isinstance(layer, GroupedLinear) and layer.networks > 1:
            for parameter in layer.parameters():
                yield parameter, layer.networks


@torch.no_grad()
def average_over_networks(values: Tensor, networks: int) -> None:
    """Replaces, in place, the slice of every network in `values` by the mean over all networks."""
    slices = values.view(networks, -1)
    slices.copy_(slices.mean(0, keepdim=True).expand_as(slices))


def _map(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _flat(x, weight, bias).view(*x.shape[:-1], weight.shape[-1])


def _flat(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.shape[-1] < weight.shape[1]:
        weight = weight[:, : x.shape[-1]]
    return torch.baddbmm(bias, x.reshape(len(weight), -1, x.shape[-1]), weight)


class GroupedGRU(nn.Module):
    """G gated recurrent units (Cho et al. 2014); without `recurrent` the previous state counts as 0 at every step."""

    def __init__(self, groups: int, width: int, recurrent: bool = True) -> None:
        super().__init__()
        self.width, self.recurrent = width, recurrent
        self.from_input = GroupedLinear(groups, width, 3 * width)
        self.from_state = GroupedLinear(groups, width, 3 * width) if recurrent else None

    def start(self, batch: int) -> Tensor:
        """The state before an episode's first step: zeros, (G, batch, width)."""
        weight = self.from_input.weight
        return weight.new_zeros(weight.shape[0], batch, self.width)

    @replaceable
    def advance(self, x: Tensor, state: Tensor) -> Tensor:
        """One step for P alternative inputs with the same past.

        x: (G, P, N, width); state: (G, N, width), the state before the step. Returns the states after it, (G, P, N, width).
        """
        if self.from_state is None:
            return self.gated(self.from_input(x), None, None)
        gates = self.from_input(x)
        return self.gated(gates, self.from_state(state)[:, None], state[:, None])

    @replaceable
    def unroll(self, x: Tensor, state: Tensor) -> Tensor:
        """All steps of an episode.

        x: (G, T, B, width); state: (G, B, width), the state before the episode. Returns (G, T + 1, B, width): entry t is the
        state before step t, the last entry the state after the episode.
        """
        gates = self.from_input(x)
        if self.from_state is None:
            after = self.gated(gates, None, None)
            return torch.cat([state.expand(len(after), -1, -1)[:, None], after], dim=1)
        states = [state]
        for gate in gates.unbind(1):
            state = self.gated(gate, self.from_state(state), state)
            states.append(state)
        return torch.stack(states, dim=1)

    def gated(self, gates: Tensor, past: Tensor | None, state: Tensor | None) -> Tensor:
        """The next state from the two linear maps.

        gates: `from_input` of the input, (…, 3 width); past: `from_state` of the state, same shape; state: (…, width). Both
        of the latter None stand for a state of 0 without bias. Returns (…, width).
        """
        d = self.width
        if past is None or state is None:
            update, _, candidate = gates.split(d, -1)
            return (1 - torch.sigmoid(update)) * torch.tanh(candidate)
        # `split` and not slices: the gradient of slices is a sum of arrays that are mostly zeros.
        both, candidate = gates.split((2 * d, d), -1)
        past_both, past_candidate = past.split((2 * d, d), -1)
        update, reset = torch.sigmoid(both + past_both).split(d, -1)
        candidate = torch.tanh(torch.addcmul(candidate, reset, past_candidate))
        return torch.lerp(candidate, state.expand_as(candidate), update)


@replaceable
def two_layers(wide: GroupedLinear, out: GroupedLinear, x: Tensor) -> Tensor:
    """A two-layer perceptron, out(ReLU(wide(x))); (G, …, inputs) -> (G, …, outputs)."""
    return out(wide.rectified(x))  # type: ignore[no-any-return]


def normalised(x: Tensor) -> Tensor:
    """Layer normalisation over the last axis, without gain and offset: the linear map that follows has both."""
    return torch.layer_norm(x, x.shape[-1:])
