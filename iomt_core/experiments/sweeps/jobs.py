"""Sweeps as processes of their own: begun, watched, cancelled and taken up again by name, from whoever asks.

All there is to know of a sweep stands in its directory, so that it outlives a closed tab and a server that starts anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from iomt_core.experiments.sweeps.executors import checked_address, checked_workers
from iomt_core.experiments.sweeps.points import Store
from iomt_core.experiments.sweeps.run import ENDS, SPEC, STATUS, Sweep, process
from iomt_core.experiments.sweeps.spec import SweepSpec
from iomt_core.places import ROOT, user_directory
from iomt_core.runs.process import give_way
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import runs_place

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
LOG = "log.txt"
_starting = threading.Lock()


def sweeps_place() -> Path:
    """The directory of a user's own sweeps: IOMT_SWEEPS, or `sweeps/`."""
    return user_directory("sweeps", "IOMT_SWEEPS")


def store() -> Store:
    """The points that were ever computed there, shared by all sweeps."""
    return Store(sweeps_place() / ".points")


def checked_name(name: str) -> str:
    """A sweep's name. Raises `ScenarioError` where it could be anything but a directory's."""
    if NAME.fullmatch(name) is None:
        raise ScenarioError(
            f"name = {name[:60]!r} cannot be used: allowed are 1 to 60 letters, digits, - and _, a letter or digit first."
        )
    return name


@dataclass(frozen=True)
class Job:
    """How a sweep stands: `state` is new, running, cancelling, interrupted, or one of `sweep_run.ENDS`."""

    name: str
    place: Path
    state: str
    status: Mapping[str, Any]

    @property
    def alive(self) -> bool:
        """Whether a process works on it."""
        return self.state in ("running", "cancelling")

    @property
    def resumable(self) -> bool:
        """Whether there is something left to do and nobody does it."""
        return self.state in ("new", "interrupted", "cancelled", "failed")


def job(name: str) -> Job:
    """The sweep of this name. Raises `ScenarioError` where there is none."""
    place = sweeps_place() / checked_name(name)
    if not (place / SPEC).is_file():
        raise ScenarioError(f"name = {name!r} is not a sweep: allowed is {', '.join(names()) or 'none yet'}.")
    status = _status(place)
    state = status.get("state")
    if state in ENDS:
        found = str(state)
    elif not status:
        found = "new"
    elif _lives(status):
        found = "cancelling" if state == "cancelling" else "running"
    else:
        found = "interrupted"
    return Job(name, place, found, status)


def names() -> list[str]:
    """All sweeps, the latest first."""
    found = [file for file in sweeps_place().glob(f"*/{SPEC}") if NAME.fullmatch(file.parent.name)]
    return [file.parent.name for file in sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)]


def running() -> Job | None:
    """The sweep that a process works on, if any."""
    return next((one for one in map(job, names()) if one.alive), None)


def start(name: str, spec: SweepSpec, workers: int | None = None, cluster: str | None = None) -> Job:
    """Begins a sweep in a process of its own. Raises `ScenarioError` where one runs already, or the name is taken."""
    place = sweeps_place() / checked_name(name)
    if (place / SPEC).exists():
        raise ScenarioError(f"name = {name!r} is taken: choose another one, or delete that sweep.")
    with _starting:
        _alone()
        Sweep.create(place, spec, store())
        return _spawn(name, place, workers, cluster)


def resume(name: str, workers: int | None = None, cluster: str | None = None) -> Job:
    """Goes on with a sweep that was cancelled, interrupted or failed. Raises `ScenarioError`."""
    with _starting:
        found = job(name)
        if not found.resumable:
            raise ScenarioError(f"name = {name!r} cannot be resumed: it is {found.state}.")
        _alone()
        return _spawn(name, found.place, workers, cluster)


def cancel(name: str) -> None:
    """Asks a sweep to stop; what is done stays. A sweep that is asked twice stops without finishing points under way."""
    found = job(name)
    if not found.alive:
        return
    try:
        asked = psutil.Process(int(found.status["pid"]))
        asked.send_signal(signal.SIGTERM)
        if found.state == "cancelling":
            asked.kill()
    except psutil.Error:
        return


def delete(name: str) -> None:
    """Removes a sweep's directory; its points stay in the store. Raises `ScenarioError` while it runs."""
    found = job(name)
    if found.alive:
        raise ScenarioError(f"name = {name!r} cannot be deleted while it runs: cancel it first.")
    shutil.rmtree(found.place, ignore_errors=True)


def log_end(name: str) -> str:
    """The last lines that a sweep's process wrote."""
    try:
        text = (sweeps_place() / checked_name(name) / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-6:])


def _alone() -> None:
    other = running()
    if other is not None:
        raise ScenarioError(f"a sweep runs already: {other.name!r}. One runs at a time: wait for it, or cancel it.")


def _spawn(name: str, place: Path, workers: int | None, cluster: str | None) -> Job:
    words = [sys.executable, "-m", "iomt_core", "sweep", "--resume", str(place.resolve())]
    if cluster is not None:
        words += ["--cluster", checked_address(cluster)]
    elif workers is not None:
        words += ["--workers", str(checked_workers(workers))]
    with (place / LOG).open("w", encoding="utf-8") as log:
        begun = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={
                **os.environ, "IOMT_RUNS": str(runs_place()), "IOMT_SWEEPS": str(sweeps_place()), "OMP_NUM_THREADS": "1"
            },
        )  # fmt: skip
    with contextlib.suppress(psutil.Error):  # it may have ended already
        give_way(psutil.Process(begun.pid))
    # Until the process speaks for itself this is what it is known by; it overwrites it only once it has begun.
    before = _status(place)
    kept: dict[str, Any] = {each: before[each] for each in ("done", "total", "cached") if each in before}
    status: dict[str, Any] = {
        "done": 0,
        "cached": 0,
        **kept,
        **process(begun.pid),
        "state": "running",
        "time": time.time(),
    }
    write_text_atomically(place / STATUS, json.dumps(status) + "\n")
    threading.Thread(target=begun.wait, daemon=True).start()  # so that no zombie is left
    return job(name)


def _status(place: Path) -> dict[str, Any]:
    try:
        found = json.loads((place / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lives(status: Mapping[str, Any]) -> bool:
    """Whether the very process that wrote the status is there; a number alone may belong to another by now."""
    try:
        found = psutil.Process(int(status["pid"]))
        same = abs(found.create_time() - float(status["process_began"])) < 1.0
        return same and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
