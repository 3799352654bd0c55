"""A process of its own beside the dashboard: it reports how far it is, and stops what nobody waits for any more.

A thread would not do: an episode takes thousands of small operations, and threads that compute such take turns, so that the
dashboard would need twice as long for every answer.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from threading import RLock, Thread
from typing import Any

import numpy as np
import psutil

from iomt_core.model import progress

NICE = 5
IDLE_SECONDS = 3600  # after which the process ends; the next task starts another
SLOTS = 4096  # tasks that can be watched at one time
UNTIL, SHARE = (
    0,
    1,
)  # columns of the board: when nobody waits any more, s of the monotonic clock; and the share that is done


class StoppedError(Exception):
    """Nobody waits for the result any more."""


@dataclass(frozen=True)
class Task:
    """Something that a process computes, or has computed."""

    number: int
    future: Future[Any]
    process: BackgroundProcess

    @property
    def stopped(self) -> bool:
        """Whether it was given up before it was done."""
        return self.future.done() and (self.future.cancelled() or isinstance(self.future.exception(), StoppedError))


class BackgroundProcess:
    """One process that computes one task after the other.

    It shares a file with the dashboard, the board: each task has a place there for how long somebody waits for it, and for how
    far it is.
    """

    def __init__(self) -> None:
        self._executor: Any = None
        self._board: Any = None
        self._number = 0
        self._lock = RLock()  # not a plain lock: a callback may run in the thread that holds it

    def submit(self, compute: Callable[..., Any], *arguments: Any, seconds: float = math.inf) -> Task:
        """Begins `compute(*arguments)` when all before it is done; given up after `seconds`, unless `wait_for` prolongs that."""
        with self._lock:
            if self._board is None:
                self._board = _new_board()
            self._number += 1
            self._place(self._number)[:] = time.monotonic() + seconds, 0.0
            if self._executor is not None:
                with contextlib.suppress(BrokenExecutor):  # its process was killed
                    return self._begun(compute, *arguments)
            self._executor = _new_executor(self._board.filename)
            return self._begun(compute, *arguments)

    def _begun(self, compute: Callable[..., Any], *arguments: Any) -> Task:
        return Task(self._number, self._executor.submit(_run, self._number, compute, *arguments), self)

    def wait_for(self, task: Task, seconds: float) -> None:
        """Somebody waits for the task, from now on at least so long."""
        with self._lock:
            if self._board is not None:
                self._place(task.number)[UNTIL] = time.monotonic() + seconds

    def stop(self, task: Task) -> None:
        """Gives the task up, also if it has begun."""
        self.wait_for(task, -1.0)
        task.future.cancel()

    def share(self, task: Task) -> float:
        """The share of the task that is done, 0 to 1."""
        with self._lock:
            if task.future.done() or self._board is None:
                return 1.0 if task.future.done() else 0.0
            return float(self._place(task.number)[SHARE])

    def close(self) -> None:
        """Ends the process at once. Without this, the end of the program waits for all tasks."""
        with self._lock:
            executor, self._executor = self._executor, None
            board, self._board = self._board, None
        if executor is not None:
            executor.shutdown(kill_workers=True)
        if board is not None:
            with contextlib.suppress(OSError):
                os.unlink(board.filename)

    def _place(self, number: int) -> Any:
        return self._board[number % SLOTS]


def _new_board() -> Any:
    handle, path = tempfile.mkstemp(prefix="iomt-board-")
    os.close(handle)
    return np.memmap(path, dtype=np.float64, mode="w+", shape=(SLOTS, 2))


def _new_executor(board: str) -> Any:
    # Not that of `concurrent.futures`: its new process would run the dashboard's page, which is the main module there. Nor
    # loky's reusable one: each thread has its own, and the dashboard has a new thread for each run of a page.
    # loky takes growth for a leak and would start the process anew; here it is the caches, which are limited.
    os.environ.setdefault("LOKY_MAX_MEMORY_LEAK_SIZE", "4e9")
    from loky import ProcessPoolExecutor  # it ends its process at exit; only who asks for something needs it

    return ProcessPoolExecutor(max_workers=1, timeout=IDLE_SECONDS, initializer=_prepare, initargs=(board,))


_board: Any = None  # of this process, if it is the one beside the dashboard


def _prepare(board: str) -> None:
    """Runs in the new process: lowers its priority, and ends it when the dashboard is gone."""
    global _board
    _board = np.memmap(board, dtype=np.float64, mode="r+", shape=(SLOTS, 2))
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE))
    Thread(target=_end_with, args=(psutil.Process().parent(),), daemon=True).start()


def _run(number: int, compute: Callable[..., Any], *arguments: Any) -> Any:
    place = _board[number % SLOTS]

    def on_progress(share: float) -> None:
        place[SHARE] = share
        if place[UNTIL] < time.monotonic():
            raise StoppedError

    with progress.watched(on_progress):
        progress.report(0.0)
        return compute(*arguments)


def _end_with(parent: psutil.Process | None) -> None:
    while parent is not None and parent.is_running():
        time.sleep(1.0)
    os._exit(1)
