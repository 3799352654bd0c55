"""The process that trains a run: who it is, whether it still lives, how it is started, halted and let go on.

A process is known by its number and the time it began, so that a number that the system has given away again is not taken
for it. While it trains it holds the lock on `worker.lock` in the run's directory, which the system lets go of when the
process ends, however it ends: two processes never train one run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from iomt_core.places import ROOT
from iomt_core.runs.process import give_way
from iomt_core.scenario import ScenarioError

SEAT, LOG, WORKER = "worker.lock", "worker.log", "worker.json"
SAME_START = 5.0  # seconds by which two readings of one process's beginning may differ, where the clock was set between
SEAT_WAIT = 20.0  # seconds that a worker waits for one that is just leaving
LARGEST_PID = 2**31 - 1

_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Worker:
    """A process by number and beginning (seconds since 1970)."""

    pid: int
    started: float

    @classmethod
    def me(cls) -> Worker:
        """This process."""
        return cls(os.getpid(), psutil.Process().create_time())

    @classmethod
    def of(cls, facts: Mapping[str, Any] | None) -> Worker | None:
        """The one that a file tells of; nothing where it tells of none."""
        pid, started = (facts or {}).get("pid"), (facts or {}).get("started")
        if isinstance(pid, int) and 0 < pid <= LARGEST_PID and isinstance(started, (int, float)):
            with contextlib.suppress(OverflowError):
                return cls(pid, float(started))
        return None

    def same(self, other: Worker | None) -> bool:
        """Whether both mean one process."""
        return other is not None and self.pid == other.pid and abs(self.started - other.started) <= SAME_START

    def process(self) -> psutil.Process | None:
        """The process, if it still lives; a dead one that nobody has asked after yet does not."""
        try:
            found = psutil.Process(self.pid)
            if not self.same(Worker(found.pid, found.create_time())) or found.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.Error:
            return None
        return found

    @property
    def halted(self) -> bool:
        """Whether it lives, but is held."""
        found = self.process()
        try:
            return found is not None and found.status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def halt(self, listens: bool) -> None:
        """Holds it where it is. One that `listens` holds itself, and so knows how long; see `process.StopSignal`."""
        self._send(signal.SIGTSTP if listens else signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        found = self.process()
        if found is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.send_signal(number)


def launch(place: Path) -> Worker:
    """Starts a worker that goes on with the run in this directory; what it says goes to its log. Raises `ScenarioError`.

    It is a session of its own: it outlives whoever started it, and a Ctrl-C there.
    """
    _children[:] = [child for child in _children if child.poll() is None]  # asks after the dead, so that they can go
    command = [sys.executable, "-m", "iomt_core", "train", "--resume", os.fspath(place.resolve()), "--threads", "1"]
    try:
        with (place / LOG).open("wb") as log:
            child = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "IOMT_RUNS": os.fspath(place.resolve().parent), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
            )  # fmt: skip
        _children.append(child)
        process = psutil.Process(child.pid)
        worker = Worker(child.pid, process.create_time())
        give_way(process)
    except (OSError, psutil.Error) as error:
        raise ScenarioError(f"run = {place.name!r} cannot be started: {error}.") from None
    return worker


@contextlib.contextmanager
def seat(place: Path) -> Iterator[None]:
    """Held by the one process that trains this run. Raises `ScenarioError` where another one does."""
    if not place.is_dir():  # the lock would make it
        raise ScenarioError(f"resume = {str(place)!r} is not a run: there is no such directory.")
    lock = FileLock(place / SEAT)
    try:
        lock.acquire(timeout=SEAT_WAIT)
    except Timeout:
        raise ScenarioError(f"run = {place.name!r} is being trained by another process.") from None
    except OSError as error:
        raise ScenarioError(f"run = {place.name!r} cannot be locked: {error.strerror}.") from None
    try:
        yield
    finally:
        lock.release()


def read_json(path: Path) -> dict[str, Any] | None:
    """A small file of the run; nothing where it is missing or cannot be read."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None
