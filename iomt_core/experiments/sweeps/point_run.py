"""The loop that computes points in a run's folder; sweeps and answers are such runs.

The points still wanted are asked for again after each batch, so that a run may choose its next points by the results so far.
"""

from __future__ import annotations

import math
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from iomt_core.experiments.sweeps.executors import checked_address, checked_workers
from iomt_core.experiments.sweeps.points import Point, Store, code_version, compute, key, parcel
from iomt_core.runs.directory import append_line, read_json, write_json, write_lines, write_status
from iomt_core.runs.queue import RunKind, RunQueue
from iomt_core.runs.worker import Worker
from iomt_core.scenario import Scenario, ScenarioError, os_errors
from iomt_core.scenario.files import dump_scenario, write_text_atomically

POINTS, CSV, REPORT = "points.jsonl", "results.csv", "report.html"
FORMAT = 1  # of the files that hold specs
POLL = 0.2  # seconds between two checks for a request to stop
GRACE = 4.0  # seconds to wait for running points after a request to stop
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "pydantic", "plotly", "SALib")

Job = tuple[Point, dict[str, Any]]
OnStatus = Callable[[Mapping[str, Any]], None]


class Spec(Protocol):
    """What a run computes: a sweep or a question, a Pydantic model."""

    @property
    def scenario(self) -> Scenario:
        """The ward."""

    @property
    def count(self) -> int:
        """Number of points, at most."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """All fields as plain values."""


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class SpecFile(Generic[S]):
    """The JSON file that makes a folder a run of one kind: its spec, and the versions of code and libraries that created it."""

    name: str  # of the file
    command: str  # of `python -m iomt_core`; in messages also the name of such a run
    parse: Callable[[Mapping[str, Any]], S]  # a spec from plain values; raises `ScenarioError`

    def read(self, folder: Path) -> S:
        """Reads the spec of a folder. Raises `ScenarioError` if there is none or it cannot be read."""
        facts = read_json(folder / self.name)
        if facts is None or facts.get("format") != FORMAT or not isinstance(facts.get("spec"), dict):
            allowed = f"allowed is a {self.name} as `{self.command}` writes it, format {FORMAT}"
            raise ScenarioError(f"{str(folder)!r} holds no {self.command}: {allowed}.")
        return self.parse(facts["spec"])

    def write(self, folder: Path, spec: S) -> None:
        """Creates a new run's folder with its scenario and its spec. Raises `ScenarioError`."""
        if (folder / self.name).exists():
            raise ScenarioError(f"out = {str(folder)!r} already holds {self.name}: name another place, or --resume it.")
        with os_errors(f"out = {str(folder)!r} cannot be made a directory"):
            folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / "scenario.yaml", dump_scenario(spec.scenario))
        facts = {"format": FORMAT, "spec": spec.model_dump(mode="json"), "code": code_version(), "versions": versions()}
        write_json(folder / self.name, facts, indent=1)

    def queue(self, variable: str, root: Callable[[], Path]) -> RunQueue:
        """The queue of such runs in the folder `root()`, which the environment variable sets."""
        return RunQueue(
            RunKind(
                self.command, variable, root, self.command, lambda: 1, self.name, self.read, self.write,
                total=lambda spec: spec.count, arguments=worker_arguments,
            )
        )  # fmt: skip


