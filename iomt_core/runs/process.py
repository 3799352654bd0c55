"""What a training process does for itself: memory settings, threads, its device and signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import psutil
import torch

from iomt_core.scenario import ScenarioError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
NICE = 15


def prepare(threads: int) -> None:
    """Threads of torch, and glibc told to keep freed memory: a learner asks for the same large blocks at every update."""
    torch.set_num_threads(threads)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        except (OSError, AttributeError):  # another libc has its own ways
            return


def device_named(name: str) -> torch.device:
    """Where a run is computed: cpu, cuda, or cuda:N of several GPUs. Raises `ScenarioError` for one that is not here.

    On a GPU torch is told to do all that can be done in the same order every time, so that a run resumed there is the run
    that never stopped; the CPU's result it is not, for sums are taken in another order.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    allowed = ["cpu", *(["cuda", *(f"cuda:{n}" for n in range(count))] if count else [])]
    if name not in allowed:
        why = "" if count else " (torch sees no GPU that it can use here)"
        raise ScenarioError(f"device = {name[:60]!r} cannot be used: allowed is {' or '.join(allowed)}{why}.")
    if name != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(True)
        # Torch would write to all memory that is asked for, which shows errors and takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device(name)


def give_way(process: psutil.Process) -> None:
    """Long work in a session of its own is to let the dashboard and the browser go first."""
    with contextlib.suppress(psutil.Error):
        process.nice(NICE)
    # Linux weighs sessions against each other where it groups them, and then the nice of a process counts in its own only.
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text(str(NICE), encoding="ascii")


class StopSignal:
    """Turns SIGTERM and Ctrl-C into a question to be asked between batches; the second Ctrl-C is one as ever.

    SIGTSTP (Ctrl-Z) halts the process as it always does, and the time until it goes on is kept, so that it does not count
    as training.
    """

    def __init__(self) -> None:
        self.asked = False
        self.halted = 0.0  # seconds

    def __enter__(self) -> StopSignal:
        self._before = {name: signal.signal(name, self._ask) for name in (signal.SIGTERM, signal.SIGINT)}
        self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._halt)
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def __call__(self) -> bool:
        """Whether somebody asked to stop."""
        return self.asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def _halt(self, number: int, frame: FrameType | None) -> None:
        since = time.monotonic()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.halted += time.monotonic() - since
