"""A sweep on disk: a directory that says what is swept, how it goes, and what is known so far.

sweep.json      the sweep, its state, the code and the libraries: what `--resume` needs
status.json     state, progress, time left, process: what a page polls
points.jsonl    a line a point as it is done
results.csv, results.parquet, report.html, scenario.yaml   when it ends, however it ends
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from iomt_core.charts.sweep_report import report
from iomt_core.experiments.sweeps.estimate import Speeds
from iomt_core.experiments.sweeps.points import FIGURES, Store, code_version, compute, jobs, key, parcel
from iomt_core.experiments.sweeps.spec import Point, SweepSpec, is_whole, sweep_spec
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.files import dump_scenario, write_text_atomically

FORMAT = 1
SPEC, STATUS, POINTS, CSV, PARQUET, REPORT = (
    "sweep.json", "status.json", "points.jsonl", "results.csv", "results.parquet", "report.html",
)  # fmt: skip
LARGEST_SPEC = 20_000_000  # bytes
PATIENCE = 0.2  # seconds between two looks at whether somebody asked to stop
# Columns beside the figures, and what a point calls them; "tasks" and "seed" may be an axis.
COUNTS = {
    "lower_bound": "lower_bound", "tasks_decided": "tasks", "steps": "steps",
    "episodes_ended_by_battery": "episodes_ended_by_battery",
}  # fmt: skip
GRACE = 4.0  # seconds that points under way are waited for
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "pydantic", "plotly")
ENDS = ("finished", "cancelled", "failed")
Told = Callable[[Mapping[str, Any]], None]


class Sweep:
    """A sweep's directory, and the loop that fills it."""

    def __init__(self, place: Path, spec: SweepSpec, store: Store) -> None:
        self.place, self.spec, self.store = place, spec, store
        self.results: dict[tuple[tuple[float, ...], str], dict[str, Any]] = {}
        self.cached = 0

    @classmethod
    def create(cls, place: Path, spec: SweepSpec, store: Store) -> Sweep:
        """A new sweep in a new or empty directory. Raises `ScenarioError`."""
        if (place / SPEC).exists():
            raise ScenarioError(f"out = {str(place)!r} holds a sweep already: name another place, or --resume it.")
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ScenarioError(f"out = {str(place)!r} cannot be made a directory: {error.strerror}.") from None
        made = cls(place, spec, store)
        write_text_atomically(place / "scenario.yaml", dump_scenario(spec.scenario))
        made._describe("new")
        return made

    @classmethod
    def resume(cls, place: Path, store: Store) -> Sweep:
        """The sweep of a directory, as far as it came. Raises `ScenarioError`."""
        return cls(place, read_spec(place), store)

    def go(self, executor: Executor, stop: Callable[[], bool] = lambda: False, tell: Told = lambda status: None) -> str:
        """Computes what is not known yet, and writes results and report. Returns "finished", "cancelled" or "failed".

        Once `stop()` says so, no more points are begun; those that a process pool finishes within seconds are kept. A point
        that fails is told and left out; the sweep goes on. `tell` gets the status after every point.
        """
        self.begun, self.computed = time.monotonic(), 0
        self.abandoned = False  # whether points were under way for too long to wait for them
        self.first: float | None = None  # when the first point came
        self.failures: list[str] = []
        self.speeds = Speeds.read(self.store.place)
        try:
            self._describe("running")
            waiting = self._known(tell)
            self._compute(waiting, executor, stop, tell)
            complete = len(self.results) == self.spec.count
            state = "finished" if complete else "failed" if self.failures else "cancelled"
        except KeyboardInterrupt:
            self._end("cancelled", tell)
            raise
        except BaseException as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            self._end("failed", tell)
            raise
        self._end(state, tell)
        return state

    def _known(self, tell: Told) -> list[tuple[Point, dict[str, Any]]]:
        """Takes from the store what it has; the work that is left."""
        waiting, lines = [], []
        for point, job in jobs(self.spec):
            found = self.store.get(key(job))
            if found is None:
                waiting.append((point, job))
            else:
                self.results[point.values, point.policy] = found
                lines.append(_line(point, found))
        self.cached = len(lines)
        write_text_atomically(self.place / POINTS, "".join(lines))
        self._status("running", tell)
        return waiting

    def _compute(
        self, waiting: list[tuple[Point, dict[str, Any]]], executor: Executor, stop: Callable[[], bool], tell: Told
    ) -> None:
        pending: dict[Future[dict[str, Any]], tuple[Point, dict[str, Any]]] = {}
        stopping = stop()
        for point, job in waiting if not stopping else []:
            pending[executor.submit(compute, parcel(point, job))] = (point, job)
        asked = math.inf
        while pending and time.monotonic() < asked + GRACE:
            if stop() and not stopping:
                stopping, asked = True, time.monotonic()
                for future in list(pending):
                    if future.cancel():
                        del pending[future]
                self._status("cancelling", tell)
            done, _ = wait(pending, PATIENCE, FIRST_COMPLETED)
            for future in done:
                self._take(future, *pending.pop(future))
                self._status("cancelling" if stopping else "running", tell)
        self.abandoned = bool(pending)

    def _take(self, future: Future[dict[str, Any]], point: Point, job: dict[str, Any]) -> None:
        try:
            result = future.result()
        except CancelledError:
            return
        except Exception as error:  # whatever a worker met, the other points go on
            where = ", ".join(f"{a.parameter} = {v:g}" for a, v in zip(self.spec.axes, point.values, strict=True))
            self.failures.append(f"{point.policy} at {where}: {type(error).__name__}: {error}")
            return
        self.store.put(key(job), job, result)
        self.speeds.learn(point, self.spec.episodes, result)
        self.results[point.values, point.policy] = result
        self.computed += 1
        self.first = time.monotonic() if self.first is None else self.first
        with (self.place / POINTS).open("a", encoding="utf-8") as file:
            file.write(_line(point, result))

    def _end(self, state: str, tell: Told) -> None:
        self.speeds.write()
        table = results_table(self.spec, self.results)
        _write_whole(self.place / CSV, lambda part: table.to_csv(part, index=False))
        _write_whole(self.place / PARQUET, lambda part: table.to_parquet(part, index=False))
        write_text_atomically(self.place / REPORT, report(self.spec, table, versions()))
        self._describe(state)
        self._status(state, tell)

    def _describe(self, state: str) -> None:
        facts = {
            "format": FORMAT, "state": state, "points": self.spec.count, "known": len(self.results),
            "spec": self.spec.model_dump(mode="json"), "code": code_version(), "versions": versions(),
        }  # fmt: skip
        write_text_atomically(self.place / SPEC, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")

    def _status(self, state: str, tell: Told) -> None:
        here = time.monotonic() - self.begun
        left = self.spec.count - len(self.results) - len(self.failures)
        status = {
            **process(), "state": state, "done": len(self.results), "total": self.spec.count, "cached": self.cached,
            "unavailable": sum(r["state"] == "unavailable" for r in self.results.values()),
            "failures": self.failures[:20], "failed": len(self.failures), "seconds": here, "time": time.time(),
            "seconds_left": self._left(max(0, left)),
        }  # fmt: skip
        write_text_atomically(self.place / STATUS, json.dumps(status) + "\n")
        tell(status)

    def _left(self, points: int) -> float | None:
        """Seconds that these many points still take; the workers' start is not counted, it comes once."""
        if self.first is None or self.computed < 2:
            return None if points else 0.0
        return points * (time.monotonic() - self.first) / (self.computed - 1)


def process(pid: int | None = None) -> dict[str, Any]:
    """A process as a status names it: its number, and when it began, for numbers are used again."""
    number = os.getpid() if pid is None else pid
    return {"pid": number, "process_began": psutil.Process(number).create_time()}


def read_spec(place: Path) -> SweepSpec:
    """The sweep that a directory is of. Raises `ScenarioError` where there is none or it cannot be read."""
    file = place / SPEC
    values = None
    try:
        if file.stat().st_size <= LARGEST_SPEC:
            facts = json.loads(file.read_text(encoding="utf-8"))
            values = facts["spec"] if facts["format"] == FORMAT else None
    except OSError as error:
        raise ScenarioError(
            f"resume = {str(place)!r} holds no sweep: {SPEC} cannot be read ({error.strerror})."
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ScenarioError(f"file {str(file)!r} is not a sweep's: allowed is what `sweep` wrote, format {FORMAT}.")
    return sweep_spec(values, known=False)


def read_points(place: Path) -> Iterator[dict[str, Any]]:
    """The points that are known, as they came; a half-written last line is left out."""
    try:
        text = (place / POINTS).read_text(encoding="utf-8")
    except OSError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("result"), dict):
            yield found


def read_results(place: Path, spec: SweepSpec) -> pd.DataFrame:
    """What is known so far as a table, see `results_table`."""
    found = {}
    for one in read_points(place):
        found[tuple(float(v) for v in one["values"]), str(one["policy"])] = one["result"]
    return results_table(spec, found)


def results_table(spec: SweepSpec, results: Mapping[tuple[tuple[float, ...], str], Mapping[str, Any]]) -> pd.DataFrame:
    """One row a point that is known, in the order of the grid: SI values, NAME_low and NAME_high the 95 % interval."""
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
        for name in FIGURES:
            low, high = intervals.get(name) or (math.nan, math.nan)
            row |= {name: _number(result.get(name)), f"{name}_low": low, f"{name}_high": high}
        for column, name in COUNTS.items():
            row[column] = _number(result.get(name))
        row |= {"episodes": spec.episodes, "episode_seed": spec.seed, "shares": spec.shares}
        rows.append({**row, "scenario_digest": point.scenario.digest})
    table = pd.DataFrame(rows, columns=columns(spec))
    return table.astype(dict.fromkeys(figure_columns(), "float64"))


def columns(spec: SweepSpec) -> list[str]:
    """The table's columns."""
    return [
        *(axis.parameter for axis in spec.axes), "policy", "network", "state", "reason", *figure_columns(), *COUNTS, "episodes",
        "episode_seed", "shares", "scenario_digest",
    ]  # fmt: skip


def figure_columns() -> list[str]:
    """Of them, those of the figures and the ends of their intervals."""
    return [column for name in FIGURES for column in (name, f"{name}_low", f"{name}_high")]


def versions() -> dict[str, str]:
    """What computed this."""
    return {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}, "code": code_version()}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _line(point: Point, result: Mapping[str, Any]) -> str:
    return json.dumps({"values": point.values, "policy": point.policy, "result": result}) + "\n"


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        raise ScenarioError(f"file {str(path)!r} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
