"""Long computations report how far they are to whoever runs them, who may stop them by an exception."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class _Watch:
    """Whom to report to, and the part of the whole that the present computation is."""

    on_progress: Callable[[float], None] | None = None
    first: float = 0.0
    last: float = 1.0
    share: float = 0.0  # of the whole, as reported last


_NOBODY = _Watch()
_watch: ContextVar[_Watch] = ContextVar("watch", default=_NOBODY)


def report(share: float | None = None) -> None:
    """Reports the share that is done of the present part, 0 to 1, or only that the computation goes on.

    Raises what `on_progress` raises to stop the computation.
    """
    watch = _watch.get()
    if watch.on_progress is None:
        return
    done = watch.share if share is None else watch.first + (watch.last - watch.first) * min(1.0, max(0.0, share))
    if share is not None:
        _watch.set(replace(watch, share=done))
    watch.on_progress(done)


@contextmanager
def watched(on_progress: Callable[[float], None]) -> Iterator[None]:
    """Inside, `on_progress` gets the share that is done, at least every few seconds; an exception of it stops the computation."""
    before = _watch.set(_Watch(on_progress))
    try:
        yield
    finally:
        _watch.reset(before)


@contextmanager
def part(first: float, last: float) -> Iterator[None]:
    """Inside, a share counts as one of the part from `first` to `last`, 0 to 1, of what was the whole."""
    whole = _watch.get()
    length = whole.last - whole.first
    before = _watch.set(_Watch(whole.on_progress, whole.first + first * length, whole.first + last * length))
    try:
        report(0.0)
        yield
    finally:
        _watch.reset(before)
