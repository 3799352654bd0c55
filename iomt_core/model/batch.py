"""Dataclasses of tensors that share a leading batch axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Self, TypeVar

import torch
from torch import Tensor


class Batch:
    """Base of frozen dataclasses whose fields are tensors, or such dataclasses again, over one batch of worlds.

    A field that is neither (None, a scenario) belongs to the batch as a whole and is kept as it is.
    """

    def worlds(self, index: Tensor | slice) -> Self:
        """Some of the worlds: every tensor indexed along its first axis."""
        return type(self)(**{f.name: _pick(getattr(self, f.name), index) for f in fields(self)})  # type: ignore[arg-type]


B = TypeVar("B", bound=Batch)


def concatenate(batches: Sequence[B]) -> B:
    """Many batches as one, along the batch axis: an episode's steps become worlds that are decided together."""
    return _join(batches)  # type: ignore[no-any-return]


def _pick(value: Any, index: Tensor | slice) -> Any:
    if isinstance(value, Tensor):
        return value[index]
    return value.worlds(index) if isinstance(value, Batch) else value


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, Batch):
        return type(first)(**{f.name: _join([getattr(v, f.name) for v in values]) for f in fields(first)})  # type: ignore[arg-type]
    return first
