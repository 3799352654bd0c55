"""An import at work: the report, the dialect of each table, and the rows that cannot be used."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from iomt_core.scenario.dialect import Dialect
from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.importing.columns import INSTRUCTIONS
from iomt_core.scenario.importing.options import Input, Options
from iomt_core.scenario.importing.values import DEGREES, Findings, dialect_of, locations, numbers, texts
from iomt_core.scenario.parameters import LONGEST_NAME, metadata

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Line:
    """A line of the report. kind: what happened to the data."""

    kind: Literal["taken", "changed", "dropped", "ignored"]
    text: str


class Work:
    """An import at work: the report so far, and tables whose columns become values."""

    def __init__(self, inputs: Sequence[Input], options: Options, progress: Progress) -> None:
        self.options, self.progress = options, progress
        self.lines: list[Line] = []
        self.inputs: dict[str, Input] = {}
        for one in inputs:
            if one.role in self.inputs:
                raise ScenarioError(
                    f"{self.inputs[one.role].table.name} and {one.table.name} are both {one.role}: allowed is one."
                )
            self.inputs[one.role] = one
        if "places" in self.inputs and self.inputs.keys() & {"users", "servers"}:
            raise ScenarioError(
                "places: a table of users and servers, and one of either alone, cannot be taken together."
            )

    def say(self, kind: Any, text: str) -> None:
        """Add a line to the report."""
        self.lines.append(Line(kind, text))

    def describe(self, one: Input, dialect: Dialect) -> None:
        """Say in the report how a table is read."""
        table = one.table
        marks = "" if table.exact else f"; numbers with {dialect}"
        self.say("taken", f"{table.name} as {one.role}: {table.rows:,} rows; {table.format}{marks}.")
        if dialect.assumed:
            why = "for columns are separated by commas; no cell shows it. If it is thousands: decimal = comma"
            self.say("changed", f"{table.name}: {dialect.assumed!r} counts as a decimal number, {why}.")
        for change in table.changes:
            self.say("changed", f"{table.name}: {change}.")
        for use in one.uses.values():
            unit = f" in {use.unit}" if use.unit else ""
            why = ", for its name has no unit" if use.assumed and use.unit != "cycle" and use.field.unit != "°" else ""
            self.say(
                "taken", f"{table.name}: column {table.headers[use.column][:40]!r} as {use.field.name}{unit}{why}."
            )
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
            f"{one.table.name} lacks a column for {wanted}; it has {', '.join(h[:40] for h in one.table.headers[:20])}. Choose "
            f"one, for example {alternatives[0][0]}=COLUMN.{questions}"
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
            return numbers(
                one.table,
                use,
                dialect,
                findings,
                -most,
                most,
                f"-{most:g} to {most:g} degrees as one number, such as 37.8142",
                optional,
            )
        return numbers(one.table, use, dialect, findings, optional=optional)


def positions(work: Work, one: Input, dialect: Dialect, findings: Findings) -> tuple[np.ndarray, np.ndarray, bool]:
    """x and y in metres, or longitude and latitude in degrees, of every row; and whether they are degrees."""
    if {"latitude", "longitude"} <= one.uses.keys():
        alone = Findings(one.table)
        lat = work.column(one, "latitude", dialect, alone)
        lon = work.column(one, "longitude", dialect, findings)
        if alone.total and _largest(lat) > 90 and _largest(lon) <= 90:
            names = [one.table.headers[one.uses[name].column][:40] for name in ("latitude", "longitude")]
            raise ScenarioError([*alone.problems()[:3], f"{one.table.name}: latitude and longitude may be exchanged: "
                                 f"latitude={names[1]}, longitude={names[0]}."])  # fmt: skip
        work.column(one, "latitude", dialect, findings)
        return lon, lat, True
    if "location" in one.uses:
        lat, lon = locations(one.table, one.uses["location"], findings)
        return lon, lat, True
    return work.column(one, "x", dialect, findings), work.column(one, "y", dialect, findings), False


def _largest(values: np.ndarray) -> float:
    """The largest absolute value; 0 if no cell is a number."""
    return float(np.nanmax(np.abs(values), initial=0.0))


def identities_of(one: Input, name: str, findings: Findings) -> np.ndarray:
    """The ids of a column as text; whole numbers that a program wrote as 7.0 are 7."""
    found = texts(one.table, one.uses[name])
    findings.refuse(found == "", one.uses[name].column, "an id is needed")
    unique = pd.Series(found).unique()
    if (
        len(unique)
        and all(re.fullmatch(r"[0-9]+(\.0)?|", text) for text in unique)
        and any("." in text for text in unique)
    ):
        found = np.array([text.removesuffix(".0") for text in found], dtype=object)
    return found


def clean_name(text: str) -> str:
    """A name that a scenario can have: visible characters only, at most 40, and none that begins a spreadsheet's formula."""
    visible = "".join(c for c in " ".join(text.split()) if c.isprintable())
    return visible.lstrip("=+-@＝＋－＠﹢﹣﹫ ")[:LONGEST_NAME].strip()
