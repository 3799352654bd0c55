"""Import of tables that people have: which table and column is what, and the scenario that they make.

`open_tables` reads the files and guesses columns, which people see and may change; `run` converts them. Every value is read in
one way only, or refused with its line, its column and what would be right; what was changed or left out is in the report.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from iomt_core.scenario.dialect import Dialect
from iomt_core.scenario.errors import ScenarioError, check_known
from iomt_core.scenario.importing.columns import (
    DEVICE_FIELDS,
    INSTRUCTIONS,
    ROLES,
    SITES,
    Field,
    Use,
    best_role,
    chosen,
    factor_of,
    fields_of,
    guess,
)
from iomt_core.scenario.importing.ground import centre_of, largest_error, project, unwrapped
from iomt_core.scenario.importing.read import Table, read_table
from iomt_core.scenario.importing.values import DEGREES, ORDERS, Findings, dialect_of, locations, numbers, texts, times
from iomt_core.scenario.parameters import (
    LONGEST_NAME,
    MOST_EPISODE_TASKS,
    MOST_KINDS,
    MOST_TASKS,
    Places,
    Scenario,
    ServerDevice,
    UserDevice,
    WorkloadTask,
    counted,
    metadata,
)
from iomt_core.scenario.presets import PRESETS
from iomt_core.scenario.tables import Site, with_places, with_workload
from iomt_core.scenario.units import read_number

BAD_ROWS = ("refuse", "drop")
LOCATIONS = ("users", "sites")
DECIMALS = ("point", "comma")
OTHER = "other"  # the kind of tasks whose kind is rare
USUAL_STEPS = 200  # a step's length is chosen so that there are at most so many
# Lengths of a step that are offered, seconds.
LENGTHS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 604_800,
)  # fmt: skip
PER_BIT = re.compile(r"(.+?)\s*(?:cycles?\s*)?(?:per|/)\s*bit")
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Options:
    """What a person chooses for an import.

    base: the scenario of all that the tables leave open. mapping: field, or role.field, → column, with its unit in brackets.
    values: field → value of all rows, for fields of tasks without a column; cycles may be "1000 per bit". step: length of a step in
    seconds; None: a usual one that fits. dates and decimal: where the cells leave it open. busiest_users, nearest_servers: how
    many at most. bad_rows: "refuse", or "drop" rows with cells that cannot be used. locations: what the places in a table of
    tasks are, "users" or the "sites" (servers) that they use. episode: of exported decisions; None: the first.
    """

    base: Scenario = field(default_factory=lambda: PRESETS["paper"])
    mapping: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    step: float | None = None
    dates: str | None = None
    decimal: str | None = None
    busiest_users: int | None = None
    nearest_servers: int | None = None
    bad_rows: str = "refuse"
    locations: str = "users"
    episode: int | None = None

    def check(self) -> None:
        """Raise `ScenarioError` for a value that is not allowed."""
        for name, value, known in (
            ("bad rows", self.bad_rows, BAD_ROWS), ("locations", self.locations, LOCATIONS),
            ("dates", self.dates or ORDERS[0], ORDERS), ("decimal", self.decimal or DECIMALS[0], DECIMALS),
        ):  # fmt: skip
            check_known(name, value, known)
        for name, count, what in (
            ("busiest users", self.busiest_users, "users"), ("nearest servers", self.nearest_servers, "servers"),
        ):  # fmt: skip
            high = int(metadata()[what].high or 0)
            if count is not None and not 1 <= count <= high:
                raise ScenarioError(f"{name} = {count} is out of range: allowed is 1 to {high}.")
        if self.step is not None and not 1e-3 <= self.step <= 1e8:
            raise ScenarioError(f"step = {self.step:g} s is out of range: allowed is 0.001 to 1e+08 s.")
        for name in self.values:
            check_known("set", name, ("data", "cycles", "priority", "kind", "deadline"))


@dataclass(frozen=True)
class Input:
    """A table with its role, what its columns were guessed or chosen to be, and what that leaves open."""

    table: Table
    role: str
    uses: Mapping[str, Use]
    questions: tuple[str, ...] = ()

    def columns(self) -> pd.DataFrame:
        """The mapping as people see it: a row a column of the file."""
        by_column = {use.column: use for use in self.uses.values()}
        rows = []
        for n, header in enumerate(self.table.headers):
            use = by_column.get(n)
            unit = "" if use is None else f"{use.unit} (usual)" if use.assumed else use.unit
            how = "ignored" if use is None else "chosen" if use.given else "guessed"
            rows.append((header, ", ".join(self.table.example(n)), use.field.name if use else "", unit, how))
        return pd.DataFrame(rows, columns=["column", "first cells", "taken as", "unit", "how"])


@dataclass(frozen=True)
class Line:
    """A line of the report. kind: what happened to the data."""

    kind: Literal["taken", "changed", "dropped", "ignored"]
    text: str


@dataclass(frozen=True)
class Imported:
    """The result of an import. ids: kind ("user" or "server"), number in the ward, and id in the tables."""

    scenario: Scenario
    ids: pd.DataFrame
    report: tuple[Line, ...]
    inputs: tuple[Input, ...]


def open_tables(
    files: Sequence[tuple[str, bytes]], options: Options, roles: Mapping[str, str] | None = None
) -> tuple[Input, ...]:
    """Read the files (name, content) and decide on their columns. roles: by file, where a person chose. Raises `ScenarioError`."""
    options.check()
    tables = [(read_table(content, name), (roles or {}).get(name)) for name, content in files]
    return tuple(map_columns(table, role, options.mapping) for table, role in tables)


def map_columns(table: Table, role: str | None, mapping: Mapping[str, str]) -> Input:
    """Decide what a table's columns are. Raises `ScenarioError` where its role is open, or a chosen column does not exist."""
    role = role or best_role(table.headers, table.name)
    if role is None:
        raise ScenarioError(
            f"{table.name}: its columns ({', '.join(h[:30] for h in table.headers[:8])}) do not show what it is about; say it: "
            f"{', '.join(ROLES)}. A table of tasks has user and step or time; one of places has latitude and longitude, or x and y."
        )
    check_known("role", role, ROLES)
    own = {}
    for name, column in mapping.items():
        of, _, plain = name.rpartition(".")
        if of:
            check_known("map", of, ROLES)
        if of == role or (not of and (plain in fields_of(role))):
            own[plain] = column
        elif not of and not any(plain in fields_of(other) for other in ROLES):
            check_known("map", plain, {name for other in ROLES for name in fields_of(other)})
    found, questions = guess(role, table.headers)
    uses = chosen(role, table.headers, own, found)
    questions = [q for q in questions if not any(q.startswith(f"{name} may") or f"as {name}:" in q for name in own)]
    return Input(table, role, uses, tuple(questions))


