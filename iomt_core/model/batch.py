"""Dataclasses of tensors that share a leading batch axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import lru_cache, reduce, wraps
from typing import Any, ParamSpec, Self, TypeVar, cast

import torch
from torch import Tensor


class Batch:
    """Base class of frozen dataclasses whose fields are tensors, or such dataclasses again, with one batch axis in common.

    The batch axis is the first axis of every tensor; its rows are parallel worlds or recorded steps. A field of another
    type (None, a scenario) belongs to the batch as a whole, and all methods copy it unchanged.
    """

    def select(self, rows: Tensor | slice) -> Self:
        """The given rows of the batch; `rows` is a slice, row numbers or a mask (B,) bool."""
        return _map_tensors(lambda x: x[rows], self)

    def to(self, device: torch.device) -> Self:
        """The batch on the given device; its tensors are not copied if they are there already."""
        return _map_tensors(lambda x: x.to(device), self)

    def replace_rows(self, rows: Tensor, other: Self) -> Self:
        """A copy with the rows `rows`, (n,) int64, taken from `other`, a batch of n rows."""
        return _map_tensors(lambda x, new: x.index_copy(0, rows, new), self, other)

    def replace_where(self, mask: Tensor, other: Self) -> Self:
        """This batch with the rows of `mask` taken from `other`, a batch of as many rows.

        mask: (B,) bool, or of more axes, such as (B, U), where all tensors begin with these.
        """
        if bool(mask.all()):
            return other
        return _map_tensors(
            lambda x, new: torch.where(mask.view(*mask.shape, *[1] * (x.dim() - mask.dim())), new, x), self, other
        )


B = TypeVar("B", bound=Batch)
P = ParamSpec("P")
T = TypeVar("T")


def _map_tensors(function: Callable[..., Tensor], batch: B, *others: B) -> B:
    """Applies a function to each tensor of a batch, together with the same tensor of the other batches."""

    def mapped(name: str) -> Any:
        values = [getattr(one, name) for one in (batch, *others)]
        if isinstance(values[0], Tensor):
            return function(*values)
        return _map_tensors(function, *values) if isinstance(values[0], Batch) else values[0]

    return type(batch)(**{field.name: mapped(field.name) for field in fields(batch)})  # type: ignore[arg-type]


def concatenate(batches: Sequence[B]) -> B:
    """Joins batches along the batch axis, for example the steps of an episode, which can then be decided together."""
    return _map_tensors(lambda *tensors: torch.cat(tensors), *batches)


def add_up(batches: Iterable[B]) -> B:
    """The sum of batches, tensor by tensor, in their order."""
    return reduce(lambda a, b: _map_tensors(torch.add, a, b), batches)


def without_inference_mode(batch: B) -> B:
    """A copy whose tensors autograd may use, even if the batch was computed in inference mode."""
    return _map_tensors(Tensor.clone, batch)


def without_autograd(compute: Callable[P, B]) -> Callable[P, B]:
    """Decorator for solvers, which are never differentiated: runs them in inference mode.

    They consist of thousands of small operations, and autograd's bookkeeping would take a seventh of their time. The result
    may still be used in a loss.
    """

    @wraps(compute)
    def run(*args: P.args, **kwargs: P.kwargs) -> B:
        with torch.inference_mode():
            result = compute(*args, **kwargs)
        return without_inference_mode(result)

    return run


def cached_tensors(make: Callable[P, T]) -> Callable[P, T]:
    """`lru_cache` for functions that return constant tensors.

    The tensors are made outside inference mode even if the first caller is in it, because later callers may differentiate.
    """

    @lru_cache(maxsize=32)
    @wraps(make)
    def cached(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False):
            return make(*args, **kwargs)

    return cast(Callable[P, T], cached)
