"""A sweep on disk: its folder, the loop that computes its points, and the queue of sweeps.

In addition to the files of every run (see `runs.directory`) the folder contains

sweep.json      the sweep, and the versions of code and libraries that created it; needed to resume
scenario.yaml   its base scenario
points.jsonl    one line for each point, added when the point is done
results.csv, results.parquet, report.html   written when the sweep finishes, stops or fails
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from iomt_core.experiments.sweeps.executors import checked_address, checked_workers
from iomt_core.experiments.sweeps.points import Store, code_version, compute, jobs, key, parcel
from iomt_core.experiments.sweeps.spec import Point, SweepSpec, is_whole, sweep_spec
from iomt_core.metrics import METRICS
from iomt_core.paths import user_folder
from iomt_core.runs.directory import append_line, read_json, read_lines, write_json, write_lines, write_status
from iomt_core.runs.queue import RunKind, RunQueue
from iomt_core.runs.worker import Worker
from iomt_core.scenario import ScenarioError, os_errors
from iomt_core.scenario.files import dump_scenario, write_text_atomically, written_whole
from iomt_core.training.catalogue import catalogue

FORMAT = 1
SPEC, POINTS = "sweep.json", "points.jsonl"
CSV, PARQUET, REPORT = "results.csv", "results.parquet", "report.html"
POLL = 0.2  # seconds between two checks for a request to stop
# Columns after the metrics, and their names in a point's result. "tasks_decided", because "tasks" may be an axis.
COUNTS = {
    "lower_bound": "lower_bound", "tasks_decided": "tasks", "steps": "steps",
    "episodes_ended_by_battery": "episodes_ended_by_battery",
}  # fmt: skip
GRACE = 4.0  # seconds to wait for running points after a request to stop
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "pydantic", "plotly")
# A function that writes the HTML report of a sweep from its results so far and the versions that computed them.
Report = Callable[[SweepSpec, pd.DataFrame, Mapping[str, str]], str]


class Sweep:
    """A sweep in its folder; `run` computes its points."""

    def __init__(self, folder: Path, spec: SweepSpec, store: Store) -> None:
        self.folder, self.spec, self.store = folder, spec, store
        self.results: dict[tuple[tuple[float, ...], str], dict[str, Any]] = {}
        self.cached = self.computed = 0
        self.failures: list[str] = []
        self.abandoned = False  # whether some points still ran when the waiting time was over
        self.began = time.monotonic()
        self.first_point: float | None = None  # when the first point was computed; `time.monotonic()`

    @classmethod
    def create(cls, folder: Path, spec: SweepSpec, store: Store) -> Sweep:
        """Creates a sweep in a new or empty folder. Raises `ScenarioError`."""
        if (folder / SPEC).exists():
            raise ScenarioError(f"out = {str(folder)!r} holds a sweep already: name another place, or --resume it.")
        write_sweep_spec(folder, spec)
        return cls(folder, spec, store)

    @classmethod
    def resume(cls, folder: Path, store: Store) -> Sweep:
        """Opens the sweep of a folder; `run` then takes known points from the store. Raises `ScenarioError`."""
        return cls(folder, read_spec(folder), store)

    def run(
        self,
        executor: Executor,
        stop: Callable[[], bool] = lambda: False,
        on_status: Callable[[Mapping[str, Any]], None] = lambda status: None,
        report: Report | None = None,
    ) -> str:
        """Computes the points that are not in the store, and writes results and report.

        Returns "finished", "stopped" or "failed". Once `stop()` is true, no new points start, and running points have
        `GRACE` seconds to finish. A failed point is reported and left out; the sweep continues with the others. `on_status`
        gets the status after every point. Raises `ScenarioError` if the folder cannot be written.
        """
        state = "failed"
        try:
            waiting = self._read_store(on_status)
            self._compute(waiting, executor, stop, on_status)
            complete = len(self.results) == self.spec.count
            state = "finished" if complete else "failed" if self.failures else "stopped"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            self._write_results(report)
            self._report(state, on_status)
        return state

    def _read_store(self, on_status: Callable[[Mapping[str, Any]], None]) -> list[tuple[Point, dict[str, Any]]]:
        """Takes the known points from the store. Returns the points that are still to compute, with their jobs."""
        waiting, lines = [], []
        for point, job in jobs(self.spec):
            found = self.store.get(key(job))
            if found is None:
                waiting.append((point, job))
            else:
                self.results[point.values, point.policy] = found
                lines.append(_line(point, found))
        self.cached = len(lines)
        write_lines(self.folder / POINTS, lines)
        self._report("running", on_status)
        return waiting

    def _compute(
        self,
        waiting: list[tuple[Point, dict[str, Any]]],
        executor: Executor,
        stop: Callable[[], bool],
        on_status: Callable[[Mapping[str, Any]], None],
    ) -> None:
        pending: dict[Future[dict[str, Any]], tuple[Point, dict[str, Any]]] = {}
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
            values = ", ".join(f"{a.parameter} = {v:g}" for a, v in zip(self.spec.axes, point.values, strict=True))
            self.failures.append(f"{point.policy} at {values}: {type(error).__name__}: {error}")
            return
        self.store.put(key(job), job, result)
        self.results[point.values, point.policy] = result
        self.computed += 1
        self.first_point = time.monotonic() if self.first_point is None else self.first_point
        append_line(self.folder / POINTS, _line(point, result))

    def _write_results(self, report: Report | None) -> None:
        table = results_table(self.spec, self.results)
        with written_whole(self.folder / CSV) as part:
            table.to_csv(part, index=False)
        with written_whole(self.folder / PARQUET) as part:
            table.to_parquet(part, index=False)
        if report is not None:
            write_text_atomically(self.folder / REPORT, report(self.spec, table, versions()))

    def _report(self, state: str, on_status: Callable[[Mapping[str, Any]], None]) -> None:
        status = {
            "state": state, "done": len(self.results), "total": self.spec.count, "cached": self.cached,
            "failures": self.failures[:20], "failed": len(self.failures), "seconds": time.monotonic() - self.began,
            "seconds_left": self._seconds_left(), "updated_at": time.time(), **vars(Worker.current()),
        }  # fmt: skip
        write_status(self.folder, status)
        on_status(status)

    def _seconds_left(self) -> float | None:
        """Estimated seconds until the sweep finishes; None before the second point.

        Measured from the first point on, because the start of the worker processes must not count.
        """
        left = max(0, self.spec.count - len(self.results) - len(self.failures))
        if self.first_point is None or self.computed < 2:
            return None if left else 0.0
        return left * (time.monotonic() - self.first_point) / (self.computed - 1)


def read_spec(folder: Path) -> SweepSpec:
    """Reads the sweep of a folder. Raises `ScenarioError` if there is none or it cannot be read."""
    facts = read_json(folder / SPEC)
    if facts is None or facts.get("format") != FORMAT or not isinstance(facts.get("spec"), dict):
        raise ScenarioError(
            f"{str(folder)!r} holds no sweep: allowed is a {SPEC} as `sweep` writes it, format {FORMAT}."
        )
    return sweep_spec(facts["spec"], known=False)


def write_sweep_spec(folder: Path, spec: SweepSpec) -> None:
    """Creates a new sweep's folder with its scenario and `sweep.json`. Raises `ScenarioError`."""
    with os_errors(f"out = {str(folder)!r} cannot be made a directory"):
        folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "scenario.yaml", dump_scenario(spec.scenario))
    facts = {"format": FORMAT, "spec": spec.model_dump(mode="json"), "code": code_version(), "versions": versions()}
    write_json(folder / SPEC, facts, indent=1)