class _Run:
    """An import at work: the report so far, and tables whose columns become values."""

    def __init__(self, inputs: Sequence[Input], options: Options, progress: Progress) -> None:
        self.options, self.progress = options, progress
        self.lines: list[Line] = []
        self.inputs: dict[str, Input] = {}
        for one in inputs:
            if one.role in self.inputs:
                raise ScenarioError(f"{self.inputs[one.role].table.name} and {one.table.name} are both {one.role}: allowed is one.")
            self.inputs[one.role] = one
        if "places" in self.inputs and self.inputs.keys() & {"users", "servers"}:
            raise ScenarioError("places: a table of users and servers, and one of either alone, cannot be taken together.")

    def say(self, kind: Any, text: str) -> None:
        self.lines.append(Line(kind, text))

    def describe(self, one: Input, dialect: Dialect) -> None:
        """Say in the report how a table is read."""
        table = one.table
        marks = "" if table.exact else f"; numbers with {dialect}"
        self.say("taken", f"{table.name} as {one.role}: {table.rows:,} rows; {table.format}{marks}.")
        for change in table.changes:
            self.say("changed", f"{table.name}: {change}.")
        for use in one.uses.values():
            unit = f" in {use.unit}" if use.unit else ""
            why = ", for its name has no unit" if use.assumed and use.unit != "cycle" and use.field.unit != "°" else ""
            self.say("taken", f"{table.name}: column {table.headers[use.column][:40]!r} as {use.field.name}{unit}{why}.")
            if use.unit.lower() in INSTRUCTIONS:
                self.say("changed", f"{table.name}: an instruction counts as one cycle.")
        taken = {use.column for use in one.uses.values()}
        unused = [header[:40] for n, header in enumerate(table.headers) if n not in taken]
        if unused:
            self.say("ignored", f"{table.name}: columns {', '.join(unused[:20])}{', …' if len(unused) > 20 else ''}.")
        for question in one.questions:
            self.say("ignored", f"{table.name}: {question}.")

    def need(self, one: Input, *alternatives: Sequence[str]) -> None:
        """Raise `ScenarioError` unless a table has all fields of one of the alternatives."""
        if any(all(name in one.uses for name in names) for names in alternatives):
            return
        wanted = " or ".join(" and ".join(names) for names in alternatives)
        questions = "".join(f" {question}." for question in one.questions)
        raise ScenarioError(
            f"{one.table.name} lacks a column for {wanted}; it has {', '.join(h[:40] for h in one.table.headers[:20])}. Choose one, for "
            f"example {alternatives[0][0]}=COLUMN.{questions}"
        )

    def dialect(self, one: Input) -> Dialect:
        """How a table writes the numbers that are taken."""
        columns = [
            (use.column, use.field.name in DEGREES) for use in one.uses.values()
            if use.field.kind in ("number", "whole") or (use.field.kind == "time" and use.unit)
        ]  # fmt: skip
        return dialect_of(one.table, columns, self.options.decimal)

    def findings(self, one: Input) -> Findings:
        """A new list of what cannot be used, with the lines that have too few or too many cells."""
        return Findings(one.table)

    def settle(self, one: Input, findings: Findings) -> np.ndarray:
        """The rows that are used. Raises `ScenarioError` for the others, or reports that they are dropped."""
        short = one.table.short_count
        total = findings.total + short
        if not total:
            return ~findings.bad
        problems = [*one.table.short_rows, *findings.problems()]
        if self.options.bad_rows == "refuse":
            raise ScenarioError([*problems[:8], f"{one.table.name}: {total:,} of {one.table.rows + short:,} rows cannot be used. "
                                 "Mend them, or leave such rows out: bad rows = drop."])  # fmt: skip
        if findings.total == one.table.rows:
            raise ScenarioError([*problems[:8], f"{one.table.name}: no row can be used."])
        self.say("dropped", f"{one.table.name}: {total:,} of {one.table.rows + short:,} rows that cannot be used.")
        for problem in problems[:8]:
            self.say("dropped", problem)
        return ~findings.bad

    def column(
        self, one: Input, name: str, dialect: Dialect, findings: Findings, side: int = 0, optional: bool = False
    ) -> np.ndarray:
        """The numbers of a field in SI, limited to the range of its parameter."""
        use = one.uses[name]
        parameter = use.field.parameters[side]
        if parameter:
            meta = metadata()[parameter]
            low = 1.0 if name == "step" else meta.low
            assert low is not None
            assert meta.high is not None
            allowed = f"{low:g} to {meta.high:g}" if name == "step" else meta.allowed()
            high = math.inf if name == "step" else meta.high  # an export may begin late; the count is limited below
            return numbers(one.table, use, dialect, findings, low, high, allowed, optional)
        if name in DEGREES:
            most = DEGREES[name]
            return numbers(one.table, use, dialect, findings, -most, most, f"-{most:g} to {most:g} degrees", optional)
        return numbers(one.table, use, dialect, findings, optional=optional)


