"""A training run's lines as columns of numbers. Each call reads only what was added since the last one."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from iomt_core.runs.directory import read_json
from iomt_core.runs.training_run import EVALUATIONS, METRICS

MOST_POINTS = 500  # in a drawn curve
MOST_READ = 8_000_000  # bytes per call; longer files take several calls
Columns = Mapping[str, list[float]]


@dataclass
class Lines:
    """One growing file of JSON lines. A file that was replaced or cut is read again from its start."""

    path: Path
    columns: dict[str, list[float]] = field(default_factory=dict)
    _offset: int = 0
    _file: tuple[int, int] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read_new(self) -> Columns:
        """All values so far, by name, in columns of equal length; NaN if a line does not have the value."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    facts = os.fstat(file.fileno())
                    if (facts.st_dev, facts.st_ino) != self._file or facts.st_size < self._offset:
                        self.columns, self._offset, self._file = {}, 0, (facts.st_dev, facts.st_ino)
                    file.seek(self._offset)
                    content = file.read(MOST_READ)
            except OSError:
                self.columns, self._offset, self._file = {}, 0, None
                return {}
            whole = content[: content.rfind(b"\n") + 1]  # an incomplete last line is read at the next call
            self._offset += len(whole)
            for line in whole.splitlines():
                self._add(line)
            return {name: list(values) for name, values in self.columns.items()}

    def _add(self, line: bytes) -> None:
        try:
            values = {name: _float(value) for name, value in json.loads(line).items()}
            if not math.isfinite(values["episodes"]):
                return
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # cut off by a full disk
        count = len(self.columns.get("episodes", ()))
        for name in self.columns.keys() - values.keys():
            self.columns[name].append(math.nan)
        for name, value in values.items():
            self.columns.setdefault(name, [math.nan] * count).append(value)


def _float(value: Any) -> float:
    """The value as a float; NaN if it is not a number."""
    try:
        return float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:
        return math.nan


@dataclass(frozen=True)
class Curves:
    """A training run's lines and what the reference policies reach."""

    metrics: Columns  # one value per batch of episodes, played with exploration
    evaluations: Columns  # one value per evaluation on held-out episodes, without exploration
    references: Mapping[str, Mapping[str, float]]  # figures of heuristics and optimum on the held-out episodes

    @property
    def latest(self) -> Mapping[str, float]:
        """The last evaluation; empty before the first."""
        return {name: values[-1] for name, values in self.evaluations.items()}

    @property
    def start(self) -> Mapping[str, float]:
        """The evaluation of the weights from which a fine-tuned run started; empty for a run from scratch."""
        if "tuning" not in self.evaluations:
            return {}
        return {name: values[0] for name, values in self.evaluations.items()}

    @property
    def compared_by_return(self) -> bool:
        """Whether batteries matter on the held-out episodes, so that only the gap of the return says how good a policy is."""
        return bool(np.nanmax(self.evaluations.get("compared_by_return", [0.0])) > 0)

    @property
    def bound(self) -> float | None:
        """The certified lower bound of the evaluations' cost, where it is known."""
        for values in self.references.values():
            if "cost" in values and "gap" in values:
                return values["cost"] / (1 + values["gap"])
        return None

    def table(self) -> pd.DataFrame:
        """One row per batch; an evaluation is in the row of the batch before it."""
        metrics = pd.DataFrame(dict(self.metrics))
        evaluations = pd.DataFrame(dict(self.evaluations)).add_prefix("evaluation_")
        if metrics.empty or evaluations.empty:
            return metrics
        return metrics.merge(evaluations, how="left", left_on="episodes", right_on="evaluation_episodes").drop(
            columns="evaluation_episodes"
        )


@lru_cache(maxsize=1024)
def _lines(path: Path) -> Lines:
    return Lines(path)


def curves(folder: Path) -> Curves:
    """The curves of the run in this folder, empty where it has none yet."""
    references = _references(folder / "references.json")
    return Curves(_lines(folder / METRICS).read_new(), _lines(folder / EVALUATIONS).read_new(), references)


def _references(path: Path) -> Mapping[str, Mapping[str, float]]:
    try:
        return _read_references(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=512)
def _read_references(path: Path, changed: int) -> Mapping[str, Mapping[str, float]]:
    del changed
    found: dict[str, dict[str, float]] = {}
    for name, values in (read_json(path) or {}).items():
        if isinstance(values, dict):
            found[name] = {key: _float(value) for key, value in values.items() if isinstance(value, (int, float))}
    return found


def thinned(columns: Columns, name: str, most: int = MOST_POINTS) -> tuple[list[float], list[float]]:
    """Episodes and values of one column, at most `most` points, without those that are not finite.

    Neighbours are averaged in groups of a power of two, counted from the run's start, so that drawn points stay in place
    while more arrive.
    """
    x, y = np.asarray(columns.get("episodes", ()), float), np.asarray(columns.get(name, ()), float)
    if len(x) != len(y):
        return [], []
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) <= most:
        return x.tolist(), y.tolist()
    group = 2 ** math.ceil(math.log2(len(x) / most))
    starts = np.arange(0, len(x), group)
    counts = np.diff([*starts, len(x)])
    return (np.add.reduceat(x, starts) / counts).tolist(), (np.add.reduceat(y, starts) / counts).tolist()
