"""A ward's own data as CSV: a workload of tasks, and places of users and servers."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iomt_core.scenario import KILOBYTE, Meta, Places, Scenario, ScenarioError, WorkloadTask, metadata
from iomt_core.scenario.files import as_text, read_bytes

MOST_ROWS = 25_600  # as many tasks as a scenario can have
MOST_NAMED = 5  # columns in a message
WORKLOAD_COLUMNS = ("step", "user", "data_kb", "cycles", "priority")
PLACES_COLUMNS = ("kind", "x_m", "y_m")


def read_workload_csv(source: bytes | Path, name: str | None = None) -> tuple[WorkloadTask, ...]:
    """Tasks from a CSV with the columns step, user, data_kb, cycles, priority; step and user count from 1.

    Raises `ScenarioError` naming line and column of each bad cell.
    """
    meta = metadata()
    whole: dict[str, tuple[float, float]] = {
        "step": _limits(meta["T"], low=1), "user": _limits(meta["users"]), "priority": _limits(meta["P"])
    }  # fmt: skip
    data, cycles = _limits(meta["D"], 1 / KILOBYTE), _limits(meta["C"])
    tasks = []
    table = _Table(source, name, WORKLOAD_COLUMNS)
    for row in table:
        step, user, priority = (
            row.number(column, *whole[column], integer=True) for column in ("step", "user", "priority")
        )
        kilobytes, size = row.number("data_kb", *data), row.number("cycles", *cycles)
        if not table.problems:
            tasks.append(WorkloadTask(step=int(step), user=int(user), D=kilobytes * KILOBYTE, C=size, P=int(priority)))
    table.finish()
    return tuple(tasks)


def read_places_csv(source: bytes | Path, name: str | None = None) -> Places:
    """Places from a CSV with the columns kind (user or server), x_m, y_m.

    Raises `ScenarioError` naming line and column of each bad cell.
    """
    side = metadata()["area"].high or math.inf
    found: dict[str, list[tuple[float, float]]] = {"user": [], "server": []}
    table = _Table(source, name, PLACES_COLUMNS)
    for row in table:
        kind = row.text("kind").lower()
        if kind not in found:
            row.wrong("kind", "allowed is user or server")
        x, y = row.number("x_m", 0, side), row.number("y_m", 0, side)
        found.setdefault(kind, []).append((x, y))
    table.finish()
    for kind, field in (("user", "users"), ("server", "servers")):
        low, high = _limits(metadata()[field])
        if not low <= len(found[kind]) <= high:
            raise ScenarioError(
                f"{table.name}: {len(found[kind])} rows of kind {kind}: allowed is {low:g} to {high:g}."
            )
    return Places(users=tuple(found["user"]), servers=tuple(found["server"]))


def with_workload(s: Scenario, tasks: tuple[WorkloadTask, ...]) -> Scenario:
    """The scenario with these tasks in place of the random draw; users, tasks and T become what they need.

    Raises `ScenarioError` where a user has more tasks in a step than a ward can have, or places fix fewer users.
    """
    counts: dict[tuple[int, int], int] = {}
    for task in tasks:
        counts[task.step, task.user] = counts.get((task.step, task.user), 0) + 1
    users = max(task.user for task in tasks) if s.places is None else s.users
    return s.changed(workload=tasks, users=users, tasks=max(counts.values()), T=max(t.step for t in tasks), kinds=())


def with_places(s: Scenario, places: Places) -> Scenario:
    """The scenario with these places; users and servers become their counts, and the ward large enough to hold them."""
    farthest = max(x for place in (*places.users, *places.servers) for x in place)
    area = s.area if farthest <= s.area else math.ceil(farthest / 5) * 5.0
    return s.changed(places=places, users=len(places.users), servers=len(places.servers), area=area)


def _limits(meta: Meta, factor: float = 1.0, low: float | None = None) -> tuple[float, float]:
    assert meta.low is not None
    assert meta.high is not None
    return (meta.low if low is None else low) * factor, meta.high * factor


class _Table:
    """Rows of a CSV with known columns; collects what is wrong and raises it together at the end."""

    def __init__(self, source: bytes | Path, name: str | None, columns: tuple[str, ...]) -> None:
        self.name = name or (source.name if isinstance(source, Path) else "CSV")
        content = read_bytes(source) if isinstance(source, Path) else source
        self.problems: list[str] = []
        lines = as_text(content, self.name).splitlines()
        if not any(line.strip() for line in lines):
            raise ScenarioError(f"{self.name} is empty: expected the columns {', '.join(columns)}.")
        head = lines[0]
        delimiter = max(",;\t", key=head.count)
        self._rows = csv.reader(lines, delimiter=delimiter)
        try:
            header = [cell.strip().lower() for cell in next(self._rows)]
        except csv.Error as error:
            raise ScenarioError(f"{self.name}, line 1: {error}; expected {', '.join(columns)}.") from None
        counts = Counter(header)
        missing = [c for c in columns if c not in counts]
        unknown = [c for c in counts if c not in columns]
        twice = sorted(c for c, count in counts.items() if count > 1)
        for what, names in (("lacks the column", missing), ("has an unknown column", unknown), ("has twice", twice)):
            if names:
                raise ScenarioError(
                    f"{self.name}, line 1: the header {what} {_listed(names)}; expected {', '.join(columns)}."
                )
        self.header = header

    def __iter__(self) -> Iterator[_Row]:
        count = 0
        try:
            for cells in self._rows:
                if not any(cell.strip() for cell in cells):
                    continue
                count += 1
                line = self._rows.line_num
                if count > MOST_ROWS:
                    self.problem(f"line {line}: more rows than a scenario can have; allowed are {MOST_ROWS}")
                    break
                if len(cells) != len(self.header):
                    self.problem(f"line {line}: {len(cells)} cells, but the header has {len(self.header)}")
                    continue
                yield _Row(line, dict(zip(self.header, cells, strict=True)), self.problem)
        except csv.Error as error:
            self.problem(f"line {self._rows.line_num}: {error}")
        if not count:
            self.problem("no rows below the header")

    def problem(self, text: str) -> None:
        self.problems.append(f"{self.name}, {text}.")

    def finish(self) -> None:
        if self.problems:
            raise ScenarioError(self.problems)


def _listed(names: list[str]) -> str:
    more = ", …" if len(names) > MOST_NAMED else ""
    return ", ".join(name[:40] or "(empty)" for name in names[:MOST_NAMED]) + more


class _Row:
    def __init__(self, line: int, cells: dict[str, str], problem: Callable[[str], Any]) -> None:
        self.line, self.cells, self._problem = line, cells, problem

    def text(self, column: str) -> str:
        return self.cells[column].strip()

    def wrong(self, column: str, allowed: str) -> None:
        self._problem(f"line {self.line}, column {column}: {self.text(column)[:40]!r} cannot be used; {allowed}")

    def number(self, column: str, low: float, high: float, integer: bool = False) -> float:
        """The cell's number; a bad one is noted, and `low` stands in for it."""
        whole = "whole numbers " if integer else ""
        text = self.text(column)
        try:
            value = float(text) if text.isascii() and "_" not in text else math.nan  # float reads 3_0 as 30
        except ValueError:
            value = math.nan
        if not low <= value <= high or (integer and value != int(value)):
            self.wrong(column, f"allowed is {whole}{low:g} to {high:g}")
            return low
        return value
