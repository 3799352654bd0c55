"""The kernels as differentiable functions of tensors; each returns None where it cannot compute and the module has to."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from iomt_core.nets.backend import setting
from iomt_core.nets.inputs import LEAST_SHARE_GENERAL, LINEAR_COST
from iomt_core.nets.kernels.library import library, ready
from iomt_core.nets.search import SMALLEST_GAIN, most_moves

if TYPE_CHECKING:
    from iomt_core.nets.grouped import GroupedLinear
    from iomt_core.nets.inputs import Inputs
    from iomt_core.nets.search import Preference

MOST_TOKENS = 64  # of the kernel's attention, as in blocks.cpp


def encoder(layers: Sequence[GroupedLinear], rows: Tensor, others: Tensor | None = None) -> Tensor | None:
    """An Encoder block; layers: project, out, wide, narrow. rows (G, P, N, d) -> (G, P, N, d).

    Each row attends to itself and to the `others` (G, n, N, d); without others all rows attend to each other.
    """
    g, tokens, *rest = rows.shape
    if others is not None:
        if [len(others), *others.shape[2:]] != [g, *rest]:
            return None
        tokens = 1 + others.shape[1]
    if tokens > MOST_TOKENS or not _computes(layers, rows, others):
        return None
    return _applied(_Encoder, rows, others, *_weights(layers))


def gru_step(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor) -> Tensor | None:
    """`GroupedGRU.advance`; layers: from_input, from_state. (G, P, N, d), (G, N, d) -> (G, P, N, d)."""
    return _gru(layers, rows, state, episode=False)


def gru_episode(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor) -> Tensor | None:
    """`GroupedGRU.unroll`; (G, T, B, d), (G, B, d) -> (G, T + 1, B, d)."""
    return _gru(layers, rows, state, episode=True)


def two_layers(layers: Sequence[GroupedLinear], rows: Tensor) -> Tensor | None:
    """A two-layer perceptron with ReLU between the `layers`: (G, …, d) -> (G, …, outputs)."""
    return _applied(_Layers, rows, *_weights(layers)) if _computes(layers, rows) else None


class Turns:
    """Q-values of one task after another, as `nets.sequential_q` computes them with tensors."""

    def __init__(self, layers: Sequence[GroupedLinear], shares: Tensor, rows: Tensor, *parts: Tensor | None) -> None:
        """layers, rows and parts stand in the order of `TurnMaps` and `TurnInputs` in blocks.cpp, which end with strategies
        and shares."""
        self._kept = _weights(layers)  # keeps them alive: the kernel has their addresses only
        self._weights = _addresses(self._kept)
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
        # The first layer's input are the others' strategies, not rows.
        return (
            _supported(layers[1:], rows, *parts, layers[0].weight) and (library() if setting() else ready()) is not None
        )

    def __call__(self, j: int, taken: Tensor) -> Tensor:
        """Values of every pass of task j's networks, (U, P, N, outputs); strategies `taken` (U, N, J, K + 1) of 0 and 1."""
        taken, result = taken.contiguous(), taken.new_empty(self._shape)
        _call("turn", self._sizes(taken, j), self._weights, self._addresses(taken), _address(result))
        return result

    def search(self, taken: Tensor, inputs: Inputs, preference: Preference, exact: bool) -> Tensor:
        """`search.search`, from the strategies `taken`; exact: whether `Inputs.local_cost` says what local tasks cost."""
        taken = taken.contiguous().clone()
        cost = inputs.local_cost if exact else None
        more = [inputs.weight.contiguous(), None if cost is None else cost.contiguous(), preference.rank.contiguous()]
        limits = *preference.margins, SMALLEST_GAIN, LINEAR_COST, LEAST_SHARE_GENERAL
        numbers = (ctypes.c_float * len(limits))(*limits)
        given = self._addresses(taken, *more)
        _call("search", self._sizes(taken, most_moves(taken.shape[2])), self._weights, given, numbers, _address(taken))
        return taken

    def _sizes(self, taken: Tensor, number: int) -> ctypes.Array[ctypes.c_int]:
        """`Turn` of blocks.cpp; `number` is the task that decides, or how many moves an agent may make."""
        (u, n, tasks, devices), p = taken.shape, self._shape[1]
        known, d = self._kept[0].shape[1] - (tasks - 1 + 2) * devices, self._kept[2].shape[1]
        sizes = (
            u,
            tasks,
            number,
            p,
            n,
            d,
            self._hidden,
            self._head,
            self._shape[3],
            devices,
            known,
            torch.get_num_threads(),
        )
        return (ctypes.c_int * len(sizes))(*sizes)

    def _addresses(self, taken: Tensor, *more: Tensor | None) -> ctypes.Array[ctypes.c_void_p]:
        inputs = [*self._parts, taken, self._shares, *more]
        return (ctypes.c_void_p * len(inputs))(*(_address(x) for x in inputs))


def own_shares(local_cost: Tensor, weight: Tensor, local: Tensor) -> Tensor | None:
    """`own_cpu.own_shares`, which takes hundreds of small operations with tensors."""
    floats = (local_cost, weight)
    if setting() is False or not all(x.dtype == torch.float32 and x.device.type == "cpu" for x in floats):
        return None
    if local.numel() == 0 or (library() if setting() else ready()) is None:
        return None
    local_cost, weight, local = (x.contiguous() for x in (*floats, local))
    u, n, *sets, j = local.shape
    sizes = u * n, math.prod(sets), j, torch.get_num_threads()
    result = weight.new_empty(local.shape)
    _call("own_shares", (ctypes.c_int * 4)(*sizes), *map(_address, (local_cost, weight, local, result)))
    return result


