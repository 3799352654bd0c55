"""Settings of a working process: memory, threads, device, priority, and requests to stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import psutil
import torch

from iomt_core.runs.directory import STOP
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.links import whole_number

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
NICE = 15  # unless IOMT_NICE says another


def prepare(threads: int) -> None:
    """Sets torch's threads, and lets glibc keep freed memory: a learner allocates the same large blocks at every update."""
    torch.set_num_threads(threads)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        except (OSError, AttributeError):  # another libc
            return


def device_named(name: str) -> torch.device:
    """The torch device of this name: cpu, cuda, or cuda:N. Raises `ScenarioError` for one that this machine lacks.

    On a GPU, torch is set to deterministic algorithms, so that a resumed run equals one that never stopped. Its result
    differs from the CPU's, because sums are taken in another order.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    allowed = ["cpu", *(["cuda", *(f"cuda:{n}" for n in range(count))] if count else [])]
    if name not in allowed:
        why = "" if count else " (torch sees no GPU that it can use here)"
        raise ScenarioError(f"device = {name[:60]!r} cannot be used: allowed is {' or '.join(allowed)}{why}.")
    if name != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(True)
        # Torch would fill all new memory, which helps to find errors and takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device(name)


def niceness() -> int:
    """How far workers step back behind other programs, 0 to 19: IOMT_NICE, or 15. Raises `ScenarioError`."""
    text = os.environ.get("IOMT_NICE", str(NICE))
    nice = whole_number(text, 0, 19)
    if nice is None:
        raise ScenarioError(f"IOMT_NICE = {text[:40]!r} cannot be used: allowed is 0 to 19.")
    return nice


def lower_priority(process: psutil.Process, nice: int) -> None:
    """Lowers a process's priority, so that the dashboard and the browser run first. `nice`: see `niceness`; 0 changes nothing."""
    if not nice:
        return
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        process.nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", nice))  # Windows has priority classes
    # Where Linux groups sessions for scheduling, nice counts within a session only and the group has its own.
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text(str(nice), encoding="ascii")


class StopRequest:
    """Tells a worker between two units of work whether it was asked to stop: by SIGTERM, Ctrl-C or the run's `stop` file.

    A second Ctrl-C raises `KeyboardInterrupt` as usual.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._signalled = folder / STOP, False

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self._signalled or self._file.exists()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True
