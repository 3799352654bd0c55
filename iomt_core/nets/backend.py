"""An optional backend that computes the networks' building blocks faster; everything works without one.

A building block is an ordinary function or method marked `@replaceable`. A backend is a sub-package of `iomt_core.nets`. It
offers `REPLACEMENTS`, functions by the qualified name of the block they can compute, and `name()`, which makes the backend
ready and returns what identifies it. A replacement takes the block's arguments and returns its result, or None where the
block has to compute itself, for instance for another precision or device. No other module knows a backend: without the
sub-package the blocks simply run as they are written.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from types import ModuleType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_setting: ContextVar[bool | None] = ContextVar("accelerated", default=None)


@contextmanager
def accelerated(on: bool = True) -> Iterator[None]:
    """Within it the backend, if there is one, computes all blocks that it can; with `on` False it computes none.

    Outside of it the backend decides for itself, see `setting`. An inner context cannot turn on what an outer one turned off.
    """
    before = _setting.set(on and _setting.get() is not False)
    try:
        yield
    finally:
        _setting.reset(before)


def setting() -> bool | None:
    """Whether the innermost `accelerated` turned the backend on or off; None outside of any."""
    return _setting.get()


def replaceable(block: Callable[P, R]) -> Callable[P, R]:
    """Marks a building block that a backend may compute in its place."""
    name = block.__qualname__

    @wraps(block)
    def dispatch(*args: P.args, **kwargs: P.kwargs) -> R:
        backend = None if _setting.get() is False else _backend()
        replacement = None if backend is None else backend.REPLACEMENTS.get(name)
        result: R | None = None if replacement is None else replacement(*args, **kwargs)
        return block(*args, **kwargs) if result is None else result

    return dispatch


def backend_name() -> str | None:
    """What identifies the backend; None without one, or where it cannot run here. The first call may take some seconds."""
    backend = _backend()
    name: str | None = None if backend is None else backend.name()
    return name


@cache
def _backend() -> ModuleType | None:
    # Imported with the first block that is computed: a backend itself imports the networks.
    nets = importlib.import_module(__package__ or "iomt_core.nets")
    found = (module.name for module in pkgutil.iter_modules(nets.__path__, f"{nets.__name__}.") if module.ispkg)
    return next(map(importlib.import_module, found), None)
