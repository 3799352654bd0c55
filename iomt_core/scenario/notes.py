"""Notes on how input was interpreted: it is valid, but may not be what was meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("notes", default=None)


class ScenarioWarning(UserWarning):
    """An input was accepted, but may have been meant otherwise."""


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Collect the notes of everything that is read inside the block, in this thread, instead of warning."""
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def note(text: str, doubtful: bool = True) -> None:
    """Add a note to the collector in use; without one, a doubtful reading becomes a Python `ScenarioWarning`."""
    found = _collected.get()
    if found is not None:
        found.append(text)
    elif doubtful:
        warnings.warn(text, ScenarioWarning, stacklevel=3)
