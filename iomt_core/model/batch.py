"""Dataclasses of tensors that share a leading batch axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import lru_cache, wraps
from typing import Any, ParamSpec, Self, TypeVar, cast

import torch
from torch import Tensor


class Batch:
    """Base of frozen dataclasses whose fields are tensors, or such dataclasses again, over one batch of worlds.

    A field that is neither (None, a scenario) belongs to the batch as a whole and is kept as it is.
    """

    def select(self, index: Tensor | slice) -> Self:
        """Some of the worlds: every tensor indexed along its first axis."""
        return type(self)(**{f.name: _pick(getattr(self, f.name), index) for f in fields(self)})  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Self:
        """The same on another device; itself where it is there."""
        return type(self)(**{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})  # type: ignore[arg-type]

    def replace_rows(self, index: Tensor, worlds: Self) -> Self:
        """A copy in which the worlds of these numbers are others."""
        return type(self)(**{f.name: _put(getattr(self, f.name), index, getattr(worlds, f.name)) for f in fields(self)})  # type: ignore[arg-type]


B = TypeVar("B", bound=Batch)
P = ParamSpec("P")
T = TypeVar("T")


def without_autograd(compute: Callable[P, B]) -> Callable[P, B]:
    """For solvers of thousands of small operations, a seventh of whose time is autograd's bookkeeping.

    What comes back are ordinary tensors: a learner may use them in a loss.
    """

    @wraps(compute)
    def run(*args: P.args, **kwargs: P.kwargs) -> B:
        with torch.inference_mode():
            found = compute(*args, **kwargs)
        return without_inference_mode(found)

    return run


def cached_tensors(make: Callable[P, T]) -> Callable[P, T]:
    """`lru_cache` for functions whose tensors last: ordinary ones, whoever asks first, for they may stand in losses too."""

    @lru_cache(maxsize=32)
    @wraps(make)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False):
            return make(*args, **kwargs)

    return cast(Callable[P, T], remembered)


def without_inference_mode(batch: B) -> B:
    """A copy whose tensors know nothing of the inference mode that they may come from."""
    return type(batch)(**{f.name: _ordinary(getattr(batch, f.name)) for f in fields(batch)})  # type: ignore[arg-type]


def concatenate(batches: Sequence[B]) -> B:
    """Many batches as one, along the batch axis: an episode's steps become worlds that are decided together."""
    return _join(batches)  # type: ignore[no-any-return]


def _ordinary(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return without_inference_mode(value) if isinstance(value, Batch) else value


def _pick(value: Any, index: Tensor | slice) -> Any:
    if isinstance(value, Tensor):
        return value[index]
    return value.select(index) if isinstance(value, Batch) else value


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, (Tensor, Batch)) else value


def _put(value: Any, index: Tensor, other: Any) -> Any:
    if isinstance(value, Tensor):
        return value.index_copy(0, index, other)
    return value.replace_rows(index, other) if isinstance(value, Batch) else value


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, Batch):
        return type(first)(**{f.name: _join([getattr(v, f.name) for v in values]) for f in fields(first)})  # type: ignore[arg-type]
    return first
