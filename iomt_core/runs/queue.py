"""The queue of one kind of run: create, list, stop, resume and delete runs, and start those that wait.

A run's state follows from the files in its folder and from whether its worker lives; it is never stored on its own. The
root folder of a kind also holds `.queue.json`, the runs that wait in their order. Whoever changes something holds the lock
of the root folder, so any number of browser sessions, servers and workers may act on the same runs. The queue advances
whenever `start_waiting` is called: by a worker that ends, and regularly by every dashboard.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from iomt_core.runs.directory import (
    STOP,
    checked_name,
    delete,
    free_name,
    read_json,
    read_status,
    write_json,
    write_status,
)
from iomt_core.runs.owner import OPERATOR, Person, owner_of
from iomt_core.runs.waiting import seconds_until_start
from iomt_core.runs.worker import WORKER, Worker, file_lock, launch, record_failure, run_lock
from iomt_core.scenario import ScenarioError, os_errors
from iomt_core.training.checkpoints import is_displayable

State = Literal["queued", "running", "stopped", "interrupted", "finished", "failed"]
ENDED: tuple[State, ...] = ("stopped", "finished", "failed")  # states that a worker reports as its last
RESUMABLE: tuple[State, ...] = ("stopped", "interrupted", "failed")
LOCK, QUEUE, NEW = ".queue.lock", ".queue.json", ".new"
LOCK_WAIT = 10.0  # seconds


@dataclass(frozen=True)
class RunKind:
    """What differs between training runs and sweeps."""

    name: str  # as messages call it
    variable: str  # environment variable that sets the root folder
    root: Callable[[], Path]
    command: str  # of `python -m iomt_core`; works on a run with --resume FOLDER
    limit: Callable[[], int]  # how many run at once
    spec_file: str  # marks a folder as a run
    read_spec: Callable[[Path], Any]  # from a run's folder; raises `ScenarioError`
    write_spec: Callable[[Path, Any], None]  # into a new run's folder
    total: Callable[[Any], int]  # units of work of a spec: episodes or points
    # The command line of a worker's options; raises `ScenarioError`.
    arguments: Callable[..., Sequence[str]] = lambda: ()
    # Of a spec; runs with an equal effort take the same time for each unit of work. By default no two runs do.
    effort: Callable[[Any], Hashable] = id


@dataclass(frozen=True)
class RunRecord:
    """A run as it is now."""

    name: str
    folder: Path
    state: State
    spec: Any  # None where it cannot be read; `reason` says why
    reason: str = ""  # why it failed or was interrupted
    stopping: bool = False  # asked to stop, but still working
    starting: bool = False  # its worker has not begun the first unit of work; `loading` says what it does
    loading: str = ""  # what a starting run is loading or computing
    ahead: int = 0  # runs before it in the queue
    total: int = 0  # episodes or points
    created: float = 0.0  # seconds since 1970
    status: Mapping[str, Any] = field(default_factory=dict)  # as its worker last reported it
    owner: Person = OPERATOR

    @property
    def active(self) -> bool:
        """Whether a process works on it."""
        return self.state == "running"

    @property
    def resumable(self) -> bool:
        """Whether the run can be resumed."""
        return self.state in RESUMABLE and self.spec is not None

    @property
    def done(self) -> int:
        """Episodes or points that are done."""
        return int(self.number("done"))

    @property
    def seconds_left(self) -> float | None:
        """Time left as measured by the worker of a running run, in seconds; None where it is not known yet."""
        measured = self.active and not self.starting and self.status.get("seconds_left") is not None
        return self.number("seconds_left") if measured else None

    @property
    def condition(self) -> str:
        """The state as a word for people, stopping and starting included."""
        return "stopping" if self.stopping else "starting" if self.starting else self.state

    def number(self, name: str) -> float:
        """A number of the status; 0 where it is missing or not finite."""
        value = self.status.get(name)
        try:
            number = float(value) if isinstance(value, (int, float)) else 0.0
        except OverflowError:
            return 0.0
        return number if math.isfinite(number) else 0.0  # Python's JSON accepts NaN and Infinity


@dataclass(frozen=True)
class RunQueue:
    """All runs of one kind, in the kind's root folder."""

    kind: RunKind

    # -- reading -------------------------------------------------------------------------------------------------------

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        try:
            folders = [folder for folder in self.kind.root().iterdir() if is_displayable(folder.name)]
        except OSError:
            return []
        there = {folder.name for folder in folders}
        waiting = [name for name in self._waiting() if name in there]
        found = [run for folder in folders if (run := self._record(folder, waiting)) is not None]
        return sorted(found, key=lambda run: (-run.created, run.name))

    def run(self, name: str) -> RunRecord:
        """The run of this name. Raises `ScenarioError` if it does not exist (any more)."""
        # A name is looked up among the runs and never becomes part of a path.
        for run in self.runs():
            if run.name == name:
                return run
        raise ScenarioError(f"{self.kind.name} = {name[:60]!r} is not there: it was deleted, or never was.")

    def seconds_until_start(self, run: RunRecord, known: Sequence[RunRecord]) -> float | None:
        """Seconds until a waiting run starts; None where that is not known. `known` are all runs, from `runs`."""
        return seconds_until_start(run, known, self.kind.limit(), self.kind.effort)

    def free_name(self, words: str) -> str:
        """A name that no run has yet, made from words."""
        return free_name(self.kind.root(), words)

    def _record(self, folder: Path, waiting: Sequence[str]) -> RunRecord | None:
        # The order of reading matters: a starter writes worker.json before it removes the run from the queue (read before
        # this), and a worker writes its last status before it ends. Otherwise both would look interrupted for a moment.
        try:
            changed = (folder / self.kind.spec_file).stat().st_mtime_ns
        except OSError:
            return None
        spec, problem = _read_spec(self.kind, folder, changed)
        status = read_status(folder)
        worker = _living(folder, status)
        if worker is None:
            status = read_status(folder)
        reported = worker is not None and worker.is_same(Worker.parse(status))
        last = next((state for state in ENDED if state == status.get("state")), None)
        state: State
        reason = problem or (str(status.get("reason") or "") if last == "failed" else "")
        if worker is not None and not (reported and last):
            state = "running"
        elif folder.name in waiting:
            state = "queued"
        elif last:
            state = last
        elif spec is None:
            state = "failed"
        else:
            state, reason = (
                "interrupted",
                "Its process ended without a report: it was killed, or the machine went down.",
            )
        return RunRecord(
            folder.name, folder, state, spec, reason,
            stopping=state == "running" and (folder / STOP).exists(),
            starting=state == "running" and not (reported and not status.get("loading")),
            loading=str(status.get("loading") or "") if reported else "the program",
            ahead=waiting.index(folder.name) if state == "queued" else 0,
            total=self.kind.total(spec) if spec is not None else 0, created=changed / 1e9, status=status,
            owner=owner_of(folder),
        )  # fmt: skip

    # -- changing ------------------------------------------------------------------------------------------------------

    def create(self, name: str, spec: Any, by: Person = OPERATOR, **options: Any) -> RunRecord:
        """Adds a new run at the end of the queue and starts it if there is room. Raises `ScenarioError`.

        by: its owner; options: how its worker runs, see the kind's `arguments`.
        """
        checked_name(name)
        self.kind.arguments(**options)
        with self._locked() as root:
            if (root / name).exists():
                raise ScenarioError(f"name = {name!r} is taken: allowed is a name that no {self.kind.name} has yet.")
            part = root / NEW / f"{name}-{uuid.uuid4().hex}"
            try:
                with os_errors(f"{self.kind.name} = {name!r} cannot be created"):
                    part.mkdir(parents=True)
                    self.kind.write_spec(part, spec)
                    if by != OPERATOR:
                        by.save(part)
                    os.rename(part, root / name)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            self._save({**self._waiting(), name: options})
        self.start_waiting()
        return self.run(name)

    def resume(self, name: str, by: Person = OPERATOR, **options: Any) -> RunRecord:
        """Queues a run that was stopped, was interrupted or failed. Raises `ScenarioError`, also where it is not `by`'s."""
        self.kind.arguments(**options)
        with self._locked():
            run = self._own_run(name, by, "resumed")
            if run.resumable:
                self._save({**self._waiting(), name: options})
            elif run.state not in ("queued", "running") or run.stopping:
                raise ScenarioError(f"{self.kind.name} = {name!r} cannot be resumed: it is {run.condition}.")
        self.start_waiting()
        return self.run(name)

    def stop(self, name: str, by: Person = OPERATOR) -> RunRecord:
        """Asks a running run to save and end, or removes a run from the queue. A second request has no effect.

        Raises `ScenarioError` where it has ended already or is not `by`'s.
        """
        with self._locked():
            run = self._own_run(name, by, "stopped")
            if run.active:
                with os_errors(f"{self.kind.name} = {name!r} cannot be stopped"):
                    (run.folder / STOP).touch()
            elif run.state == "queued":
                write_status(run.folder, {**run.status, "state": "stopped"})
                self._dequeue(name)
            elif run.state != "stopped":
                raise ScenarioError(f"{self.kind.name} = {name!r} cannot be stopped: it is {run.state}.")
        return self.run(name)

    def kill(self, name: str, by: Person = OPERATOR) -> RunRecord:
        """Ends a running run at once; what it has not saved is lost. Raises `ScenarioError`, also where it is not `by`'s."""
        with self._locked():
            run = self._own_run(name, by, "stopped")
            worker = _living(run.folder, run.status)
            if run.active and worker is not None:
                worker.kill()
                _withdraw_stop(run.folder)
                write_status(run.folder, {**read_status(run.folder), "state": "stopped"})
        self.start_waiting()
        return self.run(name)

    def delete(self, name: str, by: Person = OPERATOR) -> None:
        """Removes a run and its files. Raises `ScenarioError` where it is running, is not `by`'s or cannot be removed."""
        with self._locked():
            run = self._own_run(name, by, "deleted")
            if run.active:
                raise ScenarioError(
                    f"{self.kind.name} = {name!r} cannot be deleted: it is {run.condition}; stop it first."
                )
            delete(run.folder)
            self._dequeue(name)

    def start_waiting(self, leaving: str | None = None) -> list[str]:
        """Starts queued runs in their order while there is room. Returns their names. Raises `ScenarioError`.

        leaving: a run whose worker calls this just before it ends; it no longer counts as running.
        """
        started: list[str] = []
        if not any(run.state == "queued" for run in self.runs()):
            return started
        with self._locked():
            runs = self.runs()
            room = self.kind.limit() - sum(run.active and run.name != leaving for run in runs)
            queued = sorted((run for run in runs if run.state == "queued"), key=lambda run: run.ahead)
            for run in queued[: max(0, room)]:
                try:
                    self._start(run)
                    started.append(run.name)
                except (ScenarioError, TypeError) as error:  # a TypeError where the file holds unknown options
                    write_status(run.folder, {**run.status, "state": "failed", "reason": str(error)})
                    self._dequeue(run.name)
        return started

    @contextmanager
    def working(self, folder: Path) -> Iterator[None]:
        """Context of a worker: holds the run's lock, records a failure, and starts waiting runs at the end.

        Raises `ScenarioError` where the folder is not a run or another process works on it.
        """
        if not (folder / self.kind.spec_file).is_file():
            raise ScenarioError(
                f"resume = {str(folder)!r} is not a {self.kind.name}: it holds no {self.kind.spec_file}."
            )
        with run_lock(folder):
            if not Worker.current().is_same(Worker.parse(read_json(folder / WORKER))):
                _withdraw_stop(folder)  # started by hand: an older request is not meant for this process
            try:
                with record_failure(folder):
                    yield
            finally:
                _withdraw_stop(folder)
                if folder.resolve().parent == self.kind.root().resolve():
                    self.start_waiting(leaving=folder.name)

    def _own_run(self, name: str, by: Person, done: str) -> RunRecord:
        """The run of this name. Raises `ScenarioError` unless `by` may change it; `done` says what was to happen to it."""
        run = self.run(name)
        if not by.may_change(run.owner):
            raise ScenarioError(
                f"{self.kind.name} = {name!r} cannot be {done}: it belongs to {run.owner.name}; only its owner or the operator "
                "of the lab may do that."
            )
        return run

    def _start(self, run: RunRecord) -> None:
        arguments = self.kind.arguments(**self._waiting()[run.name])
        _withdraw_stop(run.folder)
        folder = run.folder.resolve()
        worker = launch(
            folder, [self.kind.command, "--resume", str(folder), *arguments], {self.kind.variable: str(folder.parent)}
        )
        try:
            write_json(folder / WORKER, vars(worker))
            self._dequeue(run.name)
        except ScenarioError:
            worker.kill()
            raise

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """The root folder, locked against other processes. Raises `ScenarioError`."""
        root = self.kind.root()
        busy = f"{self.kind.name}s: another process is changing them; try again in a moment."
        with file_lock(root / LOCK, LOCK_WAIT, busy, f"{self.kind.name}s = {str(root)!r} cannot be used"):
            yield root

    def _waiting(self) -> dict[str, dict[str, Any]]:
        """Names of the waiting runs in their order, with their options."""
        entries = (read_json(self.kind.root() / QUEUE) or {}).get("waiting")
        entries = entries if isinstance(entries, dict) else {}
        return {name: options for name, options in entries.items() if isinstance(options, dict)}

    def _save(self, waiting: Mapping[str, Any]) -> None:
        write_json(self.kind.root() / QUEUE, {"waiting": waiting})

    def _dequeue(self, name: str) -> None:
        self._save({other: options for other, options in self._waiting().items() if other != name})


def _living(folder: Path, status: Mapping[str, Any]) -> Worker | None:
    """The living process that works on a run: the queue's, or one that was started by hand and reports in the status."""
    known = (Worker.parse(read_json(folder / WORKER)), Worker.parse(status))
    return next((worker for worker in known if worker is not None and worker.process() is not None), None)


def _withdraw_stop(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / STOP).unlink(missing_ok=True)


@lru_cache(maxsize=512)
def _read_spec(kind: RunKind, folder: Path, changed: int) -> tuple[Any, str]:
    """A run's spec, or None and what is wrong with it; `changed` is the file's time, which makes the cache forget."""
    del changed
    try:
        return kind.read_spec(folder), ""
    except ScenarioError as error:
        return None, " ".join(error.problems)
