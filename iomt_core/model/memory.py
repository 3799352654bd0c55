"""What a computation may take of the machine's memory: sizes that would exceed it are refused before anything is allocated."""

from __future__ import annotations

import psutil

from iomt_core.scenario import ScenarioError

UNCHECKED = 2e8  # bytes that are always there
USABLE = 0.8  # part of the memory that is free


def check_memory(what: str, needed: float) -> None:
    """Raise `ScenarioError` if a computation needs more than is free. what: in plural, such as "certificates"; needed: bytes."""
    if needed <= UNCHECKED:
        return
    free = USABLE * psutil.virtual_memory().available
    if needed > free:
        raise ScenarioError(
            f"{what} would need about {needed / 1e9:.3g} GB of memory; {free / 1e9:.3g} GB are free. Take fewer users, tasks, "
            "servers, steps or episodes."
        )
