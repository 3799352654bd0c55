"""Cells of text as numbers, times and places: whole columns at once, and every cell that cannot be read with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from iomt_core.scenario.dialect import GROUPED, Dialect, Proofs
from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.importing.columns import DECIBEL_MILLIWATT, Use, factor_of
from iomt_core.scenario.importing.read import Table
from iomt_core.scenario.units import MINUS

MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "--", "?", "#n/a", "nil", "missing")
MOST_NAMED = 10  # cells in a message
# Both the mark of a decimal number and of thousands: "1.500".
OPEN = r"^[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}$"
WITH_UNIT = re.compile(r"(.*?[0-9.,])\s*([A-Za-zµμ°%][A-Za-z/²³]*)")
DEGREES = {"latitude": 90.0, "longitude": 180.0}
PAIR = r"^\(?\s*(?P<lat>[+-]?[0-9]{1,3}(?:\.[0-9]*)?)\s*(?:[/;,]\s*|\s+)(?P<lon>[+-]?[0-9]{1,3}(?:\.[0-9]*)?)\s*\)?$"
# Numbers of seconds, milliseconds … since 1970 that lie between the years 2001 and 2286.
EPOCHS = ((1e9, 1e10, "s"), (1e12, 1e13, "ms"), (1e15, 1e16, "us"), (1e18, 1e19, "ns"))
PARTS = re.compile(r"([0-9]{1,4})([-/.])([0-9]{1,2})\2([0-9]{1,4})(?:([T ]\s*)([0-9]{1,2}:[0-9]{2})(:[0-9]{2})?([.,][0-9]+)?"
                   r"(\s*[AaPp][Mm])?\s*(Z|[+-][0-9]{2}:?[0-9]{2})?)?")  # fmt: skip
CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?(\s*[AaPp][Mm])?")
ORDERS = ("day-first", "month-first")


@dataclass
class Findings:
    """The rows of a table that cannot be used, and why: all counted, the first ones named."""

    table: Table
    bad: np.ndarray = field(init=False)  # (rows,) bool
    named: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bad = np.zeros(self.table.rows, dtype=bool)

    def refuse(self, mask: np.ndarray, column: int, allowed: str | Callable[[str], str]) -> None:
        """Mark the rows of a mask, because of a cell. allowed: what would be right, or a function that says it for a cell."""
        rows = np.flatnonzero(mask & ~self.bad)
        if not len(rows):
            return
        header = self.table.headers[column]
        self.counts[header] = self.counts.get(header, 0) + len(rows)
        for row in rows[: max(0, MOST_NAMED - len(self.named))]:
            text = self.table.cell(int(row), column)
            reason = allowed if isinstance(allowed, str) else allowed(text)
            self.named.append(f"{self.table.where(int(row), column)}: {text[:40]!r} cannot be used; {reason}.")
        self.bad |= mask

    @property
    def total(self) -> int:
        """Number of rows that cannot be used."""
        return int(self.bad.sum())

    def problems(self) -> list[str]:
        """All problems in words, with the number of those that are not named."""
        more = self.total - len(self.named)
        columns = ", ".join(f"{count:,} in {header[:40]}" for header, count in self.counts.items())
        return [*self.named, *([f"{self.table.name}: {more:,} more rows like these ({columns})."] if more > 0 else [])]


def _with_plain_minus(table: Table, column: int) -> pa.Array:
    """The cells of a column of numbers, with the sign of typesetting (−) as the minus of programs."""
    return pc.replace_substring(table.columns[column], MINUS, "-")


def is_missing(column: pa.Array) -> np.ndarray:
    """Which cells say that there is no value: empty, "NA", "-" and the like, (rows,) bool."""
    short = pc.if_else(pc.less_equal(pc.binary_length(column), 7), column, "x")
    return np.asarray(pc.is_in(pc.utf8_lower(short), value_set=pa.array(MISSING)).to_numpy(zero_copy_only=False))


def dialect_of(table: Table, columns: Sequence[tuple[int, bool]], decimal: str | None = None) -> Dialect:
    """Decide how the table writes numbers, from the given columns; each with whether a mark must be a decimal one there.

    decimal: "point" or "comma" if a person says so. Raises `ScenarioError` where cells contradict each other, or where all
    that there is can be read in two ways ("1.500").
    """
    proofs = Proofs(table.name)
    undecided: list[tuple[int, int]] = []
    for column, must_be_decimal in columns:
        if column in table.exact:
            proofs.add("1.5", f"column {table.headers[column][:40]}")
            continue
        for text, row in _telling(_with_plain_minus(table, column)):
            parts = WITH_UNIT.fullmatch(text)
            bare = parts[1] if parts else text
            where = f"line {table.line(row)}, column {table.headers[column][:40]}"
            if not re.match(OPEN, bare):
                proofs.add(bare, where)
            elif must_be_decimal:
                proofs.add(bare.replace(".", ".0").replace(",", ",0"), where)
            else:
                undecided.append((row, column))
    if decimal is not None:
        mark = {"point": ".", "comma": ","}[decimal]
        found = proofs.dialect()
        if proofs.proven and found.decimal != mark:
            raise ScenarioError(f"decimal = {decimal!r} does not fit {table.name}, which has {found}.")
        others = {"." if mark == "," else "," for row, column in undecided if mark not in table.cell(row, column)}
        return Dialect(mark, found.thousands or "".join(others))
    if undecided and not proofs.proven:
        row, column = undecided[0]
        text = table.cell(row, column)
        mark = "," if "," in text else "."
        # Who writes points between thousands hardly separates columns by commas; but cells such as 120.000 are doubtful.
        if (
            mark == "."
            and table.delimiter == ","
            and not any(_looks_whole(_with_plain_minus(table, column)) for _, column in undecided)
        ):
            return Dialect(".", "", assumed=text)
        raise ScenarioError(
            f"{table.name}, line {table.line(row)}, column {table.headers[column][:40]}: {text[:40]!r} may mean "
            f"{re.sub(r'[.,]', '', text)} or {text.replace(mark, '.')}, and no other cell shows which. Say it: decimal = "
            f"{'comma' if mark == ',' else 'point'} or {'point' if mark == ',' else 'comma'}."
        )
    return proofs.dialect()


def _looks_whole(cells: pa.Array) -> bool:
    """Whether many cells end with a mark and three zeros, as whole numbers in thousands do and measured ones do not."""
    found = cells.filter(pc.match_substring_regex(cells, OPEN))
    zeros = pc.sum(pc.match_substring_regex(found, "000$")).as_py() or 0
    return bool(zeros > 0.1 * len(found))


def _telling(cells: pa.Array) -> list[tuple[str, int]]:
    """Cells that show how a column writes numbers, each with its row; at least one of every form that shows anything."""
    simple = _simple(cells, is_missing(cells))
    if simple is None:
        return [(text, row) for text, row in _forms(cells)[0] if not text.isdigit()]
    mark, _ = simple
    if not mark:
        return []
    marked = pc.match_substring(cells, mark)
    is_open = pc.match_substring_regex(cells, OPEN)
    found = []
    for mask in (pc.and_not(marked, is_open), is_open):
        row = pc.index(mask, True).as_py()
        if row >= 0:
            found.append((str(cells[row].as_py()), row))
    return found


def _simple(cells: pa.Array, gaps: np.ndarray) -> tuple[str, np.ndarray] | None:
    """The mark of a column in which each number has at most one, a point or a comma, and its numbers if that is a decimal one.

    None for a column with anything else: both marks, thousands, units or text.
    """
    present = cells.filter(pa.array(~gaps)) if gaps.any() else cells
    point, comma = (pc.any(pc.match_substring(present, mark)).as_py() for mark in ".,")
    if point and comma:
        return None
    try:
        values = (pc.replace_substring(present, ",", ".") if comma else present).cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    found = np.full(len(cells), np.nan)
    found[~gaps] = values.to_numpy(zero_copy_only=False)
    if not np.isfinite(found[~gaps]).all():
        return None
    return "." if point else "," if comma else "", found


def _forms(cells: pa.Array) -> tuple[list[tuple[str, int]], np.ndarray]:
    """Cells of every form, and the form's number of every row."""
    coded = cells.dictionary_encode()
    different = coded.dictionary
    marked = pc.replace_substring_regex(different, r"^([+-]?)0", r"\1z")
    marked = pc.replace_substring_regex(marked, "[0-9]", "9").dictionary_encode()
    codes = marked.indices.to_numpy(zero_copy_only=False)[coded.indices.to_numpy(zero_copy_only=False)]
    _, rows = np.unique(codes, return_index=True)
    return [(str(cells[int(row)].as_py()), int(row)) for row in rows], codes


