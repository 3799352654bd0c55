"""Layers of G networks at once: weights stacked along a first axis, one batched matmul for all of them.

Tensors are (G, …, width): G networks, any batch axes, features. No value of one group ever meets another's. Where a
network has several tokens or passes, their axis stands before the batch's, (G, P, N, width): what all passes share is then
added to them in long contiguous runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from iomt_core.nets.kernels import functions as kernels


class GroupedLinear(nn.Module):
    """G affine maps; (G, …, inputs) -> (G, …, outputs). Initialised as `nn.Linear` is, times `gain`.

    They may be `maps` a network: G is then networks x maps, a network's maps in a row. A layer of one group serves any
    number of slices alike, and one that is given fewer inputs than it has takes those that are left out as 0.
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
        """The G maps, each on its own slice."""
        return _map(x, self.weight, self.bias)

    def rectified(self, x: Tensor) -> Tensor:
        """The G maps and max(0, ·) of them; in place before the result is a view, where it costs no copies."""
        return _flat(x, self.weight, self.bias).relu_().view(*x.shape[:-1], -1)

    def part(self, x: Tensor, outputs: slice) -> Tensor:
        """Some of the outputs only."""
        return _map(x, self.weight[..., outputs], self.bias[..., outputs])


def shared(module: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Every parameter that several networks have each a slice of, and how many they are."""
    for layer in module.modules():
        if isinstance(layer, GroupedLinear) and layer.networks > 1:
            for parameter in layer.parameters():
                yield parameter, layer.networks


@torch.no_grad()
def make_equal(values: Tensor, networks: int) -> None:
    """Gives every network's slice of `values` their mean."""
    slices = values.view(networks, -1)
    slices.copy_(slices.mean(0, keepdim=True).expand_as(slices))


def _map(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _flat(x, weight, bias).view(*x.shape[:-1], weight.shape[-1])


def _flat(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.shape[-1] < weight.shape[1]:
        weight = weight[:, : x.shape[-1]]
    return torch.baddbmm(bias, x.reshape(len(weight), -1, x.shape[-1]), weight)


class GroupedGRU(nn.Module):
    """G gated recurrent units (Cho et al. 2014); without `recurrent` the state is taken as zero at every step.

    `advance` makes one step for any number of candidate inputs that share a past; `unroll` a whole episode.
    """

    def __init__(self, groups: int, width: int, recurrent: bool = True) -> None:
        super().__init__()
        self.width, self.recurrent = width, recurrent
        self.from_input = GroupedLinear(groups, width, 3 * width)
        self.from_state = GroupedLinear(groups, width, 3 * width) if recurrent else None

    def start(self, batch: int) -> Tensor:
        """The state at an episode's first step, (G, batch, width)."""
        weight = self.from_input.weight
        return weight.new_zeros(weight.shape[0], batch, self.width)

    def advance(self, x: Tensor, state: Tensor) -> Tensor:
        """One step: `x` (G, P, N, width), the past of all P, `state` (G, N, width) -> new states, (G, P, N, width)."""
        if self.from_state is None:
            return self.gated(self.from_input(x), None, None)
        if (done := kernels.gru_step((self.from_input, self.from_state), x, state)) is not None:
            return done
        gates = self.from_input(x)
        return self.gated(gates, self.from_state(state)[:, None], state[:, None])

    def unroll(self, x: Tensor, state: Tensor) -> Tensor:
        """A whole episode: `x` (G, T, B, width), the state before it (G, B, width) -> (G, T + 1, B, width).

        Entry t of the result is the state before step t, so the last one is the state after the episode.
        """
        if self.from_state is not None:
            done = kernels.gru_episode((self.from_input, self.from_state), x, state)
            if done is not None:
                return done
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
        """The state after `state`, from what the maps made of the input, `gates`, and of it, `past`."""
        d = self.width
        if past is None or state is None:
            update, _, candidate = gates.split(d, -1)
            return (1 - torch.sigmoid(update)) * torch.tanh(candidate)
        # Split and not sliced: the gradient of slices is a sum of arrays that are mostly zeros.
        both, candidate = gates.split((2 * d, d), -1)
        past_both, past_candidate = past.split((2 * d, d), -1)
        update, reset = torch.sigmoid(both + past_both).split(d, -1)
        candidate = torch.tanh(torch.addcmul(candidate, reset, past_candidate))
        return torch.lerp(candidate, state.expand_as(candidate), update)


def two_layers(wide: GroupedLinear, out: GroupedLinear, x: Tensor) -> Tensor:
    """`out` of max(0, `wide`), each network's on its own slice; (G, …, inputs) -> (G, …, outputs)."""
    done = kernels.two_layers((wide, out), x)
    return out(wide.rectified(x)) if done is None else done


def normalised(x: Tensor) -> Tensor:
    """Layer normalisation without gain and offset: the linear map behind it has both."""
    return torch.layer_norm(x, x.shape[-1:])
