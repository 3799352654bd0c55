"""The kernels as functions of tensors that torch can differentiate; each gives `None` where the modules are to do the work."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from iomt_core.nets.kernels.library import library, ready

if TYPE_CHECKING:
    from iomt_core.nets.grouped import GroupedLinear

MOST_TOKENS = 64  # that the kernel's attention has room for

_wanted: ContextVar[bool | None] = ContextVar("compiled kernels", default=None)


@contextmanager
def compiled(wanted: bool = True) -> Iterator[None]:
    """Inside, blocks and turns use the kernels wherever they can, and have them compiled; or, not `wanted`, never.

    Elsewhere blocks do not, and turns, of which decisions are made, do if the kernels are there already.
    """
    before = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(before)


def encoder(layers: Sequence[GroupedLinear], rows: Tensor, others: Tensor | None = None) -> Tensor | None:
    """An Encoder block of `layers` project, out, wide, narrow; rows (G, P, N, d) -> (G, P, N, d).

    A row attends to itself and to the `others` (G, n, N, d), or without those to all rows.
    """
    tokens = rows.shape[1] if others is None else 1 + others.shape[1]
    if not _can(layers, rows) or tokens > MOST_TOKENS:
        return None
    result: Tensor = _Encoder.apply(  # type: ignore[no-untyped-call]
        rows, others, *_weights(layers)
    )
    return result


def gru_step(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor) -> Tensor | None:
    """The states of a GRU of `layers` from_input, from_state after each of P inputs: (G, P, N, d), (G, N, d) -> (G, P, N, d)."""
    if not _can(layers, rows):
        return None
    result: Tensor = _GRU.apply(  # type: ignore[no-untyped-call]
        rows, state, False, *_weights(layers)
    )
    return result


def gru_episode(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor) -> Tensor | None:
    """Its states before and after each of T steps: (G, T, B, d), (G, B, d) -> (G, T + 1, B, d)."""
    if not _can(layers, rows):
        return None
    result: Tensor = _GRU.apply(  # type: ignore[no-untyped-call]
        rows, state, True, *_weights(layers)
    )
    return result


def two_layers(layers: Sequence[GroupedLinear], rows: Tensor) -> Tensor | None:
    """The second of `layers` of what the first leaves above zero: (G, …, d) -> (G, …, outputs)."""
    if not _can(layers, rows):
        return None
    result: Tensor = _Layers.apply(  # type: ignore[no-untyped-call]
        rows, *_weights(layers)
    )
    return result


class Turns:
    """What one task's networks say in its turn; see `nets.in_turn`, where the parts of a step are named."""

    def __init__(
        self,
        layers: Sequence[GroupedLinear],
        shares: Tensor,
        outputs: int,
        known: int,
        parts: Sequence[Tensor | None],
    ) -> None:
        """`layers` and `parts` in the order of `TurnMaps` and `TurnInputs` of blocks.cpp, which end with choices and shares."""
        rows, hidden, head = parts[0], layers[3].weight.shape[-1], layers[-1].weight.shape[1]
        assert rows is not None
        (u, self._n, j, _), (_, self._p, _, d) = shares.shape, rows.shape
        self._outputs, self._users = outputs, u
        self._sizes = [u, j, 0, self._p, self._n, d, hidden, head, outputs, 0, known, torch.get_num_threads()]
        self._shares = shares.contiguous()
        self._parts = [None if x is None else x.contiguous() for x in parts]
        self._kept = _weights(layers)  # the kernel knows addresses only
        self._weights = _all(self._kept)

    @staticmethod
    def fit(layers: Sequence[GroupedLinear], tokens: Tensor) -> bool:
        """Whether the kernel can do it, which has no gradient."""
        wanted = _wanted.get()
        if wanted is False or torch.is_grad_enabled() or not _fit(layers[1:], tokens):
            return False
        return (library() if wanted else ready()) is not None

    def __call__(self, j: int, taken: Tensor) -> Tensor:
        """Values of every pass of task j's networks, (U, P, N, outputs); strategies `taken` (U, N, J, K + 1) of 0 and 1."""
        self._sizes[2], self._sizes[9] = j, taken.shape[-1]
        taken = taken.contiguous()
        result = taken.new_empty(self._users, self._p, self._n, self._outputs)
        inputs = (ctypes.c_void_p * 9)(*(_at(x) for x in (*self._parts, taken, self._shares)))
        _call("turn", (ctypes.c_int * len(self._sizes))(*self._sizes), self._weights, inputs, _at(result))
        return result


def _can(layers: Sequence[GroupedLinear], rows: Tensor) -> bool:
    return bool(_wanted.get()) and _fit(layers, rows) and library() is not None


def _fit(layers: Sequence[GroupedLinear], rows: Tensor) -> bool:
    weight = layers[0].weight
    return (
        rows.device.type == "cpu"
        and rows.dtype == weight.dtype == torch.float32
        and rows.numel() > 0
        and len(rows) % len(weight) == 0
        and rows.shape[-1] == weight.shape[1]
    )


