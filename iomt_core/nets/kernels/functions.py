"""The kernels as functions of tensors that torch can differentiate; each gives `None` where the modules are to do the work."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from iomt_core.nets.backend import setting
from iomt_core.nets.kernels.library import library, ready

if TYPE_CHECKING:
    from iomt_core.nets.grouped import GroupedLinear

MOST_TOKENS = 64  # that the kernel's attention has room for


def encoder(layers: Sequence[GroupedLinear], rows: Tensor, others: Tensor | None = None) -> Tensor | None:
    """An Encoder block of `layers` project, out, wide, narrow; rows (G, P, N, d) -> (G, P, N, d).

    A row attends to itself and to the `others` (G, n, N, d), or without those to all rows.
    """
    g, tokens, *rest = rows.shape
    if others is not None:
        if [len(others), *others.shape[2:]] != [g, *rest]:
            return None
        tokens = 1 + others.shape[1]
    if tokens > MOST_TOKENS or not _wanted_for(layers, rows, others):
        return None
    return _applied(_Encoder, rows, others, *_weights(layers))


def gru_step(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor) -> Tensor | None:
    """The states of a GRU of `layers` from_input, from_state after each of P inputs: (G, P, N, d), (G, N, d) -> (G, P, N, d)."""
    return _gru(layers, rows, state, episode=False)


def gru_episode(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor) -> Tensor | None:
    """Its states before and after each of T steps: (G, T, B, d), (G, B, d) -> (G, T + 1, B, d)."""
    return _gru(layers, rows, state, episode=True)


def two_layers(layers: Sequence[GroupedLinear], rows: Tensor) -> Tensor | None:
    """The second of `layers` of what the first leaves above zero: (G, …, d) -> (G, …, outputs)."""
    return _applied(_Layers, rows, *_weights(layers)) if _wanted_for(layers, rows) else None


class Turns:
    """Q-values of one task after another, as `nets.sequential_q` computes them with tensors."""

    def __init__(self, layers: Sequence[GroupedLinear], shares: Tensor, rows: Tensor, *parts: Tensor | None) -> None:
        """`layers`, and `rows` with `parts`, in the order of `TurnMaps` and `TurnInputs` of blocks.cpp, which end with
        strategies and shares."""
        self._kept = _weights(layers)  # the kernel knows addresses only
        self._weights = _all(self._kept)
        self._parts = [None if x is None else x.contiguous() for x in (rows, *parts)]
        self._shares = shares.contiguous()
        self._shape = (len(shares), *rows.shape[1:3], layers[-1].weight.shape[-1])  # of a result, (U, P, N, outputs)
        self._hidden, self._head = layers[3].weight.shape[-1], layers[-1].weight.shape[1]

    @staticmethod
    def fit(layers: Sequence[GroupedLinear], rows: Tensor, *parts: Tensor) -> bool:
        """Whether the kernel can compute it: every network has a slice of `rows`, and no gradient is needed.

        Outside of `accelerated` only if the library is compiled already: a first decision must not wait for a compiler.
        """
        if setting() is False or torch.is_grad_enabled() or len(layers[0].weight) != len(rows):
            return False
        # The first layer reads the others' strategies, and no rows.
        return _known(layers[1:], rows, *parts, layers[0].weight) and (library() if setting() else ready()) is not None

    def __call__(self, j: int, taken: Tensor) -> Tensor:
        """Values of every pass of task j's networks, (U, P, N, outputs); strategies `taken` (U, N, J, K + 1) of 0 and 1."""
        (u, n, tasks, devices), p = taken.shape, self._shape[1]
        taken, d = taken.contiguous(), self._kept[2].shape[1]
        known = self._kept[0].shape[1] - (tasks - 1 + 2) * devices
        sizes = u, tasks, j, p, n, d, self._hidden, self._head, self._shape[3], devices, known, torch.get_num_threads()
        result = taken.new_empty(self._shape)
        inputs = [*self._parts, taken, self._shares]
        at = (ctypes.c_void_p * len(inputs))(*(_at(x) for x in inputs))
        _call("turn", (ctypes.c_int * len(sizes))(*sizes), self._weights, at, _at(result))
        return result