class _Encoder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, training: bool, rows: Tensor, others: Tensor | None, *weights: Tensor) -> Tensor:
        rows = rows.contiguous()
        others = None if others is None else others.contiguous()
        n = 0 if others is None else others.shape[1]
        sizes = _sizes(weights[0], rows, rows.shape[1], n, weights[4].shape[-1], others is None)
        keep, result = _workspace(training, "encoder_keeps", sizes, rows), torch.empty_like(rows)
        _call(
            "encoder_forward",
            sizes,
            _addresses(weights),
            _address(rows),
            _address(others),
            _address(result),
            _address(keep),
        )
        _remember(ctx, sizes, keep, weights, rows, others)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_inputs, of_weights = _back(ctx, "encoder_backward", gradient, weights_from=3)
        return None, *of_inputs, *of_weights


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, training: bool, rows: Tensor, state: Tensor, episode: bool, *weights: Tensor) -> Tensor:
        rows, state = rows.contiguous(), state.contiguous()
        g, p, n, d = rows.shape
        sizes = _sizes(weights[0], rows, p, 0, 0, episode)
        keep, result = _workspace(training, "gru_keeps", sizes, rows), rows.new_empty(g, p + episode, n, d)
        _call(
            "gru_forward", sizes, _addresses(weights), _address(rows), _address(state), _address(result), _address(keep)
        )
        _remember(ctx, sizes, keep, weights, rows, state)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_inputs, of_weights = _back(ctx, "gru_backward", gradient, weights_from=4)
        return None, *of_inputs, None, *of_weights


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, training: bool, rows: Tensor, *weights: Tensor) -> Tensor:
        rows = rows.contiguous()
        outputs = weights[2].shape[-1]
        sizes = _sizes(weights[0], rows.flatten(1, -2), 1, outputs, weights[0].shape[-1], False)
        keep, result = _workspace(training, "layers_keep", sizes, rows), rows.new_empty(*rows.shape[:-1], outputs)
        _call("layers_forward", sizes, _addresses(weights), _address(rows), _address(result), _address(keep))
        _remember(ctx, sizes, keep, weights, rows)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_inputs, of_weights = _back(ctx, "layers_backward", gradient, weights_from=2)
        return None, *of_inputs, *of_weights


def _gru(layers: Sequence[GroupedLinear], rows: Tensor, state: Tensor, episode: bool) -> Tensor | None:
    # A state that several slices share is left to the module, which broadcasts it.
    if state.shape != (len(rows), *rows.shape[2:]) or not _computes(layers, rows, state):
        return None
    return _applied(_GRU, rows, state, episode, *_weights(layers))


def _applied(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    # Inside a function gradients are always off, so whether there will be a backward pass is an argument.
    result: Tensor = function.apply(torch.is_grad_enabled(), *args)
    return result


def _computes(layers: Sequence[GroupedLinear], rows: Tensor, *more: Tensor | None) -> bool:
    return bool(setting()) and _supported(layers, rows, *more) and library() is not None


def _supported(layers: Sequence[GroupedLinear], rows: Tensor, *more: Tensor | None) -> bool:
    """Whether kernels exist for these tensors: float32 on the CPU, contiguous weights, equally many slices per network."""
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
    """The `Sizes` of blocks.cpp; `together`: rows attend to each other, or are steps of an episode."""
    networks, (n, d) = len(weight), rows.shape[-2:]
    fields = (networks, len(rows) // networks, passes, others, n, d, hidden, together, torch.get_num_threads())
    return (ctypes.c_int * len(fields))(*fields)


def _workspace(training: bool, count: str, sizes: ctypes.Array[ctypes.c_int], like: Tensor) -> Tensor | None:
    """Memory for what the backward pass needs, if there will be one."""
    return like.new_empty(getattr(library(), count)(sizes)) if training else None


def _remember(
    ctx: Any, sizes: ctypes.Array[ctypes.c_int], keep: Tensor | None, weights: Sequence[Tensor], *inputs: Tensor | None
) -> None:
    if keep is not None:
        ctx.save_for_backward(keep, *weights)
        ctx.sizes, ctx.shapes = sizes, [None if x is None else x.shape for x in inputs]


def _back(
    ctx: Any, kernel: str, gradient: Tensor, weights_from: int
) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
    """Gradients of a block's inputs, and of its weights if any is needed: a target network's are not."""
    (keep, *weights), gradient = ctx.saved_tensors, gradient.contiguous()
    of_inputs = [None if shape is None else gradient.new_empty(shape) for shape in ctx.shapes]
    needed = any(ctx.needs_input_grad[weights_from:])
    of_weights = [torch.empty_like(x) if needed else None for x in weights]
    _call(
        kernel,
        ctx.sizes,
        _addresses(weights),
        _address(keep),
        _address(gradient),
        *(_address(x) for x in of_inputs),
        _addresses(of_weights),
    )
    return of_inputs, of_weights


def _call(name: str, *args: Any) -> None:
    kernel: Callable[..., None] = getattr(library(), name)
    kernel(*args)


def _address(x: Tensor | None) -> ctypes.c_void_p:
    """The address of its data; the caller keeps the tensor alive while the kernel runs."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _addresses(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p] | None:
    """Their addresses; None if any is None."""
    if any(x is None for x in tensors):
        return None
    return (ctypes.c_void_p * len(tensors))(*(_address(x) for x in tensors))
