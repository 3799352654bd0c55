"""Runs as jobs: made, queued, trained by workers, halted, stopped, taken up again, deleted.

A run's state is never a note that somebody left: it follows from the files of its directory and from whether its worker
lives. Beside what `runs` writes, a directory holds

job.json     its place in the queue, and whether it is asked to stop
worker.json  the process that was started for it
worker.log   what that process said

Whoever changes something holds the lock of the whole place meanwhile: any number of browser sessions, servers and workers
may act on the same runs. The queue moves on whenever `start_waiting` is called: by a worker that ends, and by every
dashboard now and then.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from iomt_core.runs.run import write_status
from iomt_core.runs.workers import WORKER, Worker, launch, read_json
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.files import write_text_atomically
from iomt_core.scenario.links import whole_number
from iomt_core.training.catalogue import is_shown, runs_place
from iomt_core.training.run_spec import RunSpec

State = Literal["queued", "running", "paused", "stopped", "interrupted", "finished", "failed"]
ACTIVE: tuple[State, ...] = ("running", "paused")  # holds a place among those that train at once
WAITS: tuple[State, ...] = ("stopped", "interrupted", "failed")  # can be taken up again
LONGEST_NAME = 40
NAME = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?")
JOB, LOCK, NEW, TRASH = "job.json", ".queue.lock", ".new", ".trash"
LOCK_WAIT = 10.0  # seconds
HALT_WAIT = 0.4  # seconds that `pause` waits to see it done


@dataclass(frozen=True)
class Job:
    """A run as it is now."""

    name: str
    place: Path
    state: State
    spec: RunSpec | None  # nothing where run.json cannot be read; `reason` says why
    reason: str = ""  # why it failed, or what to know of its state
    stopping: bool = False  # asked to, and will after the batch it is in
    starting: bool = False  # its worker has not begun to train yet
    ahead: int = 0  # how many start before it, where it is queued
    order: int = 0  # in the queue
    created: float = 0.0
    episodes: int = 0
    of: int = 0
    updates: int = 0
    episodes_per_s: float = 0.0
    seconds: float = 0.0  # of training so far
    seconds_left: float | None = None
    told: float = 0.0  # when its worker last said so, seconds since 1970

    @property
    def active(self) -> bool:
        """Whether a process of its own lives."""
        return self.state in ACTIVE


def at_once() -> int:
    """How many train at once: IOMT_WORKERS, or 2. Raises `ScenarioError` where that is not a count."""
    text = os.environ.get("IOMT_WORKERS", "2")
    count = whole_number(text, 1, 64)
    if count is None:
        raise ScenarioError(f"IOMT_WORKERS = {text[:40]!r} cannot be used: allowed is 1 to 64.")
    return count


# -- what there is -----------------------------------------------------------------------------------------------------


def jobs() -> list[Job]:
    """Every run of `runs_place()`, the newest first."""
    try:
        places = [p for p in runs_place().iterdir() if is_shown(p.name)]
    except OSError:
        return []
    found = [job for place in places if (job := _job(place)) is not None]
    waiting = sorted(job.order for job in found if job.state == "queued")
    placed = [
        job if job.state != "queued" else Job(**{**vars(job), "ahead": waiting.index(job.order)}) for job in found
    ]
    return sorted(placed, key=lambda job: (-job.created, job.name))


def job(name: str) -> Job:
    """The run of this name. Raises `ScenarioError` where there is none (any more)."""
    # A name is looked for among those that are there and never put into a path, so no path comes in through it.
    for known in jobs():
        if known.name == name:
            return known
    raise ScenarioError(f"run = {name[:60]!r} is not there: it was deleted, or never was.")


def _job(place: Path) -> Job | None:
    # The order of reading matters: a starter writes worker.json before it takes the run out of the queue, a worker writes
    # its last status before it ends. Read the other way round, both would look interrupted for a moment.
    made = _run_facts(place)
    if made is None:
        return None
    spec, trouble, created = made
    asked = read_json(place / JOB) or {}
    ids = (Worker.of(read_json(place / WORKER)), Worker.of(read_json(place / "status.json")))
    alive = next((w for w in ids if w is not None and w.process() is not None), None)
    status = read_json(place / "status.json") or {}
    listens = alive is not None and alive.same(Worker.of(status))
    last = status.get("state")
    last = last if last in ("finished", "stopped", "failed") else None
    order = asked.get("queued")
    state: State
    reason = str(status.get("reason") or "") if last == "failed" else ""
    if alive is not None and not (listens and last):
        state = "paused" if alive.halted else "running"
    elif isinstance(order, int):
        state = "queued"
    elif last:
        state = last
    elif spec is None:
        state, reason = "failed", trouble
    else:
        state, reason = "interrupted", "Its process ended without a word: killed, or the machine went down."
    total = spec.settings.episodes if spec is not None else 0
    speed = _number(status, "episodes_per_s")
    return Job(
        place.name, place, state, spec, reason,
        stopping=state in ACTIVE and asked.get("stop") is True, starting=state == "running" and not listens,
        order=order if isinstance(order, int) else 0, created=_number(asked, "created") or created,
        episodes=int(_number(status, "episodes")), of=total, updates=int(_number(status, "updates")),
        episodes_per_s=speed, seconds=_number(status, "seconds"), told=_number(status, "time"),
        seconds_left=_number(status, "seconds_left") if state in ACTIVE and listens and speed > 0 else None,
    )  # fmt: skip


def _number(status: Mapping[str, Any], name: str) -> float:
    value = status.get(name)
    try:
        number = float(value) if isinstance(value, (int, float)) else 0.0
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0  # JSON as Python reads it knows NaN and Infinity


def _run_facts(place: Path) -> tuple[RunSpec | None, str, float] | None:
    try:
        changed = (place / "run.json").stat().st_mtime_ns
    except OSError:
        return None
    return _read_run(place, changed)


@lru_cache(maxsize=512)
def _read_run(place: Path, changed: int) -> tuple[RunSpec | None, str, float]:
    facts = read_json(place / "run.json")
    if facts is None:
        return None, "run.json cannot be read.", changed / 1e9
    try:
        return RunSpec.from_json(facts, "run.json"), "", changed / 1e9
    except ScenarioError as error:
        return None, " ".join(error.problems), changed / 1e9


# -- what can be done --------------------------------------------------------------------------------------------------


@contextmanager
def _alone() -> Iterator[Path]:
    """The place of all runs, with nobody else changing anything there. Raises `ScenarioError`."""
    place = runs_place()
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / LOCK)
        lock.acquire(timeout=LOCK_WAIT)
    except Timeout:
        raise ScenarioError("runs: another process has been changing them for long; try again in a moment.") from None
    except OSError as error:
        raise ScenarioError(f"runs = {str(place)!r} cannot be used: {error.strerror}.") from None
    try:
        yield place
    finally:
        lock.release()


def checked_name(name: str) -> str:
    """The name. Raises `ScenarioError` where a run may not have it."""
    if not NAME.fullmatch(name):
        raise ScenarioError(
            f"name = {name[:60]!r} cannot be used: allowed are 1 to {LONGEST_NAME} of a-z, 0-9 and -, no - at either end."
        )
    return name


def free_name(wanted: str) -> str:
    """A name that no run has yet, from words: `wanted-1`, `wanted-2` and so on."""
    stem = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")[: LONGEST_NAME - 6].strip("-") or "run"
    taken = {entry.name for entry in runs_place().glob("*")}
    return next(name for n in range(1, len(taken) + 2) if (name := f"{stem}-{n}") not in taken)


def create(name: str, spec: RunSpec) -> Job:
    """A new run at the end of the queue, started at once where there is room. Raises `ScenarioError`."""
    checked_name(name)
    with _alone() as place:
        if (place / name).exists():
            raise ScenarioError(f"name = {name!r} is taken: allowed is a name that no run has yet.")
        part = place / NEW / f"{name}-{uuid.uuid4().hex}"
        try:
            (part / "checkpoints").mkdir(parents=True)
            write_text_atomically(part / "run.json", json.dumps(spec.as_json(), indent=1, ensure_ascii=False) + "\n")
            _ask(part, queued=_next_order(), stop=False, created=time.time())
            os.rename(part, place / name)
        except OSError as error:
            raise ScenarioError(f"run = {name!r} cannot be made: {error.strerror}.") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    start_waiting()
    return job(name)


def resume(name: str) -> Job:
    """Lets a paused run go on, or queues one that was stopped, was interrupted or failed. Raises `ScenarioError`."""
    with _alone():
        now = job(name)
        if now.state == "paused":
            worker = _worker(now)
            if worker is not None:
                worker.go_on()
        elif now.state in WAITS and now.spec is not None:
            _ask(now.place, queued=_next_order(), stop=False)
        elif now.state not in ("queued", "running") or now.stopping:
            raise ScenarioError(f"run = {name!r} cannot go on: it is {_said(now)}.")
    start_waiting()
    return job(name)


def pause(name: str) -> Job:
    """Holds a run where it is: it keeps its memory and its place, and goes on at once. Raises `ScenarioError`.

    The process is halted rather than saved and ended, so that nothing is computed twice and going on costs nothing; one
    that is killed meanwhile has lost what came after its last checkpoint, as ever. Stopping frees its place.
    """
    with _alone():
        now = job(name)
        if now.state == "paused":
            return now
        worker = _worker(now)
        if now.state != "running" or worker is None or now.stopping:
            raise ScenarioError(f"run = {name!r} cannot be paused: it is {_said(now)}, allowed is running.")
        worker.halt(listens=not now.starting)
        end = time.monotonic() + HALT_WAIT
        while not worker.halted and worker.process() is not None and time.monotonic() < end:
            time.sleep(0.01)
    return job(name)


def stop(name: str) -> Job:
    """Lets a run save and end after the batch it is in, or takes it out of the queue. Asking twice is asking once.

    Raises `ScenarioError` where it has ended already.
    """
    with _alone():
        now = job(name)
        if now.active:
            _ask(now.place, stop=True)
            worker = _worker(now)
            if worker is not None and now.state == "paused":
                worker.go_on()
        elif now.state == "queued":
            write_status(now.place, {**(read_json(now.place / "status.json") or {}), "state": "stopped"})
            _ask(now.place, queued=None)
        elif now.state != "stopped":
            raise ScenarioError(f"run = {name!r} cannot be stopped: it is {_said(now)}.")
    return job(name)


def delete(name: str) -> None:
    """Removes a run with all that it learned. Raises `ScenarioError` where it is training or cannot be removed."""
    with _alone() as place:
        now = job(name)
        if now.active:
            raise ScenarioError(f"run = {name!r} cannot be deleted: it is {_said(now)}; stop it first.")
        trash = place / TRASH
        try:
            trash.mkdir(exist_ok=True)
            # Gone for everybody in one step; what is then slow, or fails, is out of sight and is swept next time.
            os.rename(now.place, trash / uuid.uuid4().hex)
        except OSError as error:
            raise ScenarioError(f"run = {name!r} cannot be deleted: {error.strerror}.") from None
    for left in trash.iterdir():
        if left.is_symlink():
            left.unlink(missing_ok=True)
        shutil.rmtree(left, ignore_errors=True)


def start_waiting(leaving: str | None = None) -> list[str]:
    """Starts as many of the queued runs as there is room for, first come first served. Returns their names.

    `leaving` is a run whose worker calls this as the last thing that it does.
    """
    started: list[str] = []
    if not any(one.state == "queued" for one in jobs()):
        return started
    with _alone():
        now = jobs()
        room = at_once() - sum(one.active and one.name != leaving for one in now)
        for one in sorted((one for one in now if one.state == "queued"), key=lambda one: one.order)[: max(0, room)]:
            try:
                _start(one)
                started.append(one.name)
            except ScenarioError as error:
                write_status(
                    one.place, {**(read_json(one.place / "status.json") or {}), "state": "failed", "reason": str(error)}
                )
                _ask(one.place, queued=None)
    return started


def _start(one: Job) -> None:
    worker = launch(one.place)
    try:
        write_text_atomically(one.place / WORKER, json.dumps({"pid": worker.pid, "started": worker.started}) + "\n")
        _ask(one.place, queued=None)
    except ScenarioError:
        process = worker.process()
        if process is not None:
            process.kill()
        raise


def wants_stop(place: Path) -> bool:
    """Whether the run in this directory is asked to stop."""
    return (read_json(place / JOB) or {}).get("stop") is True


def _worker(now: Job) -> Worker | None:
    ids = (Worker.of(read_json(now.place / WORKER)), Worker.of(read_json(now.place / "status.json")))
    return next((w for w in ids if w is not None and w.process() is not None), None)


def _ask(place: Path, **changes: Any) -> None:
    write_text_atomically(place / JOB, json.dumps({**(read_json(place / JOB) or {}), **changes}) + "\n")


def _next_order() -> int:
    return 1 + max((one.order for one in jobs()), default=0)


def _said(now: Job) -> str:
    return "stopping" if now.stopping else now.state