def numbers(
    table: Table, use: Use, dialect: Dialect, findings: Findings, low: float = -math.inf, high: float = math.inf,
    allowed: str = "", optional: bool = False,
) -> np.ndarray:  # fmt: skip
    """The numbers of a column in SI, (rows,) float; NaN where there is none, which is refused unless it is `optional`.

    Cells may have a unit of their own ("30 KB"). low, high: SI, inclusive; allowed: the range in words.
    """
    cells = _with_plain_minus(table, use.column)
    where = f"{table.name}, column {table.headers[use.column][:40]}"
    gaps = is_missing(cells)
    simple = _simple(cells, gaps)
    if simple is not None and (simple[0] in ("", dialect.decimal)):
        values = _to_si(simple[1], use.unit, use, where)
    else:
        values = _any_numbers(cells, gaps, use, dialect, where)
    unread = np.isnan(values) & ~gaps
    reason = f"allowed is a number with {dialect}" + (f", {allowed}" if allowed else "")

    def explain(text: str) -> str:
        if GROUPED.fullmatch(text):
            return f"other cells show that the file has {dialect}"
        if use.field.unit and not use.unit and re.fullmatch(r"[+-]?[0-9.,]+", text):
            return f"the column names no unit: write {use.field.name}={table.headers[use.column][:40]}[UNIT]"
        return reason

    findings.refuse(unread, use.column, explain)
    if not optional:
        findings.refuse(gaps, use.column, f"a value is needed{f', {allowed}' if allowed else ''}")
    slack = 1e-9  # units are converted back and forth
    with np.errstate(invalid="ignore"):
        outside = (values < low - abs(low) * slack) | (values > high + abs(high) * slack)
        findings.refuse(outside, use.column, f"read in {use.unit or 'numbers'}; allowed is {allowed}")
        if use.field.kind == "whole":
            findings.refuse(
                (values != np.floor(values)) & ~np.isnan(values), use.column, f"allowed are whole numbers, {allowed}"
            )
    return values