def read_results(folder: Path, spec: SweepSpec) -> pd.DataFrame:
    """The results so far as a table, see `results_table`. Raises `ScenarioError`.

    Version 0.1 let a policy's name mean several networks: points of another network than it means now are left out.
    """
    found = {}
    known = {name: facts.network for name, facts in catalogue().items()}
    for line in read_lines(folder / POINTS):
        policy, result = str(line["policy"]), line.get("result")
        if isinstance(result, dict) and result.get("network") in (None, "", known.get(policy)):
            found[tuple(float(v) for v in line["values"]), policy] = result
    return results_table(spec, found)


def results_table(spec: SweepSpec, results: Mapping[tuple[tuple[float, ...], str], Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each known point, in the order of the grid.

    Values are in SI units; NAME_low and NAME_high are the ends of the 95 % interval of metric NAME.
    """
    rows = []
    for point in spec.points():
        result = results.get((point.values, point.policy))
        if result is None:
            continue
        row: dict[str, Any] = {
            axis.parameter: int(value) if is_whole(axis.parameter) else value
            for axis, value in zip(spec.axes, point.values, strict=True)
        }
        row |= {"policy": point.policy, "network": result.get("network") or ""}
        row |= {"state": result["state"], "reason": result.get("reason") or ""}
        intervals = result.get("ci95") or {}
        for name in METRICS:
            low, high = intervals.get(name) or (math.nan, math.nan)
            row |= {name: _number(result.get(name)), f"{name}_low": low, f"{name}_high": high}
        for column, name in COUNTS.items():
            row[column] = _number(result.get(name))
        row |= {"episodes": spec.episodes, "episode_seed": spec.seed, "shares": spec.shares}
        rows.append({**row, "scenario_digest": point.scenario.digest})
    table = pd.DataFrame(rows, columns=columns(spec))
    return table.astype(dict.fromkeys(figure_columns(), "float64"))


def columns(spec: SweepSpec) -> list[str]:
    """The columns of `results_table`, in order."""
    return [
        *(axis.parameter for axis in spec.axes), "policy", "network", "state", "reason", *figure_columns(), *COUNTS, "episodes",
        "episode_seed", "shares", "scenario_digest",
    ]  # fmt: skip


def figure_columns() -> list[str]:
    """The columns of the metrics and of the ends of their intervals."""
    return [column for name in METRICS for column in (name, f"{name}_low", f"{name}_high")]


def versions() -> dict[str, str]:
    """The versions of Python, the libraries and this code."""
    return {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}, "code": code_version()}


def sweeps_root() -> Path:
    """The folder of the user's sweeps: the environment variable IOMT_SWEEPS, or `sweeps/`."""
    return user_folder("IOMT_SWEEPS")


def point_store() -> Store:
    """The store of all computed points, shared by all sweeps."""
    return Store(sweeps_root() / ".points")


def _arguments(workers: int | None = None, cluster: str | None = None) -> Sequence[str]:
    if cluster is not None:
        return "--cluster", checked_address(cluster)
    return () if workers is None else ("--workers", str(checked_workers(workers)))


SWEEPS = RunQueue(
    RunKind(
        "sweep", "IOMT_SWEEPS", sweeps_root, "sweep", lambda: 1, SPEC, read_spec, write_sweep_spec,
        total=lambda spec: spec.count, arguments=_arguments,
    )
)  # fmt: skip


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _line(point: Point, result: Mapping[str, Any]) -> dict[str, Any]:
    return {"values": point.values, "policy": point.policy, "result": result}