def run(inputs: Sequence[Input], options: Options, progress: Progress = lambda done, what: None) -> Imported:
    """Convert tables to a scenario. progress: called with the share that is done and what comes next. Raises `ScenarioError`."""
    options.check()
    work = _Run(inputs, options, progress)
    if not work.inputs:
        raise ScenarioError("no table was given: allowed are tasks, users, servers, or places.")
    sites = {role: _read_sites(work, one) for role, one in work.inputs.items() if role in SITES}
    tasks = _read_tasks(work, work.inputs["tasks"]) if "tasks" in work.inputs else None
    progress(0.6, "matching ids and places")
    site, users, ids = _place(work, sites, tasks)
    s = options.base
    if site is not None:
        s = with_places(s, site)
    if tasks is not None:
        progress(0.7, "making tasks")
        s = _with_tasks(work, s, tasks, users)
    progress(1.0, "done")
    return Imported(s, ids, tuple(work.lines), tuple(inputs))


@dataclass
class _Sites:
    """Users and servers of a table of places; x, y are degrees where `is_degrees`."""

    table: Table
    rows: np.ndarray  # of the table, (n,)
    is_server: np.ndarray  # (n,) bool
    ids: np.ndarray | None  # (n,) text
    x: np.ndarray
    y: np.ndarray
    is_degrees: bool
    names: np.ndarray | None
    devices: Mapping[str, np.ndarray]  # by field, SI, NaN where there is none


def _read_sites(work: _Run, one: Input) -> _Sites:
    work.progress(0.1, f"reading {one.table.name}")
    work.need(one, ("latitude", "longitude"), ("x", "y"), ("location",))
    if one.role == "places":
        work.need(one, ("role",))
    dialect, findings = work.dialect(one), work.findings(one)
    work.describe(one, dialect)
    x, y, is_degrees = _positions(work, one, dialect, findings)
    is_server = np.full(one.table.rows, one.role == "servers")
    if one.role == "places":
        words = np.array([text.lower() for text in texts(one.table, one.uses["role"])], dtype=object)
        is_server = np.isin(words, ("server", "servers", "site", "edge", "station"))
        findings.refuse(~is_server & ~np.isin(words, ("user", "users")), one.uses["role"].column, "allowed is user or server")
    devices: dict[str, np.ndarray] = {}
    for name in DEVICE_FIELDS:
        if name in one.uses:
            devices[name] = _device_column(work, one, name, dialect, findings, is_server)
    identities = _identities(one, "id", findings) if "id" in one.uses else None
    keep = work.settle(one, findings)
    rows = np.flatnonzero(keep)
    names = texts(one.table, one.uses["name"])[rows] if "name" in one.uses else None
    if identities is not None:
        identities = identities[rows]
        for kind, mask in (("user", ~is_server[rows]), ("server", is_server[rows])):
            again = pd.Series(identities[mask]).duplicated().to_numpy()
            if again.any():
                row = int(rows[np.flatnonzero(mask)[again.argmax()]])
                raise ScenarioError(
                    f"{one.table.name}, line {one.table.line(row)}, column {one.table.headers[one.uses['id'].column][:40]}: the {kind} "
                    f"{one.table.cell(row, one.uses['id'].column)[:40]!r} stands twice; allowed is each once."
                )
    return _Sites(one.table, rows, is_server[rows], identities, x[rows], y[rows], is_degrees, names,
                  {name: values[rows] for name, values in devices.items()})  # fmt: skip


def _device_column(
    work: _Run, one: Input, name: str, dialect: Dialect, findings: Findings, is_server: np.ndarray
) -> np.ndarray:
    """Values of a device, SI; a table of users and servers limits each row by its own parameter."""
    found = np.full(one.table.rows, np.nan)
    use = one.uses[name]
    for side, mask in ((0, ~is_server), (1, is_server)):
        if not mask.any():
            continue
        alone = Findings(one.table)
        if use.field.parameters[side]:
            values = work.column(one, name, dialect, alone, side, optional=True)
            found[mask] = values[mask]
            reason = f"allowed is {metadata()[use.field.parameters[side]].allowed()}"
        else:
            cells = numbers(one.table, use, dialect, alone, optional=True)
            alone.bad = ~np.isnan(cells)
            reason = f"a {'server' if side else 'user'} has no such value: leave it empty"
        findings.refuse(alone.bad & mask, use.column, reason)
    return found


def _positions(work: _Run, one: Input, dialect: Dialect, findings: Findings) -> tuple[np.ndarray, np.ndarray, bool]:
    """x and y in metres, or longitude and latitude in degrees, of every row; and whether they are degrees."""
    if {"latitude", "longitude"} <= one.uses.keys():
        alone = Findings(one.table)
        lat = work.column(one, "latitude", dialect, alone)
        lon = work.column(one, "longitude", dialect, findings)
        if alone.total and np.nanmax(np.abs(lat)) > 90 and np.nanmax(np.abs(lon)) <= 90:
            names = [one.table.headers[one.uses[name].column][:40] for name in ("latitude", "longitude")]
            raise ScenarioError([*alone.problems()[:3], f"{one.table.name}: latitude and longitude may be exchanged: "
                                 f"latitude={names[1]}, longitude={names[0]}."])  # fmt: skip
        work.column(one, "latitude", dialect, findings)
        return lon, lat, True
    if "location" in one.uses:
        lat, lon = locations(one.table, one.uses["location"], findings)
        return lon, lat, True
    return work.column(one, "x", dialect, findings), work.column(one, "y", dialect, findings), False