class PointRun(ABC, Generic[S]):
    """Points computed by an executor into a folder; `results` holds them by `key_of` the point."""

    spec_file: ClassVar[SpecFile[Any]]

    def __init__(self, folder: Path, spec: S, store: Store) -> None:
        self.folder, self.spec, self.store = folder, spec, store
        self.results: dict[Any, dict[str, Any]] = {}
        self.cached = self.computed = 0
        self.failures: list[str] = []
        self.abandoned = False  # whether some points still ran when the waiting time was over
        self.began = time.monotonic()
        self.first_point: float | None = None  # when the first point was computed; `time.monotonic()`
        self._lines: list[dict[str, Any]] = []

    @classmethod
    def create(cls, folder: Path, spec: S, store: Store) -> Self:
        """Creates a run in a new or empty folder. Raises `ScenarioError`."""
        cls.spec_file.write(folder, spec)
        return cls(folder, spec, store)

    @classmethod
    def resume(cls, folder: Path, store: Store) -> Self:
        """Opens the run of a folder; `run` then takes known points from the store. Raises `ScenarioError`."""
        return cls(folder, cls.spec_file.read(folder), store)

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of points of the whole run, as far as it is known."""

    @abstractmethod
    def wanted(self) -> Sequence[Point]:
        """The points to compute next; empty if the run is complete."""

    @abstractmethod
    def jobs(self, points: Iterable[Point]) -> Iterable[Job]:
        """The points with their keys, see `points.jobs`."""

    @abstractmethod
    def key_of(self, point: Point) -> Hashable:
        """What the results are looked up by."""

    @abstractmethod
    def describe(self, point: Point) -> str:
        """A point in the words of a message."""

    @abstractmethod
    def write_results(self, report: Callable[..., str] | None) -> None:
        """Writes the results so far as tables and, with `report`, as an HTML page."""

    def run(
        self,
        executor: Executor,
        stop: Callable[[], bool] = lambda: False,
        on_status: OnStatus = lambda status: None,
        report: Callable[..., str] | None = None,
    ) -> str:
        """Computes the points that are not in the store, and writes the results.

        Returns "finished", "stopped" or "failed". Once `stop()` is true, no new points start, and running points have
        `GRACE` seconds to finish. A failed point is reported and left out; the run continues with the others. `on_status`
        gets the status after every point. Raises `ScenarioError` if the folder cannot be written.
        """
        state = "failed"
        try:
            self._report("running", on_status)
            while (points := self.wanted()) and not stop() and not self.failures:
                self._compute(self._read_store(points, on_status), executor, stop, on_status)
            state = "failed" if self.failures else "stopped" if points else "finished"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            self.write_results(report)
            self._report(state, on_status)
        return state

    def _read_store(self, points: Iterable[Point], on_status: OnStatus) -> list[Job]:
        """Takes the known points from the store. Returns the points that are still to compute, with their jobs."""
        waiting: dict[Hashable, Job] = {}
        for point, job in self.jobs(points):
            found = self.store.get(key(job))
            if found is None:
                waiting.setdefault(self.key_of(point), (point, job))
            elif self.key_of(point) not in self.results:
                self._add(point, found)
                self.cached += 1
        write_lines(self.folder / POINTS, self._lines)
        self._report("running", on_status)
        return list(waiting.values())

    def _compute(
        self, waiting: Sequence[Job], executor: Executor, stop: Callable[[], bool], on_status: OnStatus
    ) -> None:
        pending: dict[Future[dict[str, Any]], Job] = {}
        stopping = stop()
        for point, job in waiting if not stopping else []:
            pending[executor.submit(compute, parcel(point, job))] = (point, job)
        stopped_at = math.inf
        while pending and time.monotonic() < stopped_at + GRACE:
            if stop() and not stopping:
                stopping, stopped_at = True, time.monotonic()
                for future in list(pending):
                    if future.cancel():
                        del pending[future]
            done, _ = wait(pending, POLL, FIRST_COMPLETED)
            for future in done:
                self._keep(future, *pending.pop(future))
                self._report("running", on_status)
        self.abandoned = bool(pending)

    def _keep(self, future: Future[dict[str, Any]], point: Point, job: dict[str, Any]) -> None:
        try:
            result = future.result()
        except CancelledError:
            return
        except Exception as error:  # a point may fail for any reason; the others continue
            self.failures.append(f"{self.describe(point)}: {type(error).__name__}: {error}")
            return
        self.store.put(key(job), job, result)
        self._add(point, result)
        self.computed += 1
        self.first_point = time.monotonic() if self.first_point is None else self.first_point
        append_line(self.folder / POINTS, self._lines[-1])

    def _add(self, point: Point, result: dict[str, Any]) -> None:
        self.results[self.key_of(point)] = result
        facts = {"values": point.values, "policy": point.policy, "scenario_digest": point.scenario.digest}
        self._lines.append({**facts, "result": result})

    def _report(self, state: str, on_status: OnStatus) -> None:
        status = {
            "state": state, "done": len(self.results), "total": self.total, "cached": self.cached,
            "failures": self.failures[:20], "failed": len(self.failures), "seconds": time.monotonic() - self.began,
            "seconds_left": self._seconds_left(), "updated_at": time.time(), **vars(Worker.current()),
        }  # fmt: skip
        write_status(self.folder, status)
        on_status(status)

    def _seconds_left(self) -> float | None:
        """Estimated seconds until the run finishes; None before the second point.

        Measured from the first point on, because the start of the worker processes must not count.
        """
        left = max(0, self.total - len(self.results) - len(self.failures))
        if self.first_point is None or self.computed < 2:
            return None if left else 0.0
        return left * (time.monotonic() - self.first_point) / (self.computed - 1)


def versions() -> dict[str, str]:
    """The versions of Python, the libraries and this code."""
    return {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}, "code": code_version()}


def worker_arguments(workers: int | None = None, cluster: str | None = None) -> Sequence[str]:
    """The command line of a worker's options, see `runs.queue.RunKind`. Raises `ScenarioError`."""
    if cluster is not None:
        return "--cluster", checked_address(cluster)
    return () if workers is None else ("--workers", str(checked_workers(workers)))