def _weights(layers: Sequence[GroupedLinear]) -> list[Tensor]:
    return [x for layer in layers for x in (layer.weight, layer.bias)]


class _Encoder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, others: Tensor | None, *weights: Tensor) -> Tensor:
        rows = rows.contiguous()
        others = None if others is None else others.contiguous()
        sizes = _sizes(
            weights[0],
            rows,
            rows.shape[1],
            0 if others is None else others.shape[1],
            weights[4].shape[-1],
            others is None,
        )
        keep = _room(ctx, "encoder_keeps", sizes)
        result = torch.empty_like(rows)
        _call("encoder_forward", sizes, _all(weights), _at(rows), _at(others), _at(result), _at(keep))
        if keep is not None:
            ctx.save_for_backward(keep, *weights)
            ctx.sizes, ctx.shapes = sizes, (rows.shape, None if others is None else others.shape)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        keep, *weights = ctx.saved_tensors
        of_rows, of_others = (None if shape is None else slope.new_empty(shape) for shape in ctx.shapes)
        slopes = _slopes(weights, ctx.needs_input_grad[2:])
        _call(
            "encoder_backward", ctx.sizes, _all(weights), _at(keep), _at(slope.contiguous()), _at(of_rows), _at(of_others),
            _all(slopes),
        )  # fmt: skip
        return of_rows, of_others, *slopes


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, state: Tensor, episode: bool, *weights: Tensor) -> Tensor:
        rows, state = rows.contiguous(), state.contiguous()
        g, p, n, d = rows.shape
        sizes = _sizes(weights[0], rows, p, 0, 0, episode)
        keep = _room(ctx, "gru_keeps", sizes)
        result = rows.new_empty(g, p + episode, n, d)
        _call("gru_forward", sizes, _all(weights), _at(rows), _at(state), _at(result), _at(keep))
        if keep is not None:
            ctx.save_for_backward(keep, *weights)
            ctx.sizes, ctx.shapes = sizes, (rows.shape, state.shape)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        keep, *weights = ctx.saved_tensors
        of_rows, of_state = (slope.new_empty(shape) for shape in ctx.shapes)
        slopes = _slopes(weights, ctx.needs_input_grad[3:])
        _call(
            "gru_backward", ctx.sizes, _all(weights), _at(keep), _at(slope.contiguous()), _at(of_rows), _at(of_state),
            _all(slopes),
        )  # fmt: skip
        return of_rows, of_state, None, *slopes


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, *weights: Tensor) -> Tensor:
        rows = rows.contiguous()
        outputs = weights[2].shape[-1]
        sizes = _sizes(weights[0], rows.flatten(1, -2), 1, outputs, weights[0].shape[-1], False)
        keep = _room(ctx, "layers_keep", sizes)
        result = rows.new_empty(*rows.shape[:-1], outputs)
        _call("layers_forward", sizes, _all(weights), _at(rows), _at(result), _at(keep))
        if keep is not None:
            ctx.save_for_backward(keep, *weights)
            ctx.sizes, ctx.shape = sizes, rows.shape
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        keep, *weights = ctx.saved_tensors
        of_rows = slope.new_empty(ctx.shape)
        slopes = _slopes(weights, ctx.needs_input_grad[1:])
        _call(
            "layers_backward", ctx.sizes, _all(weights), _at(keep), _at(slope.contiguous()), _at(of_rows), _all(slopes)
        )
        return of_rows, *slopes


def _sizes(
    weight: Tensor, rows: Tensor, passes: int, others: int, hidden: int, together: bool
) -> ctypes.Array[ctypes.c_int]:
    """`Sizes` of blocks.cpp."""
    networks, (n, d) = len(weight), rows.shape[-2:]
    fields = (networks, len(rows) // networks, passes, others, n, d, hidden, together, torch.get_num_threads())
    return (ctypes.c_int * len(fields))(*fields)


def _room(ctx: Any, count: str, sizes: ctypes.Array[ctypes.c_int]) -> Tensor | None:
    """What the backward pass will want to know, where there is to be one."""
    if not any(ctx.needs_input_grad):
        return None
    return torch.empty(getattr(library(), count)(sizes))


def _slopes(weights: Sequence[Tensor], wanted: Sequence[bool]) -> Sequence[Tensor | None]:
    """Room for the slopes of weights, if those of any are wanted: a target's are not."""
    return [torch.empty_like(x) if any(wanted) else None for x in weights]


def _call(name: str, *told: Any) -> None:
    kernel: Callable[..., None] = getattr(library(), name)
    kernel(*told)


def _at(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _all(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p] | None:
    """Where all of them are; nothing where there are none."""
    if any(x is None for x in tensors):
        return None
    return (ctypes.c_void_p * len(tensors))(*(_at(x) for x in tensors))