def _any_numbers(cells: pa.Array, gaps: np.ndarray, use: Use, dialect: Dialect, where: str) -> np.ndarray:
    """Numbers of any dialect, with or without a unit in the cell; NaN for cells that are none."""
    forms, codes = _forms(cells)
    numbers_of = np.unique(codes, return_inverse=True)[1]  # codes from 0, in the order of `forms`
    good, units = np.zeros(len(forms), dtype=bool), [""] * len(forms)
    for n, (text, _) in enumerate(forms):
        bare = text
        if (parts := WITH_UNIT.fullmatch(text)) and use.field.unit:
            bare, units[n] = parts[1], parts[2]
            try:
                factor_of(units[n], use.field, where)
            except ScenarioError:
                continue
        try:
            dialect.number(bare)
        except ValueError:
            continue
        good[n] = bool(bare) and (bool(units[n]) or bool(use.unit) or not use.field.unit)
    usable = good[numbers_of] & ~gaps
    text = cells.filter(pa.array(usable))
    text = pc.replace_substring_regex(text, r"\s*[A-Za-zµμ°%][A-Za-z/²³]*$", "") if any(units) else text
    if dialect.thousands:
        text = pc.replace_substring(text, dialect.thousands, "")
    if dialect.decimal != ".":
        text = pc.replace_substring(text, dialect.decimal, ".")
    text = pc.replace_substring_regex(text, r"^\+", "")
    read = text.cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
    found = np.full(len(cells), np.nan)
    of_row = numbers_of[usable]
    for unit in set(units):
        mask = np.isin(of_row, [n for n, one in enumerate(units) if one == unit])
        read[mask] = _to_si(read[mask], unit or use.unit, use, where)
    found[usable] = read
    found[~np.isfinite(found)] = np.nan
    return found


