"""The process that works on a run: who it is, whether it lives, how it is started, and the lock it holds.

A process is identified by its number and start time, because the system gives numbers away again. The lock on
`worker.lock` is released by the system when the process ends for any reason, so two processes never work on one run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from iomt_core.paths import ROOT, user_folder_variables
from iomt_core.runs.directory import LOG, read_status, write_status
from iomt_core.runs.process import lower_priority, niceness
from iomt_core.scenario import ScenarioError, os_errors

LOCK, WORKER = "worker.lock", "worker.json"
START_TOLERANCE = 5.0  # seconds; two readings of a start time differ where the clock was set in between
LOCK_WAIT = 20.0  # seconds to wait for a worker that is about to end
LARGEST_PID = 2**31 - 1

_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Worker:
    """A process by number and start time (seconds since 1970)."""

    pid: int
    started: float

    @classmethod
    def current(cls) -> Worker:
        """This process."""
        return cls(os.getpid(), psutil.Process().create_time())

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None) -> Worker | None:
        """The worker named in a JSON file; None if there is none or it is invalid."""
        pid, started = (values or {}).get("pid"), (values or {}).get("started")
        if isinstance(pid, int) and 0 < pid <= LARGEST_PID and isinstance(started, (int, float)):
            with contextlib.suppress(OverflowError):
                return cls(pid, float(started))
        return None

    def is_same(self, other: Worker | None) -> bool:
        """Whether both are the same process."""
        return other is not None and self.pid == other.pid and abs(self.started - other.started) <= START_TOLERANCE

    def process(self) -> psutil.Process | None:
        """The living process, or None. A zombie does not live."""
        try:
            found = psutil.Process(self.pid)
            if not self.is_same(Worker(found.pid, found.create_time())) or found.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.Error:
            return None
        return found

    def kill(self) -> None:
        """Ends the process at once and waits until it is gone."""
        found = self.process()
        if found is not None:
            with contextlib.suppress(psutil.Error):
                found.kill()
                found.wait(LOCK_WAIT)


def launch(folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> Worker:
    """Starts `python -m iomt_core` with `command` for the run in this folder. Raises `ScenarioError`.

    The process gets a session of its own, so it outlives its starter and ignores a Ctrl-C there. It prints into the log.
    """
    _children[:] = [child for child in _children if child.poll() is None]  # lets ended children go
    nice = niceness()
    try:
        with (folder / LOG).open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "iomt_core", *command], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows has no sessions
                env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **user_folder_variables(), **environment},
            )  # fmt: skip
        _children.append(child)
        process = psutil.Process(child.pid)
        worker = Worker(child.pid, process.create_time())
        lower_priority(process, nice)
    except (OSError, psutil.Error) as error:
        raise ScenarioError(f"{folder.name!r} cannot be started: {error}.") from None
    return worker


@contextlib.contextmanager
def file_lock(path: Path, seconds: float, busy: str, what: str) -> Iterator[None]:
    """Holds the lock of a file, whose folder is made if it is missing.

    Raises `ScenarioError`: `busy` where another process holds it for so long, `what` and the reason where it cannot be used.
    """
    with os_errors(what):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            raise ScenarioError(busy) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Held by the one process that works on this run. Raises `ScenarioError` where another process holds it."""
    busy = f"{folder.name!r} is already being worked on by another process."
    with file_lock(folder / LOCK, LOCK_WAIT, busy, f"{folder.name!r} cannot be locked"):
        yield


@contextlib.contextmanager
def record_failure(folder: Path) -> Iterator[None]:
    """Writes the reason of a failure into the run's status. An `OSError` is raised again as `ScenarioError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ScenarioError):
            reason = " ".join(error.problems)
        elif isinstance(error, OSError):
            reason = f"{error.strerror or error}" + (f": {str(error.filename)!r}" if error.filename else "") + "."
        else:
            reason = f"{type(error).__name__}: {error}"
        # Where not even this can be written, the run counts as interrupted.
        with contextlib.suppress(ScenarioError):
            write_status(folder, {**read_status(folder), "state": "failed", "reason": reason, **vars(Worker.current())})
        if isinstance(error, OSError):
            raise ScenarioError(f"{folder.name!r} cannot continue: {reason}") from None
        raise
