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
from typing import Any

from iomt_core.scenario.dialect import GROUPED, Dialect, Proofs
from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.files import as_text, read_bytes
from iomt_core.scenario.notes import note
from iomt_core.scenario.parameters import (
    KILOBYTE,
    LONGEST_NAME,
    MOST_TASKS,
    Meta,
    Places,
    Scenario,
    ServerDevice,
    UserDevice,
    WorkloadTask,
    counted,
    metadata,
)

MOST_ROWS = MOST_TASKS  # as many tasks as a scenario can have
LARGEST_CSV = 30_000_000  # bytes
MOST_NAMED = 5  # columns in a message
WORKLOAD_COLUMNS = ("step", "user", "data_kb", "cycles", "priority")  # of every table that the lab writes
WORKLOAD_REQUIRED, WORKLOAD_OPTIONAL = WORKLOAD_COLUMNS[:4], ("priority", "kind", "deadline_ms")
PLACES_COLUMNS = ("kind", "x_m", "y_m")
# Columns of places that may be left out, each with its parameters of users and of servers, and the factor to SI.
DEVICE_COLUMNS = {
    "cpu_ghz": ("F_i", "F_k", 1e9), "bandwidth_mhz": ("", "B_k", 1e6), "latency_ms": ("", "latency", 1e-3),
    "power_w": ("P_tr", "", 1.0), "battery_j": ("Cap", "", 1.0),
}  # fmt: skip
TEXTS = ("kind", "name")  # columns that hold no number
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_workload_csv(source: bytes | Path, name: str | None = None) -> tuple[WorkloadTask, ...]:
    """Read tasks from a CSV with the columns step, user, data_kb, cycles, and perhaps priority, kind, deadline_ms.

    Step and user count from 1. An empty cell of the last three, or no such column: priority 1, no kind, the ward's deadline.
    source: the file's content or path; name: how messages call it. The dialect that was found is a note, see
    `collect_notes`. Raises `ScenarioError` naming line and column of every bad cell.
    """
    meta = metadata()
    whole = {"step": _limits(meta["T"], low=1), "user": _limits(meta["users"])}
    data, cycles, deadline = _limits(meta["D"], 1 / KILOBYTE), _limits(meta["C"]), _limits(meta["T_max"], 1e3)
    table = _Table(source, name, WORKLOAD_REQUIRED, WORKLOAD_OPTIONAL)
    tasks = []
    for row in table.rows:
        step, user = (int(table.number(row, column, *whole[column], whole=True)) for column in ("step", "user"))
        kilobytes, size = table.number(row, "data_kb", *data), table.number(row, "cycles", *cycles)
        priority = table.optional(row, "priority", *_limits(meta["P"]), whole=True)
        milliseconds, kind = table.optional(row, "deadline_ms", *deadline), row.cells.get("kind") or None
        if kind and len(kind) > LONGEST_NAME:
            table.refuse(row, "kind", f"allowed are {LONGEST_NAME} characters")
        if not table.problems:
            seconds = None if milliseconds is None else float(f"{milliseconds / 1e3:.12g}")
            P = 1 if priority is None else int(priority)
            task = WorkloadTask(step=step, user=user, D=kilobytes * KILOBYTE, C=size, P=P, kind=kind, T_max=seconds)
            tasks.append(task)
    table.finish()
    return tuple(tasks)


@dataclass(frozen=True)
class Site:
    """What a table of places says: where users and servers are, and what differs about their devices."""

    places: Places
    user_devices: tuple[UserDevice, ...] = ()
    server_devices: tuple[ServerDevice, ...] = ()


def read_places_csv(source: bytes | Path, name: str | None = None) -> Site:
    """Read places from a CSV with the columns kind (user or server), x_m, y_m, and perhaps values of each device.

    These are the columns name, cpu_ghz, bandwidth_mhz and latency_ms (servers), power_w and battery_j (users); an empty cell is
    the ward's value. Arguments, note and errors as for `read_workload_csv`.
    """
    side = metadata()["area"].high or math.inf
    places: dict[str, list[tuple[float, float]]] = {"user": [], "server": []}
    devices: dict[str, list[dict[str, Any]]] = {"user": [], "server": []}
    table = _Table(source, name, PLACES_COLUMNS, ("name", *DEVICE_COLUMNS))
    for row in table.rows:
        kind = row.cells["kind"].lower()
        if kind not in places:
            table.refuse(row, "kind", "allowed is user or server")
            continue
        places[kind].append((table.number(row, "x_m", 0, side), table.number(row, "y_m", 0, side)))
        device = _device_of(table, row, kind)
        if device:
            devices[kind].append({"number": len(places[kind]), **device})
    counts = {kind: (len(found), _limits(metadata()[f"{kind}s"])) for kind, found in places.items()}
    for kind, (count, (low, high)) in counts.items():
        if not low <= count <= high and not table.problems:
            raise ScenarioError(f"{table.name}: {counted(count, kind)}, allowed {low:g} to {high:g}.")
    table.finish()
    return Site(
        Places(users=tuple(places["user"]), servers=tuple(places["server"])),
        tuple(UserDevice(**device) for device in devices["user"]),
        tuple(ServerDevice(**device) for device in devices["server"]),
    )


