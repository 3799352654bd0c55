"""A ward's own data as CSV: a workload of tasks, and places of users and servers.

Spreadsheets write numbers in several dialects: 1500.5, "1500,5", "1.500,5", "1 500,5". A file's dialect is decided once from
all of its cells, said in a note, and cells that do not fit it are refused: a "1.500" that may be 1500 or 1.5 is never guessed.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.files import as_text, read_bytes
from iomt_core.scenario.notes import note
from iomt_core.scenario.parameters import KILOBYTE, Meta, Places, Scenario, WorkloadTask, metadata

MOST_ROWS = 25_600  # as many tasks as a scenario can have
MOST_NAMED = 5  # columns in a message
WORKLOAD_COLUMNS = ("step", "user", "data_kb", "cycles", "priority")
PLACES_COLUMNS = ("kind", "x_m", "y_m")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MARKS = {".": "point", ",": "comma"}
SPACES = " '’\u00a0\u202f"  # separate thousands too, and are never a decimal mark
# A number in groups of three: the separator of its thousands, and its decimal mark if it has one. "1.500" matches too.
GROUPED = re.compile(rf"[+-]?[0-9]{{1,3}}([.,{SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*(?:(?!\1)([.,])[0-9]*)?")
WITH_MARK = re.compile(r"[+-]?(?=[^eE]*[0-9])[0-9]*([.,])[0-9]*(?:[eE][+-]?[0-9]{1,4})?")


def read_workload_csv(source: bytes | Path, name: str | None = None) -> tuple[WorkloadTask, ...]:
    """Read tasks from a CSV with the columns step, user, data_kb, cycles, priority; step and user count from 1.

    source: the file's content or path; name: how messages call it. The dialect that was found is a note, see
    `collect_notes`. Raises `ScenarioError` naming line and column of every bad cell.
    """
    meta = metadata()
    whole = {"step": _limits(meta["T"], low=1), "user": _limits(meta["users"]), "priority": _limits(meta["P"])}
    data, cycles = _limits(meta["D"], 1 / KILOBYTE), _limits(meta["C"])
    table = _Table(source, name, WORKLOAD_COLUMNS)
    tasks = []
    for row in table.rows:
        step, user, priority = (
            int(table.number(row, column, *whole[column], whole=True)) for column in ("step", "user", "priority")
        )
        kilobytes, size = table.number(row, "data_kb", *data), table.number(row, "cycles", *cycles)
        if not table.problems:
            tasks.append(WorkloadTask(step=step, user=user, D=kilobytes * KILOBYTE, C=size, P=priority))
    table.finish()
    return tuple(tasks)


def read_places_csv(source: bytes | Path, name: str | None = None) -> Places:
    """Read places from a CSV with the columns kind (user or server), x_m, y_m.

    Arguments, note and errors as for `read_workload_csv`.
    """
    side = metadata()["area"].high or math.inf
    found: dict[str, list[tuple[float, float]]] = {"user": [], "server": []}
    table = _Table(source, name, PLACES_COLUMNS)
    for row in table.rows:
        kind = row.cells["kind"].lower()
        if kind not in found:
            table.refuse(row, "kind", "allowed is user or server")
        found.setdefault(kind, []).append((table.number(row, "x_m", 0, side), table.number(row, "y_m", 0, side)))
    table.finish()
    for kind, field in (("user", "users"), ("server", "servers")):
        low, high = _limits(metadata()[field])
        if not low <= len(found[kind]) <= high:
            raise ScenarioError(
                f"{table.name}: {len(found[kind])} rows of kind {kind}: allowed is {low:g} to {high:g}."
            )
    return Places(users=tuple(found["user"]), servers=tuple(found["server"]))


def with_workload(s: Scenario, tasks: tuple[WorkloadTask, ...]) -> Scenario:
    """Return the scenario with these tasks in place of the random draw; users, tasks and T become what they need.

    Raises `ScenarioError` if a user has more tasks in a step than a ward can have, or places fix fewer users.
    """
    counts = Counter((task.step, task.user) for task in tasks)
    users = {"users": max(task.user for task in tasks)} if s.places is None else {}
    return s.changed(workload=tasks, tasks=max(counts.values()), T=max(t.step for t in tasks), kinds=(), **users)


def with_places(s: Scenario, places: Places) -> Scenario:
    """Return the scenario with these places; users and servers become their counts, and the ward grows to hold them."""
    farthest = max(x for place in (*places.users, *places.servers) for x in place)
    area = s.area if farthest <= s.area else math.ceil(farthest / 5) * 5.0
    return s.changed(places=places, users=len(places.users), servers=len(places.servers), area=area)


def _limits(meta: Meta, factor: float = 1.0, low: float | None = None) -> tuple[float, float]:
    assert meta.low is not None
    assert meta.high is not None
    return (meta.low if low is None else low) * factor, meta.high * factor


@dataclass(frozen=True)
class _Row:
    line: int  # in the file, from 1
    cells: Mapping[str, str]  # by column, stripped


class _Dialect:
    """How a file writes numbers: its decimal mark, and what separates thousands ("" where nothing does)."""

    def __init__(self, decimal: str, thousands: str) -> None:
        self.decimal, self.thousands = decimal, thousands
        whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]*)" if thousands else "[0-9]*"
        self._pattern = re.compile(rf"[+-]?{whole}(?:{re.escape(decimal)}[0-9]*)?(?:[eE][+-]?[0-9]{{1,4}})?")

    def __str__(self) -> str:
        separator = {".": "points", ",": "commas"}.get(self.thousands, "spaces or apostrophes")
        return f"a decimal {MARKS[self.decimal]}" + (f" and {separator} between thousands" if self.thousands else "")

    def number(self, text: str) -> float:
        """Convert a cell. Raises `ValueError` if it is not a number in this dialect."""
        if self._pattern.fullmatch(text) is None:
            raise ValueError(text)
        return float((text.replace(self.thousands, "") if self.thousands else text).replace(self.decimal, "."))


def _evidence(text: str) -> tuple[str, str]:
    """Return the decimal mark and the separator of thousands that a cell proves, "" for what it leaves open.

    "1.5" and "0.500" prove a decimal point, "1.500.000" and "1.500,5" points between thousands, "1.500" neither.
    """
    if grouped := GROUPED.fullmatch(text):
        separator, decimal = grouped.groups(default="")
        if decimal or separator in SPACES or text.count(separator) > 1:
            return decimal, separator
        return (separator, "") if text.lstrip("+-").startswith("0") else ("", "")
    plain = WITH_MARK.fullmatch(text)
    return (plain[1], "") if plain else ("", "")


class _Table:
    """The rows of a CSV with known columns, and the dialect of its numbers.

    Collects the problems of cells; `finish` raises them together.
    """

    def __init__(self, source: bytes | Path, name: str | None, columns: Sequence[str]) -> None:
        self.name = name or (source.name if isinstance(source, Path) else "CSV")
        self.problems: list[str] = []
        self.rows: list[_Row] = []
        content = read_bytes(source) if isinstance(source, Path) else source
        lines = as_text(content, self.name).splitlines()
        if not any(line.strip() for line in lines):
            raise ScenarioError(f"{self.name} is empty: expected the columns {', '.join(columns)}.")
        self.delimiter = max(DELIMITERS, key=lines[0].count)
        reader = csv.reader(lines, delimiter=self.delimiter)
        try:
            header = [cell.strip().lower() for cell in next(reader)]
        except csv.Error as error:
            raise ScenarioError(f"{self.name}, line 1: {error}; expected {', '.join(columns)}.") from None
        self._check_header(header, columns)
        count = 0
        try:
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                count += 1
                if count > MOST_ROWS:
                    self._problem(
                        f"line {reader.line_num}: more rows than a scenario can have; allowed are {MOST_ROWS}"
                    )
                    break
                if len(cells) != len(header):
                    self._problem(f"line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}")
                    continue
                stripped = (cell.strip() for cell in cells)
                self.rows.append(_Row(reader.line_num, dict(zip(header, stripped, strict=True))))
        except csv.Error as error:
            self._problem(f"line {reader.line_num}: {error}")
        if not count:
            self._problem("no rows below the header")
        self.dialect = self._find_dialect()

    def number(self, row: _Row, column: str, low: float, high: float, whole: bool = False) -> float:
        """Return a cell's number; for an invalid one a problem is added and `low` returned."""
        text = row.cells[column]
        allowed = f"allowed is {'whole numbers ' if whole else ''}{low:g} to {high:g}"
        try:
            value = self.dialect.number(text)
        except ValueError:
            value = math.nan
            if grouped := GROUPED.fullmatch(text):
                allowed = (
                    f"it may mean {re.sub(r'[^0-9+-]', '', text)} or {text.replace(grouped[1], '.')}, and other cells "
                    f"only show that the file has {self.dialect}"
                )
        if not low <= value <= high or (whole and value != int(value)):
            self.refuse(row, column, allowed)
            return low
        return value

    def refuse(self, row: _Row, column: str, reason: str) -> None:
        """Add a cell that cannot be used to the problems."""
        self._problem(f"line {row.line}, column {column}: {row.cells[column][:40]!r} cannot be used; {reason}")

    def finish(self) -> None:
        """Raise `ScenarioError` if there were problems; else note the dialect."""
        if self.problems:
            raise ScenarioError(self.problems)
        usual = (self.dialect.decimal, self.dialect.thousands) == (".", "")
        columns = f"columns separated by {DELIMITERS[self.delimiter]}"
        note(f"{self.name}: {columns}; numbers read with {self.dialect}.", doubtful=not usual)

    def _find_dialect(self) -> _Dialect:
        """Decide by the first cells that allow only one dialect. Raises `ScenarioError` if two cells contradict each other."""
        proofs: dict[str, tuple[str, str]] = {}  # by kind: the mark, and where it was proven
        for row in self.rows:
            for column, text in row.cells.items():
                if text.isdigit():
                    continue
                decimal, thousands = _evidence(text)
                for kind, mark, other in (("decimal", decimal, "thousands"), ("thousands", thousands, "decimal")):
                    if not mark:
                        continue
                    where = f"line {row.line}, column {column}: {text[:40]!r}"
                    known, first = proofs.setdefault(kind, (mark, where))
                    if known == mark:
                        known, first = proofs.get(other, ("", ""))
                        if known != mark:
                            continue
                    raise ScenarioError(
                        f"{self.name}, {where} does not fit {first}: write all numbers of a file in the same way, with a "
                        "decimal point or comma, and with one separator of thousands or none."
                    )
        thousands = proofs.get("thousands", ("", ""))[0]
        return _Dialect(proofs.get("decimal", ("," if thousands == "." else ".", ""))[0], thousands)

    def _check_header(self, header: Sequence[str], columns: Sequence[str]) -> None:
        counts = Counter(header)
        missing = [c for c in columns if c not in counts]
        unknown = [c for c in counts if c not in columns]
        twice = sorted(c for c, count in counts.items() if count > 1)
        for what, names in (("lacks the column", missing), ("has an unknown column", unknown), ("has twice", twice)):
            if names:
                listed = ", ".join(name[:40] or "(empty)" for name in names[:MOST_NAMED])
                listed += ", …" if len(names) > MOST_NAMED else ""
                raise ScenarioError(f"{self.name}, line 1: the header {what} {listed}; expected {', '.join(columns)}.")

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self.name}, {text}.")