class _Encoder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, learning: bool, rows: Tensor, others: Tensor | None, *weights: Tensor) -> Tensor:
        rows = rows.contiguous()
        others = None if others is None else others.contiguous()
        n = 0 if others is None else others.shape[1]
        sizes = _sizes(weights[0], rows, rows.shape[1], n, weights[4].shape[-1], others is None)
        keep, result = _room(learning, "encoder_keeps", sizes, rows), torch.empty_like(rows)
        _call("encoder_forward", sizes, _all(weights), _at(rows), _at(others), _at(result), _at(keep))
        _remember(ctx, sizes, keep, weights, rows, others)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        given, slopes = _back(ctx, "encoder_backward", slope, weights_from=3)
        return None, *given, *slopes


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, learning: bool, rows: Tensor, state: Tensor, episode: bool, *weights: Tensor) -> Tensor:
        rows, state = rows.contiguous(), state.contiguous()
        g, p, n, d = rows.shape
        sizes = _sizes(weights[0], rows, p, 0, 0, episode)
        keep, result = _room(learning, "gru_keeps", sizes, rows), rows.new_empty(g, p + episode, n, d)
        _call("gru_forward", sizes, _all(weights), _at(rows), _at(state), _at(result), _at(keep))
        _remember(ctx, sizes, keep, weights, rows, state)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        given, slopes = _back(ctx, "gru_backward", slope, weights_from=4)
        return None, *given, None, *slopes


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, learning: bool, rows: Tensor, *weights: Tensor) -> Tensor:
        rows = rows.contiguous()
        outputs = weights[2].shape[-1]
        sizes = _sizes(weights[0], rows.flatten(1, -2), 1, outputs, weights[0].shape[-1], False)
        keep, result = _room(learning, "layers_keep", sizes, rows), rows.new_empty(*rows.shape[:-1], outputs)
        _call("layers_forward", sizes, _all(weights), _at(rows), _at(result), _at(keep))
        _remember(ctx, sizes, keep, weights, rows)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        given, slopes = _back(ctx, "layers_backward", slope, weights_from=2)
        return None, *given, *slopes


def _gru(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor, episode: bool) -> Tensor | None:
    # A state that stands for several slices is the modules' to spread out.
    if state.shape != (len(rows), *rows.shape[2:]) or not _wanted_for(layers, rows, state):
        return None
    return _applied(_GRU, rows, state, episode, *_weights(layers))


def _applied(function: type[torch.autograd.Function], *told: Any) -> Tensor:
    # Inside a function gradients are always off, so it is told whether there will be a backward pass.
    result: Tensor = function.apply(torch.is_grad_enabled(), *told)
    return result


def _wanted_for(layers: Sequence[GroupedLinear], rows: Tensor, *more: Tensor | None) -> bool:
    return bool(setting()) and _known(layers, rows, *more) and library() is not None


def _known(layers: Sequence[GroupedLinear], rows: Tensor, *more: Tensor | None) -> bool:
    """Whether the kernels know such tensors: plain float32 on the CPU, an equal number of slices for each network."""
    tensors = [rows, *(x for x in more if x is not None), *_weights(layers)]
    weight = layers[0].weight
    return (
        all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors)
        and all(x.is_contiguous() for x in _weights(layers))
        and rows.numel() > 0
        and len(rows) % len(weight) == 0
        and rows.shape[-1] == weight.shape[1]
    )


def _weights(layers: Sequence[GroupedLinear]) -> list[Tensor]:
    return [x for layer in layers for x in (layer.weight, layer.bias)]


def _sizes(
    weight: Tensor, rows: Tensor, passes: int, others: int, hidden: int, together: bool
) -> ctypes.Array[ctypes.c_int]:
    """`Sizes` of blocks.cpp."""
    networks, (n, d) = len(weight), rows.shape[-2:]
    fields = (networks, len(rows) // networks, passes, others, n, d, hidden, together, torch.get_num_threads())
    return (ctypes.c_int * len(fields))(*fields)


def _room(learning: bool, count: str, sizes: ctypes.Array[ctypes.c_int], like: Tensor) -> Tensor | None:
    """What the backward pass will want to know, where there is to be one."""
    return like.new_empty(getattr(library(), count)(sizes)) if learning else None


def _remember(
    ctx: Any, sizes: ctypes.Array[ctypes.c_int], keep: Tensor | None, weights: Sequence[Tensor], *inputs: Tensor | None
) -> None:
    if keep is not None:
        ctx.save_for_backward(keep, *weights)
        ctx.sizes, ctx.shapes = sizes, [None if x is None else x.shape for x in inputs]


def _back(
    ctx: Any, kernel: str, slope: Tensor, weights_from: int
) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
    """Slopes of what a block was given, and of its weights if those of any are wanted: a target's are not."""
    (keep, *weights), slope = ctx.saved_tensors, slope.contiguous()
    given = [None if shape is None else slope.new_empty(shape) for shape in ctx.shapes]
    learn = any(ctx.needs_input_grad[weights_from:])
    slopes = [torch.empty_like(x) if learn else None for x in weights]
    _call(kernel, ctx.sizes, _all(weights), _at(keep), _at(slope), *(_at(x) for x in given), _all(slopes))
    return given, slopes


def _call(name: str, *told: Any) -> None:
    kernel: Callable[..., None] = getattr(library(), name)
    kernel(*told)


def _at(x: Tensor | None) -> ctypes.c_void_p:
    """Its address; whoever calls a kernel holds the tensor until it is back."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _all(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p] | None:
    """Where all of them are; nothing where there are none."""
    if any(x is None for x in tensors):
        return None
    return (ctypes.c_void_p * len(tensors))(*(_at(x) for x in tensors))
