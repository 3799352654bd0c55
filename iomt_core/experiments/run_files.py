"""Studies of many runs, each with one small JSON file as its result: which runs are missing, and computing them.

A file is written as a whole, so a study can be stopped and continued at any time, or divided among machines whose files are then
put into one folder. The paper's figures (`experiments/paper`) and coupled steps (`experiments/coupled`) are such studies.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from iomt_core.experiments.sweeps.points import source_digest
from iomt_core.nets.backend import backend_name
from iomt_core.runs.directory import STOP, read_json, write_json
from iomt_core.runs.process import prepare
from iomt_core.scenario import ScenarioError, os_errors

DIGITS = 6  # significant digits of stored numbers
GRACE = 20.0  # seconds after the time limit in which a run may still end
LARGEST = 2_000_000  # bytes of a result file
CODE_DIGITS = 16  # of the digest of the code, and of a recipe
REFERENCE = "reference"  # the arm that stands for all policies without training


class StudyRun(Protocol):
    """A run of a study: an arm on a ward from a seed."""

    @property
    def arm(self) -> str:
        """What is trained, or `REFERENCE`."""

    @property
    def ward(self) -> Any:
        """The ward, or its name."""

    @property
    def seed(self) -> int:
        """Seed of the training."""

    @property
    def file(self) -> str:
        """Name of the result's file."""

    @property
    def recipe(self) -> str:
        """Digest of all that determines the result but the code, see `recipe_digest`."""

    def seconds(self, known: Mapping[Any, float]) -> float:
        """Core-seconds that the run will take; known: those of finished runs, see `durations`."""


R = TypeVar("R", bound=StudyRun)
Results = Mapping[tuple[str, Any, int], Mapping[str, Any]]  # by arm, ward and seed


class AbandonedError(Exception):
    """A run was given up because the study was stopped."""


def check_stop(stop: Path | None) -> None:
    """Raises `AbandonedError` if the file `stop` is there."""
    if stop is not None and stop.exists():
        raise AbandonedError


def recipe_digest(facts: Mapping[str, Any]) -> str:
    """The digest of a recipe, whatever the order of its facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:CODE_DIGITS]


def rounded(value: float) -> float:
    """The number with `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def code_version() -> str:
    """The first digits of the digest of the code, as results have it."""
    return source_digest()[:CODE_DIGITS]


def result_of(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of some work in this process, in one thread, with its times and the code that has made it."""
    prepare(1)
    begun, cpu = time.perf_counter(), time.process_time()
    found = work()
    return {
        **found, "seconds": round(time.perf_counter() - begun, 1), "core_seconds": round(time.process_time() - cpu, 1),
        "code": code_version(), "torch": torch.__version__, "backend": backend_name(),
    }  # fmt: skip


def read_result(path: Path) -> Mapping[str, Any] | None:
    """The content of a result file; None if it is too large, damaged, or no result."""
    values = read_json(path) if path.stat().st_size <= LARGEST else None
    if values is None or not isinstance(values.get("policies", values.get("figures")), dict):
        return None
    return values


def pending(runs: Sequence[R], results: Results, again: bool = False) -> list[R]:
    """The runs that are missing or were made by other settings; with `again` also those that other code has made."""
    code, found = code_version(), []
    for run in runs:
        known = results.get((run.arm, run.ward, run.seed))
        if known is None or known.get("recipe") != run.recipe or (again and known.get("code") != code):
            found.append(run)
    return found


def durations(results: Results) -> dict[tuple[str, Any], float]:
    """Mean core-seconds of finished runs by arm and ward."""
    found: dict[tuple[str, Any], list[float]] = {}
    for (arm, ward, _), values in results.items():
        if isinstance(seconds := values.get("core_seconds"), (int, float)):
            found.setdefault((arm, ward), []).append(float(seconds))
    return {key: statistics.fmean(values) for key, values in found.items()}


@dataclass(frozen=True)
class Event(Generic[R]):
    """A run that has ended; `error` says why it failed, empty if it did not."""

    run: R
    error: str
    seconds_left: float  # of the whole study, on all workers


def compute_all(
    runs: Sequence[R],
    folder: Path,
    executor: Executor,
    workers: int,
    work: Callable[[R, Path], dict[str, Any]],
    known: Mapping[Any, float],
    stop: Callable[[], bool] = lambda: False,
    seconds: float = math.inf,
) -> Iterator[Event[R]]:
    """Computes the runs, `workers` at a time, in order, and writes each result when it is there. Yields what has ended.

    work: makes the result of a run, and raises `AbandonedError` when the file that it is given appears. known: see `durations`.
    seconds: time limit. A run that would not end in time is not begun, and a shorter one is begun in its place. When the limit is
    over or `stop()` is true, runs under way are abandoned; they begin again the next time. Raises `ScenarioError`.
    """
    begun, waiting = time.monotonic(), list(runs)
    active: dict[Future[dict[str, Any]], tuple[R, float]] = {}
    ratios: list[float] = []  # time taken over time estimated

    def estimated(run: R) -> float:
        return run.seconds(known) * (statistics.median(ratios) if ratios else 1.0)

    def left() -> float:
        return seconds - (time.monotonic() - begun)

    def next_run() -> R | None:
        return next((run for run in waiting if estimated(run) <= left()), None)

    signal = folder / STOP
    try:
        while not stop() and left() > -GRACE:
            while len(active) < workers and (run := next_run()) is not None:
                waiting.remove(run)
                active[executor.submit(work, run, signal)] = run, time.monotonic()
            if not active:
                return
            for future in wait(active, timeout=0.3, return_when=FIRST_COMPLETED).done:
                ended, since = active.pop(future)
                error = _write(folder / ended.file, future)
                ratios.append((time.monotonic() - since) / ended.seconds(known))
                rest = [*waiting, *(one for one, _ in active.values())]
                yield Event(ended, error, sum(map(estimated, rest)) / workers)
    finally:
        if active:
            with os_errors(f"{str(signal)!r} cannot be written"):
                signal.touch()
            wait(active)
        signal.unlink(missing_ok=True)


def _write(file: Path, future: Future[dict[str, Any]]) -> str:
    """Writes the result of a run. Returns why it failed, empty if it did not. Raises `ScenarioError` without workers."""
    try:
        write_json(file, future.result())
    except BrokenProcessPool:
        raise ScenarioError("workers: a process has died, for lack of memory perhaps: try fewer.") from None
    except ScenarioError as problem:
        return " ".join(problem.problems)
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return ""