def _identities(one: Input, name: str, findings: Findings) -> np.ndarray:
    """The ids of a column as text; whole numbers that a program wrote as 7.0 are 7."""
    found = texts(one.table, one.uses[name])
    findings.refuse(found == "", one.uses[name].column, "an id is needed")
    unique = pd.Series(found).unique()
    if len(unique) and all(re.fullmatch(r"[0-9]+(\.0)?|", text) for text in unique) and any("." in text for text in unique):
        found = np.array([text.removesuffix(".0") for text in found], dtype=object)
    return found


@dataclass
class _Tasks:
    """The tasks of a table, in its order. step from 1; data in bit, deadline in s, NaN where there is none."""

    table: Table
    rows: np.ndarray
    user: np.ndarray  # text
    seconds: np.ndarray | None  # or the steps below
    step: np.ndarray | None
    data: np.ndarray
    cycles: np.ndarray
    priority: np.ndarray
    kind: np.ndarray | None
    deadline: np.ndarray | None
    x: np.ndarray | None
    y: np.ndarray | None
    is_degrees: bool


def _read_tasks(work: _Run, one: Input) -> _Tasks:
    options, table = work.options, one.table
    work.progress(0.2, f"reading {table.name}")
    work.need(one, ("user",))
    work.need(one, ("step",), ("time",))
    for name in ("data", "cycles"):
        if name not in options.values:
            try:
                work.need(one, (name,))
            except ScenarioError as error:
                example = "30 KB" if name == "data" else "150 kcycles', or '1000 per bit"
                raise ScenarioError(f"{error} Or set it for all tasks: {name} = '{example}'.") from None
    if {"step", "time"} <= one.uses.keys():
        uses = {name: use for name, use in one.uses.items() if name != ("time" if one.uses["step"].given else "step")}
        if one.uses["time"].given == one.uses["step"].given:
            uses = {name: use for name, use in one.uses.items() if name != "time"}
        one = replace(one, uses=uses)
    uses = {name: use for name, use in one.uses.items() if name not in options.values}
    one = replace(one, uses=uses)
    dialect, findings = work.dialect(one), work.findings(one)
    work.describe(one, dialect)
    user = _identities(one, "user", findings)
    seconds = step = None
    if "step" in uses:
        step = work.column(one, "step", dialect, findings)
    else:
        seconds, how = times(table, uses["time"], dialect, findings, options.dates)
        work.say("taken", f"{table.name}: times read as {how}.")
    work.progress(0.35, f"reading {table.name}")
    values = {name: _constant(name, text) for name, text in options.values.items() if name != "kind"}
    data = _values_or(work, one, "data", dialect, findings, values)
    if (per_bit := PER_BIT.fullmatch(options.values.get("cycles", ""))) is not None:
        cycles = data * _number(per_bit[1], "cycle", "set cycles")
        meta = metadata()["C"]
        findings.refuse((cycles < (meta.low or 0)) | (cycles > (meta.high or math.inf)), uses["data"].column if "data" in uses else 0,
                        f"it needs cycles out of range; allowed is {meta.allowed()}")  # fmt: skip
    else:
        cycles = _values_or(work, one, "cycles", dialect, findings, values)
    for name, text in options.values.items():
        work.say("taken", f"all tasks: {name} = {text}.")
    priority = _values_or(work, one, "priority", dialect, findings, values, 1.0)
    if "priority" in uses and np.isnan(priority).any():
        work.say("changed", f"{table.name}: {int(np.isnan(priority).sum()):,} tasks without a priority have priority 1.")
    deadline = _values_or(work, one, "deadline", dialect, findings, values, math.nan)
    kind = None
    if "kind" in options.values:
        kind = np.full(table.rows, options.values["kind"], dtype=object)
    elif "kind" in uses:
        kind = texts(table, uses["kind"])
    x = y = None
    is_degrees = False
    if {"latitude", "longitude"} <= uses.keys() or {"x", "y"} <= uses.keys() or "location" in uses:
        x, y, is_degrees = _positions(work, one, dialect, findings)
    keep = work.settle(one, findings)
    keep = _one_episode(work, one, dialect, keep)
    rows = np.flatnonzero(keep)

    def kept(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    work.progress(0.5, f"reading {table.name}")
    found = _Tasks(
        table, rows, user[rows], kept(seconds), kept(step), data[rows], cycles[rows], np.nan_to_num(priority[rows], nan=1.0),
        kept(kind), None if np.isnan(deadline).all() else deadline[rows], kept(x), kept(y), is_degrees,
    )  # fmt: skip
    return found


def _values_or(
    work: _Run, one: Input, name: str, dialect: Dialect, findings: Findings, values: Mapping[str, float],
    otherwise: float | None = None,
) -> np.ndarray:  # fmt: skip
    """A column of tasks, or the value that was set for all, or `otherwise`."""
    if name in values:
        return np.full(one.table.rows, values[name])
    if name in one.uses:
        return work.column(one, name, dialect, findings, optional=otherwise is not None)
    return np.full(one.table.rows, math.nan if otherwise is None else otherwise)


def _constant(name: str, text: str) -> float:
    """A value for all tasks, SI. Raises `ScenarioError`."""
    if name == "cycles" and PER_BIT.fullmatch(text):
        return math.nan
    field = fields_of("tasks")[name]
    value = _number(text, field.unit, f"set {name}")
    meta = metadata()[field.parameters[0]]
    if not (meta.low or 0) <= value <= (meta.high or math.inf) or (field.kind == "whole" and value != int(value)):
        raise ScenarioError(f"set {name} = {text[:40]!r} is out of range: allowed is {meta.allowed()}.")
    return value


def _number(text: str, unit: str, where: str) -> float:
    try:
        return float(read_number(text, unit))
    except ValueError as error:
        raise ScenarioError(f"{where} = {text[:40]!r} cannot be used: {error}.") from None


def _one_episode(work: _Run, one: Input, dialect: Dialect, keep: np.ndarray) -> np.ndarray:
    """Of exported decisions the rows of one episode: each episode begins with step 1 again."""
    if "episode" not in one.uses:
        return keep
    episodes = numbers(one.table, one.uses["episode"], dialect, Findings(one.table), optional=True)
    present = np.unique(episodes[keep & ~np.isnan(episodes)]).astype(int).tolist()
    wanted = work.options.episode if work.options.episode is not None else (present or [1])[0]
    if wanted not in present:
        raise ScenarioError(f"episode = {wanted} is not in {one.table.name}: allowed is {present[0]} to {present[-1]}.")
    if len(present) > 1:
        work.say("dropped", f"{one.table.name}: all episodes but {wanted}; it has {present[0]} to {present[-1]}.")
    return keep & (episodes == wanted)


def _place(
    work: _Run, sites: Mapping[str, _Sites], tasks: _Tasks | None
) -> tuple[Site | None, Mapping[str, int] | None, pd.DataFrame]:
    """Places of users and servers in metres, the number of each user id, and the ids as a table."""
    users, servers = _people(work, sites, tasks), _servers(work, sites, tasks)
    counts = None if tasks is None else pd.Series(tasks.user).value_counts()
    wanted = work.options.busiest_users
    if wanted is not None and users.total > wanted:
        if counts is None:
            raise ScenarioError("busiest users: who is busy is known from a table of tasks only.")
        busy = np.array([counts.get(one, 0) for one in users.ids])
        best = np.sort(np.argsort(-busy, kind="stable")[:wanted])
        lost = int(busy.sum() - busy[best].sum())
        work.say("dropped", f"{users.total - wanted:,} of {users.total:,} users, with {lost:,} of {busy.sum():,} tasks: the "
                 f"{wanted} busiest are taken.")  # fmt: skip
        users = users.select(best)
    _check_count(users.total, "user", work.options.busiest_users, "busiest users = 2000 takes those with most tasks")
    site = None
    if servers is not None and users.x is not None:
        servers = _nearest(work, servers, users)
        site = _site(work, users, servers)
    elif servers is not None:
        users = _drawn(work, users, servers)
        servers = _nearest(work, servers, users)
        site = _site(work, users, servers)
    elif users.x is not None:
        if tasks is None or sites:
            raise ScenarioError("servers: places of users need places of servers too; give a table of servers.")
        work.say("ignored", "places of users: without places of servers they say nothing. Give a table of servers, or say that they are "
                 "those of sites: locations = sites.")  # fmt: skip
    numbered = {str(one): n for n, one in enumerate(users.ids, 1)} if not users.kept else {str(n): n for n in range(1, users.total + 1)}
    frames = [pd.DataFrame({"kind": "user", "number": list(numbered.values()), "id": list(numbered)})]
    if servers is not None and site is not None:
        frames.append(pd.DataFrame({"kind": "server", "number": range(1, servers.total + 1), "id": servers.ids}))
    return site, numbered, pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class _Group:
    """Users or servers before they have their numbers: ids, and places, names and values of devices if there are any."""

    ids: np.ndarray
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    is_degrees: bool = False
    lines: np.ndarray | None = None
    file: str = ""
    names: np.ndarray | None = None
    devices: Mapping[str, np.ndarray] = field(default_factory=dict)
    kept: bool = False  # ids are the numbers 1 to n already
    count: int | None = None

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.ids) if self.count is None else self.count

    def select(self, rows: np.ndarray) -> _Group:
        """The group of these rows, with new numbers."""

        def of(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[rows]

        return replace(self, ids=self.ids[rows], x=of(self.x), y=of(self.y), lines=of(self.lines), names=of(self.names),
                       devices={name: values[rows] for name, values in self.devices.items()}, kept=False, count=None)  # fmt: skip


def _people(work: _Run, sites: Mapping[str, _Sites], tasks: _Tasks | None) -> _Group:
    table = next((found for found in sites.values() if not found.is_server.all()), None)
    if table is not None:
        group = _group_of(table, ~table.is_server)
        if tasks is not None:
            known = set(group.ids)
            unknown = ~pd.Series(tasks.user).isin(known).to_numpy()
            if unknown.any():
                findings = Findings(tasks.table)
                mask = np.zeros(tasks.table.rows, dtype=bool)
                mask[tasks.rows[unknown]] = True
                column = work.inputs["tasks"].uses["user"].column
                findings.refuse(mask, column, f"{table.table.name} has no such user")
                if work.options.bad_rows == "refuse":
                    raise ScenarioError(findings.problems())
                work.say("dropped", f"{int(unknown.sum()):,} tasks of users that {table.table.name} does not have.")
                _keep_tasks(tasks, ~unknown)
        return group
    if tasks is None:
        return _Group(np.array([str(n) for n in range(1, work.options.base.ward_users + 1)], dtype=object), kept=True)
    codes, unique = pd.factorize(tasks.user)
    ids = _in_order(unique)
    if all(re.fullmatch("[1-9][0-9]{0,6}", one) for one in ids):
        highest = int(ids[-1])
        if highest <= max(2 * len(ids), 2) and work.options.busiest_users is None and tasks.x is None:
            return _Group(np.array([str(n) for n in range(1, highest + 1)], dtype=object), kept=True)
    _doubles(work, ids)
    group = _Group(np.array(ids, dtype=object))
    listed = ", ".join(f"{one[:20]} → {n}" for n, one in enumerate(ids[:3], 1))
    if work.options.busiest_users is None or work.options.busiest_users >= len(ids):
        work.say("changed", f"{counted(len(ids), 'user id')} became numbers: {listed}{', …' if len(ids) > 3 else ''}.")
    else:
        work.say("changed", f"{len(ids):,} user ids become numbers, in the order of the ids.")
    if tasks.x is not None and tasks.y is not None:
        x = unwrapped(tasks.x) if tasks.is_degrees else tasks.x
        if work.options.locations == "sites":  # where most of a user's tasks are
            frame = pd.DataFrame({"user": tasks.user, "x": tasks.x, "y": tasks.y}).value_counts().reset_index()
            frame = frame.sort_values(["count", "x", "y"], ascending=[False, True, True]).drop_duplicates("user").set_index("user")
            where = "at the site of most of its tasks"
        else:
            frame = pd.DataFrame({"user": tasks.user, "x": x, "y": tasks.y}).groupby("user").median()
            where = "at the median of its places"
        frame = frame.loc[ids]
        work.say("changed", f"each user stays {where}: the tasks' own places move no one.")
        group = replace(group, x=frame["x"].to_numpy(), y=frame["y"].to_numpy(), is_degrees=tasks.is_degrees)
    return group


def _servers(work: _Run, sites: Mapping[str, _Sites], tasks: _Tasks | None) -> _Group | None:
    table = next((found for found in sites.values() if found.is_server.any()), None)
    if table is not None:
        return _group_of(table, table.is_server)
    if work.options.locations == "sites":
        if tasks is None or tasks.x is None:
            raise ScenarioError("locations = 'sites' needs a table of tasks with places: latitude and longitude, x and y, or location.")
        frame = pd.DataFrame({"x": tasks.x, "y": tasks.y}).drop_duplicates().sort_values(["y", "x"])
        ids = np.array([f"{y:.6g}/{x:.6g}" for x, y in frame.itertuples(index=False)], dtype=object)
        work.say("taken", f"{counted(len(frame), 'different place')} of tasks as servers.")
        return _Group(ids, frame["x"].to_numpy(), frame["y"].to_numpy(), tasks.is_degrees)
    return None


def _group_of(table: _Sites, mask: np.ndarray) -> _Group:
    count = int(mask.sum())
    ids = table.ids[mask] if table.ids is not None else np.array([str(n) for n in range(1, count + 1)], dtype=object)
    lines = np.array([table.table.line(int(row)) for row in table.rows[mask]])
    return _Group(
        ids, table.x[mask], table.y[mask], table.is_degrees, lines, table.table.name,
        None if table.names is None else table.names[mask], {n: v[mask] for n, v in table.devices.items()}, table.ids is None,
    )  # fmt: skip


def _check_count(count: int, noun: str, chosen_count: int | None, advice: str) -> None:
    high = int(metadata()[f"{noun}s"].high or 0)
    if count > high:
        raise ScenarioError(f"{counted(count, noun)}, allowed 1 to {high}: {advice}.")


def _nearest(work: _Run, servers: _Group, users: _Group) -> _Group:
    """The servers that are nearest to the users, if fewer are wanted than there are."""
    wanted = work.options.nearest_servers
    if wanted is not None and servers.total > wanted:
        together = [_flat(group) for group in (servers, users)] if servers.is_degrees != users.is_degrees else None
        if together is not None:
            raise ScenarioError(_MIXED)
        sx, sy, ux, uy = _on_ground(servers, users)
        distance = np.zeros(servers.total)
        for start in range(0, len(ux), 1000):
            part = slice(start, start + 1000)
            distance += np.hypot(sx[:, None] - ux[None, part], sy[:, None] - uy[None, part]).sum(1)
        best = np.sort(np.argsort(distance, kind="stable")[:wanted])
        work.say("dropped", f"{servers.total - wanted:,} of {servers.total:,} servers: the {wanted} with the smallest mean distance "
                 "to the users are taken.")  # fmt: skip
        servers = servers.select(best)
    _check_count(servers.total, "server", wanted, "nearest servers = 256 takes those nearest to the users")
    return servers


_MIXED = "places: one table has degrees, another metres; give all of them in the same way."


def _flat(group: _Group) -> bool:
    return group.is_degrees


def _on_ground(servers: _Group, users: _Group) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x and y of servers and of users in metres, from any origin. Raises `ScenarioError` where one has degrees, one metres."""
    if servers.is_degrees != users.is_degrees:
        raise ScenarioError(_MIXED)
    assert servers.x is not None
    assert servers.y is not None
    assert users.x is not None
    assert users.y is not None
    if not servers.is_degrees:
        return servers.x, servers.y, users.x, users.y
    centre = centre_of(np.concatenate([servers.y, users.y]), np.concatenate([servers.x, users.x]))
    return (*project(servers.y, servers.x, centre), *project(users.y, users.x, centre))


def _drawn(work: _Run, users: _Group, servers: _Group) -> _Group:
    """Users without places: drawn uniformly in the box of the servers by the scenario's layout seed."""
    assert servers.x is not None
    assert servers.y is not None
    draw = np.random.default_rng(work.options.base.seed)
    x = unwrapped(servers.x) if servers.is_degrees else servers.x
    work.say("changed", f"{counted(users.total, 'user')} without places: drawn uniformly among the servers (layout seed "
             f"{work.options.base.seed}).")  # fmt: skip
    return replace(users, x=draw.uniform(x.min(), x.max(), users.total),
                   y=draw.uniform(servers.y.min(), servers.y.max(), users.total), is_degrees=servers.is_degrees)  # fmt: skip


def _site(work: _Run, users: _Group, servers: _Group) -> Site:
    """Places in metres within the ward's square, and the devices that differ."""
    sx, sy, ux, uy = _on_ground(servers, users)
    x, y = np.concatenate([ux, sx]), np.concatenate([uy, sy])
    side = metadata()["area"].high or math.inf
    if max(np.ptp(x), np.ptp(y)) > side:
        away = np.hypot(x - np.median(x), y - np.median(y))
        n = int(away.argmax())
        group, row, noun = (users, n, "user") if n < len(ux) else (servers, n - len(ux), "server")
        where = f"{group.file}, line {group.lines[row]}: " if group.lines is not None else ""
        raise ScenarioError(
            f"{where}the {noun} {str(group.ids[row])[:40]!r} lies {away[n] / 1e3:,.1f} km from the middle of all places; allowed is a "
            f"square of {side / 1e3:g} km. Leave far places out, or take the nearest servers."
        )
    if servers.is_degrees:
        lat, lon = np.concatenate([users.y, servers.y]), np.concatenate([users.x, servers.x])  # type: ignore[list-item]
        error, share = largest_error(lat, lon, x, y)
        centre = centre_of(lat, lon)
        work.say("changed", f"degrees became metres around {centre[0]:.5f}, {centre[1]:.5f}; distances are off by at most {error:.2g} m "
                 f"({share * 100:.2g} %).")  # fmt: skip
    if servers.is_degrees or x.min() < 0 or y.min() < 0 or max(x.max(), y.max()) > side:
        if not servers.is_degrees:
            work.say("changed", f"places moved by {-x.min():.6g} m and {-y.min():.6g} m, so that the ward begins at 0.")
        ux, uy, sx, sy = (np.round(values, 2) for values in (ux - x.min(), uy - y.min(), sx - x.min(), sy - y.min()))
    places = Places(users=tuple(zip(ux.tolist(), uy.tolist(), strict=True)), servers=tuple(zip(sx.tolist(), sy.tolist(), strict=True)))
    return Site(places, tuple(_devices(work, users, 0)), tuple(_devices(work, servers, 1)))


def _devices(work: _Run, group: _Group, side: int) -> list[Any]:
    kind = (UserDevice, ServerDevice)[side]
    fields: Mapping[str, Field] = fields_of(("users", "servers")[side])
    found, cleaned = [], 0
    for row in range(group.total):
        values: dict[str, Any] = {}
        if group.names is not None and (name := str(group.names[row])):
            clean = clean_name(name)
            cleaned += clean != name
            if clean:
                values["name"] = clean
        for name, column in group.devices.items():
            if name in fields and not math.isnan(column[row]):
                values[fields[name].parameters[side]] = float(f"{column[row]:.12g}")
        if values:
            found.append(kind(number=row + 1, **values))
    if cleaned:
        work.say("changed", f"{counted(cleaned, 'name')} shortened to {LONGEST_NAME} characters, or without characters that a name cannot have.")
    return found


def clean_name(text: str) -> str:
    """A name that a scenario can have: visible characters only, at most 40, and none that begins a spreadsheet's formula."""
    visible = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return visible.lstrip("=+-@＝＋－＠﹢﹣﹫ ")[:LONGEST_NAME].strip()


def _in_order(unique: Sequence[Any]) -> list[str]:
    """Ids in the order that people expect: by their numbers where they have some, "p2" before "p10"."""

    def key(text: str) -> tuple[Any, ...]:
        return tuple((0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in re.split("([0-9]{1,18})", text) if part)

    return sorted(map(str, unique), key=lambda text: (key(text), text))


def _doubles(work: _Run, ids: Sequence[str]) -> None:
    """Say which ids differ in case, spaces or leading zeros only."""
    seen: dict[str, str] = {}
    for one in ids:
        plain = re.sub(r"(?<![0-9])0+(?=[0-9])", "", " ".join(one.casefold().split()))
        if plain in seen:
            work.say("changed", f"the ids {seen[plain][:30]!r} and {one[:30]!r} count as two users.")
            return
        seen[plain] = one


def _keep_tasks(tasks: _Tasks, mask: np.ndarray) -> None:
    for name in ("rows", "user", "seconds", "step", "data", "cycles", "priority", "kind", "deadline", "x", "y"):
        values = getattr(tasks, name)
        if values is not None:
            setattr(tasks, name, values[mask])


def _with_tasks(work: _Run, s: Scenario, tasks: _Tasks, users: Mapping[str, int] | None) -> Scenario:
    assert users is not None
    number = pd.Series(tasks.user).map(users)
    if number.isna().any():  # those who are not among the busiest
        mask = ~number.isna().to_numpy()
        _keep_tasks(tasks, mask)
        number = number[mask]
    if not len(number):
        raise ScenarioError(f"{tasks.table.name}: no task is left.")
    user = number.to_numpy().astype(int)
    step, s = _steps(work, s, tasks, user)
    if len(user) > MOST_TASKS:
        raise ScenarioError(f"{len(user):,} tasks, allowed 1 to {MOST_TASKS:,}: take fewer users (busiest users), or split the table.")
    kinds = _kinds(work, tasks)
    order = np.lexsort((np.arange(len(user)), user, step))
    columns = [step[order].tolist(), user[order].tolist(), tasks.data[order].tolist(), tasks.cycles[order].tolist(),
               tasks.priority[order].astype(int).tolist()]  # fmt: skip
    kind = [None] * len(user) if kinds is None else kinds[order].tolist()
    deadline = [None] * len(user) if tasks.deadline is None else [None if math.isnan(x) else x for x in tasks.deadline[order].tolist()]
    made = tuple(  # all values were checked as whole columns above
        WorkloadTask.model_construct(step=t, user=i, D=d, C=c, P=p, kind=k or None, T_max=limit)
        for t, i, d, c, p, k, limit in zip(*columns, kind, deadline, strict=True)
    )
    work.progress(0.9, "checking the scenario")
    done = with_workload(s, made)
    work.say("taken", f"{len(made):,} tasks of {counted(done.ward_users, 'user')} in {counted(done.T, 'step')}, at most {done.tasks} a "
             "user and step.")  # fmt: skip
    return done


def _kinds(work: _Run, tasks: _Tasks) -> np.ndarray | None:
    if tasks.kind is None:
        return None
    counts = pd.Series(tasks.kind).value_counts()
    names = {text: clean_name(str(text)) for text in counts.index}
    if set(names.values()) <= {"", "task"}:  # what exported decisions have where tasks have no kind
        return None
    if len(set(names.values()) - {""}) > MOST_KINDS:
        often = list(counts.index[: MOST_KINDS - 1])
        work.say("changed", f"{len(counts)} kinds, allowed are {MOST_KINDS}: the {len(counts) - len(often)} rarest are {OTHER!r}.")
        names = {text: name if text in often else OTHER for text, name in names.items()}
    if changed := [text for text, name in names.items() if name not in (text, OTHER)]:
        work.say("changed", f"{counted(len(changed), 'name')} of kinds shortened or cleaned.")
    return pd.Series(tasks.kind).map(names).to_numpy(dtype=object)


def _steps(work: _Run, s: Scenario, tasks: _Tasks, user: np.ndarray) -> tuple[np.ndarray, Scenario]:
    """The step of every task, from 1, and the scenario with the step's length where it has one."""
    most_steps, most_tasks = (int(metadata()[name].high or 0) for name in ("T", "tasks"))
    if tasks.seconds is None:
        assert tasks.step is not None
        step = tasks.step.astype(np.int64)
        if step.max() > most_steps:
            row = int(tasks.rows[int(step.argmax())])
            raise ScenarioError(
                f"{tasks.table.name}, line {tasks.table.line(row)}: step {step.max():,} is out of range: allowed is 1 to {most_steps:,}. "
                "If it is a time, map it as time with its unit."
            )
        most, where = _fullest(step, user)
        if most > most_tasks:
            first = int(tasks.rows[where])
            raise ScenarioError(
                f"{tasks.table.name}, line {tasks.table.line(first)}: user {tasks.user[where][:40]!r} has {most} tasks in step {step[where]}; "
                f"allowed are {most_tasks}."
            )
        return step, s
    start = float(tasks.seconds.min())
    length = work.options.step
    if length is None:
        length = _usual_length(tasks.seconds - start, user, s, most_steps, most_tasks)
    step = np.floor((tasks.seconds - start) / length + 1e-6).astype(np.int64) + 1
    if step.max() > most_steps:
        fits = next((one for one in LENGTHS if (tasks.seconds.max() - start) / one < most_steps), None)
        advice = f"; a step of {_length_words(fits)} fits" if fits else ""
        raise ScenarioError(f"step = {_length_words(length)} gives {step.max():,} steps: allowed are {most_steps:,}{advice}.")
    most, where = _fullest(step, user)
    if most > most_tasks:
        raise ScenarioError(
            f"step = {_length_words(length)}: user {tasks.user[where][:40]!r} has {most} tasks in step {step[where]} (line "
            f"{tasks.table.line(int(tasks.rows[where]))} is one): allowed are {most_tasks}. Choose a shorter step."
        )
    chosen_by = "chosen" if work.options.step is not None else "a usual length that fits"
    work.say("changed", f"times became {int(step.max()):,} steps of {_length_words(length)} ({chosen_by}).")
    meta = metadata()["step_time"]
    if (meta.low or 0) <= length <= (meta.high or math.inf):
        s = s.changed(step_time=length)
    return step, s


def _fullest(step: np.ndarray, user: np.ndarray) -> tuple[int, int]:
    """The most tasks that a user has in a step, and the place of one of them."""
    _, first, counts = np.unique(step * 4096 + user, return_index=True, return_counts=True)
    n = int(counts.argmax())
    return int(counts[n]), int(first[n])


def _usual_length(elapsed: np.ndarray, user: np.ndarray, s: Scenario, most_steps: int, most_tasks: int) -> float:
    """The shortest of `LENGTHS` with at most `USUAL_STEPS` steps, or a shorter one where users have too many tasks in a step."""
    users, fitting = int(user.max()), []
    for length in LENGTHS:
        steps = int(elapsed.max() / length + 1e-6) + 1
        if steps > most_steps:
            continue
        most, _ = _fullest(np.floor(elapsed / length + 1e-6).astype(np.int64) + 1, user)
        if most > most_tasks:
            break
        if steps * users * most <= MOST_EPISODE_TASKS:
            fitting.append(length)
            if steps <= USUAL_STEPS:
                break
    if not fitting:
        raise ScenarioError(
            f"no length of a step fits: over {elapsed.max():,.0f} s some user has more than {most_tasks} tasks in each step that would be "
            f"long enough for {most_steps:,} steps. Take fewer users or a shorter time."
        )
    return fitting[-1]


def _length_words(seconds: float | None) -> str:
    """A length in the largest unit that fits: "5 min"."""
    assert seconds is not None
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def read_length(text: str) -> float:
    """The length of a step in seconds: "0.5 s", "5 min", "1 h", "1 d". Raises `ScenarioError`."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([A-Za-zµ]+)\s*", text)
    if match is None:
        raise ScenarioError(f"step = {text[:40]!r} cannot be used: allowed is a number with a unit of time, such as 5 min.")
    return float(match[1]) * factor_of(match[2], fields_of("tasks")["time"], "step")
