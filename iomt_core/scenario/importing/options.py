"""What a person chooses for an import, and what the tables' columns are: what people see before anything is converted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from iomt_core.scenario.errors import ScenarioError, check_known
from iomt_core.scenario.importing.columns import ROLES, Use, best_role, chosen, factor_of, fields_of, guess
from iomt_core.scenario.importing.read import Table, read_table
from iomt_core.scenario.importing.values import ORDERS
from iomt_core.scenario.parameters import Scenario, metadata
from iomt_core.scenario.presets import PRESETS

BAD_ROWS = ("refuse", "drop")
LOCATIONS = ("users", "sites")
DECIMALS = ("point", "comma")


@dataclass(frozen=True)
class Options:
    """What a person chooses for an import.

    base: the scenario of all that the tables leave open. mapping: field, or role.field, → column, with its unit in brackets.
    values: field → value of all rows, for fields of tasks without a column; cycles may be "1000 per bit". step: length of a step
    in seconds; None: a usual one that fits. dates and decimal: where the cells leave it open. busiest_users, nearest_servers: how
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


def open_tables(
    files: Sequence[tuple[str, bytes]], options: Options, roles: Mapping[str, str] | None = None
) -> tuple[Input, ...]:
    """Read the files (name, content) and decide on their columns. roles: by file, where a person chose.

    Raises `ScenarioError`.
    """
    options.check()
    tables = [(read_table(content, name), (roles or {}).get(name)) for name, content in files]
    return tuple(map_columns(table, role, options.mapping) for table, role in tables)


def map_columns(table: Table, role: str | None, mapping: Mapping[str, str]) -> Input:
    """Decide what a table's columns are. Raises `ScenarioError` where its role is open, or a chosen column does not exist."""
    role = role or best_role(table.headers, table.name)
    if role is None:
        raise ScenarioError(
            f"{table.name}: its columns ({', '.join(h[:30] for h in table.headers[:8])}) do not show what it is about; say it: "
            f"{', '.join(ROLES)}. A table of tasks has user and step or time; one of places has latitude and longitude, or x "
            "and y."
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


def read_length(text: str) -> float:
    """The length of a step in seconds: "0.5 s", "5 min", "1 h", "1 d". Raises `ScenarioError`."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([A-Za-zµ]+)\s*", text)
    if match is None:
        raise ScenarioError(
            f"step = {text[:40]!r} cannot be used: allowed is a number with a unit of time, such as 5 min."
        )
    return float(match[1]) * factor_of(match[2], fields_of("tasks")["time"], "step")