def _to_si(values: np.ndarray, unit: str, use: Use, where: str) -> np.ndarray:
    if not use.field.unit:
        return values
    if not unit:
        return np.full(len(values), np.nan)
    if unit.lower() == DECIBEL_MILLIWATT:
        return np.asarray(10 ** (np.minimum(values, 400.0) / 10) / 1e3)
    factor = factor_of(unit, use.field, where)
    # Dividing by a whole number keeps 20 ms at 0.02 s; the product with 0.001 would not always.
    return np.asarray(values * factor if factor >= 1 else values / round(1 / factor, 6))


def locations(table: Table, use: Use, findings: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude of cells such as "31.2379/121.4703", degrees."""
    cells = _with_plain_minus(table, use.column)
    parts = cells.to_pandas().str.extract(PAIR)
    lat, lon = (pd.to_numeric(parts[name], errors="coerce").to_numpy(dtype=float) for name in ("lat", "lon"))
    text = "allowed are latitude and longitude in degrees with decimal points, such as 31.2379/121.4703"
    findings.refuse(np.isnan(lat) | np.isnan(lon), use.column, text)
    with np.errstate(invalid="ignore"):
        findings.refuse(
            np.abs(lat) > DEGREES["latitude"], use.column, "allowed are -90 to 90 for the first number, the latitude"
        )
        findings.refuse(
            np.abs(lon) > DEGREES["longitude"], use.column, "allowed are -180 to 180 for the second, the longitude"
        )
    return lat, lon


def times(
    table: Table, use: Use, dialect: Dialect, findings: Findings, order: str | None = None
) -> tuple[np.ndarray, str]:
    """The times of a column in seconds, (rows,) float, and how they were read, in words.

    A column of numbers needs a unit, unless they are seconds or milliseconds since 1970. order: "day-first" or "month-first"
    if a person says so. Raises `ScenarioError` where the order of day and month is open.
    """
    cells = table.columns[use.column]
    gaps = is_missing(cells)
    findings.refuse(gaps, use.column, "a date and time, or a number, is needed")
    first = next((cell for cell in cells.slice(0, 1000).to_pylist() if cell.lower() not in MISSING), "")
    if CLOCK.fullmatch(first):
        findings.refuse(
            ~gaps, use.column,
            lambda text: f"a time of day needs its date: write 2024-05-31 {text}, or minutes since the start as numbers and "
            f"time={table.headers[use.column][:40]}[min]",
        )  # fmt: skip
        return np.full(table.rows, np.nan), ""
    if not PARTS.fullmatch(first) or re.fullmatch(r"[0-9]+[.,][0-9]+", first):
        return _elapsed(table, use, dialect, findings, gaps)
    return _dates(table, use, findings, gaps, first, order)


def _elapsed(table: Table, use: Use, dialect: Dialect, findings: Findings, gaps: np.ndarray) -> tuple[np.ndarray, str]:
    unit = use.unit
    if not unit:
        simple = _simple(_with_plain_minus(table, use.column), gaps)
        plain = None if simple is None or simple[0] == "," else simple[1]
        if plain is None or gaps.all():
            findings.refuse(~gaps, use.column, "allowed are dates such as 2024-05-31 13:45:00, or numbers of one unit")
            return np.full(table.rows, np.nan), ""
        low, high = float(np.nanmin(plain)), float(np.nanmax(plain))
        unit = next((unit for start, end, unit in EPOCHS if start <= low and high < end), "")
        if not unit:
            raise ScenarioError(
                f"{table.name}, column {table.headers[use.column][:40]}: the numbers {low:g} to {high:g} name no unit; write "
                f"time={table.headers[use.column][:40]}[s], or another unit of time such as ms or min."
            )
    values = numbers(table, Use(use.field, use.column, unit), dialect, findings, allowed=f"times in {unit}")
    return values, f"numbers in {unit}"


def _dates(
    table: Table, use: Use, findings: Findings, gaps: np.ndarray, first: str, order: str | None
) -> tuple[np.ndarray, str]:
    cells = table.columns[use.column]
    match = PARTS.fullmatch(first)
    assert match is not None
    a, separator, _, c, gap, clock, seconds, fraction, half, zone = match.groups()
    where = f"{table.name}, column {table.headers[use.column][:40]}"
    if len(a) == 4:
        date, words = f"%Y{separator}%m{separator}%d", "year, month, day"
    elif len(c) != 4:
        raise ScenarioError(f"{where}: {first!r} has a year of two digits: write it with four.")
    else:
        day = _day_is_first(table, use, separator, order)
        date = f"%d{separator}%m{separator}%Y" if day else f"%m{separator}%d{separator}%Y"
        words = "day, month, year" if day else "month, day, year"
    form = date
    if clock:
        form += ("T" if gap == "T" else " ") + ("%I:%M" if half else "%H:%M") + (":%S" if seconds else "")
        form += (".%f" if fraction else "") + (" %p" if half else "") + ("%z" if zone else "")
        if half:
            cells = pc.replace_substring_regex(cells, r"\s*([AaPp][Mm])$", r" \1")
        if pc.any(pc.match_substring(cells, "  ")).as_py():
            cells = pc.replace_substring_regex(cells, r"\s+", " ")
    column = cells.to_pandas()
    moments = pd.to_datetime(column.where(~gaps), format=form, errors="coerce", utc=bool(zone))
    if clock and moments.isna().to_numpy().sum() > gaps.sum():  # seconds or their fraction may be missing in some cells
        for other in (":%S.%f", ":%S", ""):
            tail = (" %p" if half else "") + ("%z" if zone else "")
            again = date + ("T" if gap == "T" else " ") + ("%I:%M" if half else "%H:%M") + other + tail
            moments = moments.fillna(
                pd.to_datetime(column.where(moments.isna() & ~gaps), format=again, errors="coerce", utc=bool(zone))
            )
    unread = moments.isna().to_numpy() & ~gaps
    findings.refuse(unread, use.column, f"allowed is a date and time written like the first one, {first!r}")
    seconds_of = (moments.dt.tz_localize(None) if zone else moments).astype("datetime64[ns]").astype(
        "int64"
    ).to_numpy() / 1e9
    return np.asarray(np.where(moments.isna().to_numpy(), np.nan, seconds_of)), f"dates: {words}"


def _day_is_first(table: Table, use: Use, separator: str, order: str | None) -> bool:
    """Whether dates are written day, month, year. Raises `ScenarioError` if no cell shows it, or cells contradict."""
    column = table.columns[use.column].to_pandas()
    parts = (
        column.str.extract(r"^([0-9]{1,2})[-/.]([0-9]{1,2})[-/.][0-9]{4}")
        .apply(pd.to_numeric, errors="coerce")
        .to_numpy(float)
    )
    with np.errstate(invalid="ignore"):
        day_first, month_first = parts[:, 0] > 12, parts[:, 1] > 12
    where = f"{table.name}, column {table.headers[use.column][:40]}"
    if day_first.any() and month_first.any():
        one, two = int(day_first.argmax()), int(month_first.argmax())
        raise ScenarioError(
            f"{where}: line {table.line(one)}, {table.cell(one, use.column)[:30]!r}, begins with the day, line "
            f"{table.line(two)}, {table.cell(two, use.column)[:30]!r}, with the month: write all dates in one way, best "
            "as 2024-05-31."
        )
    shown = True if day_first.any() else False if month_first.any() else True if separator == "." else None
    if order is not None:
        if shown is not None and shown != (order == "day-first") and (day_first.any() or month_first.any()):
            row = int((day_first | month_first).argmax())
            raise ScenarioError(
                f"dates = {order!r} does not fit line {table.line(row)}, {table.cell(row, use.column)[:30]!r}."
            )
        return order == "day-first"
    if shown is None and bool((parts[:, 0] == parts[:, 1]).all()):
        return True
    if shown is None:
        raise ScenarioError(
            f"{where}: {table.cell(0, use.column)[:30]!r} may begin with the day or with the month, and no cell shows "
            "which. Say it: dates = day-first or month-first."
        )
    return shown


def texts(table: Table, use: Use) -> np.ndarray:
    """The texts of a column, (rows,) object; "" where there is none."""
    cells = table.columns[use.column]
    found = cells.to_numpy(zero_copy_only=False).astype(object)
    found[is_missing(cells)] = ""
    return np.asarray(found)