def _device_of(table: _Table, row: _Row, kind: str) -> dict[str, Any]:
    """What a row of places says about its device, by field; adds a problem for a value that this kind does not have."""
    found: dict[str, Any] = {}
    if name := row.cells.get("name"):
        found["name"] = name
        if len(name) > LONGEST_NAME:
            table.refuse(row, "name", f"allowed are {LONGEST_NAME} characters")
    for column, (of_user, of_server, factor) in DEVICE_COLUMNS.items():
        field = of_user if kind == "user" else of_server
        if not field and row.cells.get(column):
            table.refuse(row, column, f"a {kind} has no such value: leave it empty")
        elif field:
            value = table.optional(row, column, *_limits(metadata()[field], 1 / factor))
            if value is not None:
                found[field] = float(f"{value * factor:.12g}")
    return found


def with_workload(s: Scenario, tasks: tuple[WorkloadTask, ...]) -> Scenario:
    """Return the scenario with these tasks in place of the random draw; users, tasks and T become what they need.

    Raises `ScenarioError` if a user has more tasks in a step than a ward can have, or places fix fewer users.
    """
    counts = Counter((task.step, task.user) for task in tasks)
    users = {"users": max(task.user for task in tasks)} if s.places is None else {}
    named = {task.kind for task in tasks}
    kinds = tuple(kind for kind in s.kinds if kind.name in named)  # tasks may need their deadlines
    return s.changed(workload=tasks, tasks=max(counts.values()), T=max(t.step for t in tasks), kinds=kinds, **users)


def with_places(s: Scenario, site: Places | Site) -> Scenario:
    """Return the scenario with these places; users and servers become their counts, and the ward grows to fit them all.

    Devices that differ are those of the site.
    """
    site = Site(site) if isinstance(site, Places) else site
    places = site.places
    farthest = max(x for place in (*places.users, *places.servers) for x in place)
    area = s.area if farthest <= s.area else math.ceil(farthest / 5) * 5.0
    return s.changed(
        places=places, users=len(places.users), servers=len(places.servers), area=area,
        user_devices=site.user_devices, server_devices=site.server_devices,
    )  # fmt: skip


def _limits(meta: Meta, factor: float = 1.0, low: float | None = None) -> tuple[float, float]:
    assert meta.low is not None
    assert meta.high is not None
    return (meta.low if low is None else low) * factor, meta.high * factor


@dataclass(frozen=True)
class _Row:
    line: int  # in the file, from 1
    cells: Mapping[str, str]  # by column, stripped


class _Table:
    """The rows of a CSV with known columns, and the dialect of its numbers.

    Collects the problems of cells; `finish` raises them together.
    """

    def __init__(
        self, source: bytes | Path, name: str | None, columns: Sequence[str], optional: Sequence[str] = ()
    ) -> None:
        self.name = name or (source.name if isinstance(source, Path) else "CSV")
        self.problems: list[str] = []
        self.rows: list[_Row] = []
        content = read_bytes(source, LARGEST_CSV) if isinstance(source, Path) else source
        lines = as_text(content, self.name, LARGEST_CSV).splitlines()
        if not any(line.strip() for line in lines):
            raise ScenarioError(f"{self.name} is empty: expected the columns {', '.join(columns)}.")
        self.delimiter = max(DELIMITERS, key=lines[0].count)
        reader = csv.reader(lines, delimiter=self.delimiter)
        try:
            header = [cell.strip().lower() for cell in next(reader)]
        except csv.Error as error:
            raise ScenarioError(f"{self.name}, line 1: {error}; expected {', '.join(columns)}.") from None
        self._check_header(header, columns, optional)
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

    def optional(self, row: _Row, column: str, low: float, high: float, whole: bool = False) -> float | None:
        """Return a cell's number, or None for an empty cell or a column that is not there."""
        return self.number(row, column, low, high, whole) if row.cells.get(column) else None

    def refuse(self, row: _Row, column: str, reason: str) -> None:
        """Add a cell that cannot be used to the problems."""
        self._problem(f"line {row.line}, column {column}: {row.cells[column][:40]!r} cannot be used; {reason}")

    def finish(self) -> None:
        """Raise `ScenarioError` if there were problems; else note the dialect."""
        if self.problems:
            raise ScenarioError(self.problems)
        columns = f"columns separated by {DELIMITERS[self.delimiter]}"
        note(f"{self.name}: {columns}; numbers read with {self.dialect}.", doubtful=not self.dialect.is_usual)

    def _find_dialect(self) -> Dialect:
        """Decide by the first cells that allow only one dialect. Raises `ScenarioError` if two cells contradict each other."""
        proofs = Proofs(self.name)
        for row in self.rows:
            for column, text in row.cells.items():
                if not text.isdigit() and column not in TEXTS:
                    proofs.add(text, f"line {row.line}, column {column}")
        return proofs.dialect()

    def _check_header(self, header: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> None:
        counts = Counter(header)
        missing = [c for c in columns if c not in counts]
        unknown = [c for c in counts if c not in (*columns, *optional)]
        twice = sorted(c for c, count in counts.items() if count > 1)
        for what, names in (("lacks the column", missing), ("has an unknown column", unknown), ("has twice", twice)):
            if names:
                listed = ", ".join(name[:40] or "(empty)" for name in names[:MOST_NAMED])
                listed += ", …" if len(names) > MOST_NAMED else ""
                more = f"; {', '.join(optional)} may be added" if optional else ""
                raise ScenarioError(
                    f"{self.name}, line 1: the header {what} {listed}; expected {', '.join(columns)}{more}."
                )

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self.name}, {text}.")
