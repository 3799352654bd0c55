"""A run's lines as columns of numbers, read as they grow: only what is new is read, whoever asks and however often."""

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

from iomt_core.runs.workers import read_json

MOST_POINTS = 500  # of a curve as it is drawn
MOST_READ = 8_000_000  # bytes at a time: a long run's lines are caught up with in several goes
Columns = Mapping[str, list[float]]


@dataclass
class Lines:
    """One file of JSON lines; a file that was replaced or cut is read anew from its start."""

    path: Path
    columns: dict[str, list[float]] = field(default_factory=dict)
    _offset: int = 0
    _file: tuple[int, int] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def catch_up(self) -> Columns:
        """All values so far by name, every column equally long; not a number where a line lacks one."""
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
            whole = content[: content.rfind(b"\n") + 1]  # a line that is being written waits
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
    """The value as a number, not a number where it is none."""
    try:
        return float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:
        return math.nan


@dataclass(frozen=True)
class Curves:
    """What is known of a run's course."""

    metrics: Columns  # a value a batch of episodes, played with exploration
    evaluations: Columns  # a value an evaluation on held-out episodes, without
    beside: Mapping[str, Mapping[str, float]]  # what others reach on the evaluations' episodes

    @property
    def latest(self) -> Mapping[str, float]:
        """The last evaluation; empty before the first."""
        return {name: values[-1] for name, values in self.evaluations.items()}

    @property
    def bound(self) -> float | None:
        """The certified lower bound of the evaluations' cost, where it is known."""
        for values in self.beside.values():
            if "cost" in values and "gap" in values:
                return values["cost"] / (1 + values["gap"])
        return None

    def table(self) -> pd.DataFrame:
        """All of it, a row a batch; an evaluation stands in the row of the batch after which it was made."""
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


def curves(place: Path) -> Curves:
    """The course of the run in this directory, empty where it has none yet."""
    beside = _beside(place / "beside.json")
    return Curves(_lines(place / "metrics.jsonl").catch_up(), _lines(place / "evaluations.jsonl").catch_up(), beside)


def _beside(path: Path) -> Mapping[str, Mapping[str, float]]:
    try:
        return _read_beside(path, path.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=512)
def _read_beside(path: Path, changed: int) -> Mapping[str, Mapping[str, float]]:
    del changed
    found: dict[str, dict[str, float]] = {}
    for name, values in (read_json(path) or {}).items():
        if isinstance(values, dict):
            found[name] = {key: _float(value) for key, value in values.items() if isinstance(value, (int, float))}
    return found


def thinned(columns: Columns, name: str, most: int = MOST_POINTS) -> tuple[list[float], list[float]]:
    """Episodes and values of one column, at most `most` points, without those that are not finite.

    Neighbours are averaged in groups of a power of two that begin at the run's start, so that a point that is drawn stays
    where it is while more come in.
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


def last_words(place: Path, most: int = 4000) -> str:
    """The end of what the run's worker said."""
    try:
        with (place / "worker.log").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            text: Any = file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""
    return str(text).strip()
