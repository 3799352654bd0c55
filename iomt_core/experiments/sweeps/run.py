"""A sweep on disk: its folder and the queue of sweeps; `point_run` has the loop that computes the points.

In addition to the files of every run (see `runs.directory`) the folder contains

sweep.json      the sweep, and the versions of code and libraries that created it; needed to resume
scenario.yaml   its base scenario
points.jsonl    one line for each point, added when the point is done
results.csv, results.parquet, report.html   written when the sweep finishes, stops or fails
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from iomt_core.experiments.sweeps.point_run import CSV, POINTS, REPORT, Job, PointRun, SpecFile, versions
from iomt_core.experiments.sweeps.points import Point, Store, jobs
from iomt_core.experiments.sweeps.spec import SweepSpec, is_whole, sweep_spec
from iomt_core.metrics import METRICS
from iomt_core.paths import user_folder
from iomt_core.runs.directory import read_lines
from iomt_core.scenario.files import write_text_atomically, written_whole
from iomt_core.training.catalogue import catalogue

SPEC = SpecFile("sweep.json", "sweep", lambda values: sweep_spec(values, known=False))
PARQUET = "results.parquet"
# Columns after the metrics, and their names in a point's result. "tasks_decided", because "tasks" may be an axis.
COUNTS = {
    "lower_bound": "lower_bound", "tasks_decided": "tasks", "steps": "steps",
    "episodes_ended_by_battery": "episodes_ended_by_battery", "return_bound": "return_bound", "skipped_share": "skipped_share",
}  # fmt: skip
# A function that writes the HTML report of a sweep from its results so far and the versions that computed them.
Report = Callable[[SweepSpec, pd.DataFrame, Mapping[str, str]], str]


class Sweep(PointRun[SweepSpec]):
    """A sweep in its folder; `run` computes its points."""

    spec_file = SPEC

    @property
    def total(self) -> int:
        """Number of points of the grid."""
        return self.spec.count

    def wanted(self) -> Sequence[Point]:
        """All points of the grid that are not known yet."""
        return [point for point in self.spec.points() if self.key_of(point) not in self.results]

    def jobs(self, points: Iterable[Point]) -> Iterable[Job]:
        """The points with their keys."""
        return jobs(points, self.spec.shares, self.spec.seed, self.spec.episodes)

    def key_of(self, point: Point) -> tuple[tuple[float, ...], str]:
        """Values of the axes, and policy."""
        return point.values, point.policy

    def describe(self, point: Point) -> str:
        """Policy and values of a point."""
        values = ", ".join(f"{a.parameter} = {v:g}" for a, v in zip(self.spec.axes, point.values, strict=True))
        return f"{point.policy} at {values}"

    def write_results(self, report: Report | None) -> None:
        """Writes results.csv, results.parquet and, with `report`, report.html."""
        table = results_table(self.spec, self.results)
        with written_whole(self.folder / CSV) as part:
            table.to_csv(part, index=False)
        with written_whole(self.folder / PARQUET) as part:
            table.to_parquet(part, index=False)
        if report is not None:
            write_text_atomically(self.folder / REPORT, report(self.spec, table, versions()))


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


def results_table(spec: SweepSpec, results: Mapping[Any, Mapping[str, Any]]) -> pd.DataFrame:
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


def sweeps_root() -> Path:
    """The folder of the user's sweeps: the environment variable IOMT_SWEEPS, or `sweeps/`."""
    return user_folder("IOMT_SWEEPS")


def point_store() -> Store:
    """The store of all computed points, shared by all sweeps."""
    return Store(sweeps_root() / ".points")


SWEEPS = SPEC.queue("IOMT_SWEEPS", sweeps_root)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
