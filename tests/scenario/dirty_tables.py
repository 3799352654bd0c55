"""Tables as people have them, made by code: each with what it says, or with what its refusal must name.

The same ward every time: three users with two tasks each, at the same sizes; what differs is how it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# step, user, KB, cycles, priority
TASKS = (
    (1, 1, 20.5, 150_000, 1), (1, 2, 1500.25, 120_000, 2), (2, 1, 30.125, 110_000, 3), (2, 3, 40.0, 1_200_000, 1),
    (3, 2, 0.75, 100_000, 2), (3, 3, 12.5, 180_000, 3),
)  # fmt: skip
HEADER = ("step", "user", "data_kb", "cycles", "priority")
SERVERS = ((-37.8136, 144.9631), (-37.8150, 144.9700), (-37.8200, 144.9600))


@dataclass(frozen=True)
class Case:
    """A file and what must come of it: the tasks above, or a refusal with all of these words."""

    content: bytes
    refused: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[tuple[float, ...], ...] = TASKS
    name: str = "tasks.csv"


def table(
    delimiter: str = ",", number: Callable[[float], str] = lambda x: f"{x:g}", header: tuple[str, ...] = HEADER, end: str = "\n",
    change: Callable[[list[list[str]]], Any] = lambda rows: None, scale: float = 1.0,
) -> str:  # fmt: skip
    """The ward's tasks as text; `change` edits the cells in place."""
    rows = [[f"{t}", f"{u}", number(kb * scale), number(c), f"{p}"] for t, u, kb, c, p in TASKS]
    change(rows)
    return end.join(delimiter.join(line) for line in (list(header), *rows)) + end


def german(x: float) -> str:
    return f"{x:,.3f}".replace(",", "_").replace(".", ",").replace("_", ".")


def spaced(x: float) -> str:
    return f"{x:,.2f}".replace(",", "\u202f").replace(".", ",")


def whole(x: float) -> str:
    return f"{x:.0f}"


def with_cell(row: int, column: int, text: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[row][column] = text

    return change


def every(column: int, make: Callable[[int, str], str]) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        for n, row in enumerate(rows):
            row[column] = make(n, row[column])

    return change


def retitled(column: int, name: str) -> tuple[str, ...]:
    return (*HEADER[:column], name, *HEADER[column + 1 :])


def wider(header: str, cells: Callable[[int], str], place: int = 5, **more: Any) -> str:
    def change(rows: list[list[str]]) -> None:
        for n, row in enumerate(rows):
            row.insert(place, cells(n))

    return table(header=(*HEADER[:place], header, *HEADER[place:]), change=change, **more)


PATIENTS = {"1": "P-1", "2": "P-2", "3": "P-10"}
TEXT = table()
FIRST = "2024-05-31T10:00:0{}"
TIMED = ("timestamp", *HEADER[1:])


def timed(form: Callable[[int], str], header: tuple[str, ...] = TIMED, **more: Any) -> str:
    return table(header=header, change=every(0, lambda n, step: form(int(step))), **more)


def large(rows: int = 100_000) -> tuple[bytes, np.ndarray]:
    """Many rows in German, and the task of every row."""
    n = np.arange(rows)
    tasks = np.stack([1 + n // 2000, 1 + n % 200, 1 + n % 7000, 100_000 + n % 1000, 1 + n % 3], axis=1)
    text = {int(x): german(x) for column in (2, 3) for x in np.unique(tasks[:, column])}
    lines = [
        f"{step};{user};{text[kilobytes]};{text[cycles]};{p}" for step, user, kilobytes, cycles, p in tasks.tolist()
    ]
    return "\n".join([";".join(HEADER), *lines]).encode(), tasks


DECIMAL = {"decimal": "point"}
CASES: dict[str, Case] = {
    # Dialects and encodings that say themselves what they are.
    "plain": Case(TEXT.encode()),
    "semicolons": Case(table(";").encode()),
    "tabs": Case(table("\t").encode()),
    "bars": Case(table("|").encode()),
    "german": Case(table(";", german).encode()),
    "german, tabs": Case(table("\t", german).encode()),
    "german in quotation marks": Case(table(",", lambda x: f'"{german(x)}"').encode()),
    "english thousands": Case(table(";", lambda x: f"{x:,.3f}").encode()),
    "narrow spaces": Case(table(";", spaced, change=with_cell(2, 2, "30,125")).encode()),
    "apostrophes": Case(table(";", lambda x: f"{x:,.3f}".replace(",", "'")).encode()),
    "exponents": Case(table(";", lambda x: f"{x:.6e}").encode()),
    "byte order mark": Case(TEXT.encode("utf-8-sig")),
    "utf-16": Case(TEXT.encode("utf-16")),
    "sep line": Case(("sep=;\n" + table(";", german)).encode("utf-8-sig")),
    "windows lines": Case(table(end="\r\n").encode()),
    "old mac lines": Case(table(end="\r").encode()),
    "windows-1252": Case(wider("größe des ortes", lambda n: "Köln").encode("cp1252")),
    "title above": Case(("Export of ward 7\n\n" + TEXT).encode()),
    "comments above": Case(("# made by hand\n# 2024\n" + TEXT).encode()),
    "blank lines": Case(TEXT.replace("\n2,", "\n\n\n2,").encode()),
    "rows of separators": Case((TEXT + ",,,,\n,,,,\n").encode()),
    "spaces around": Case(table(" , ").replace("data_kb", "Data_KB ").encode()),
    "no last line end": Case(TEXT.rstrip().encode()),
    "line breaks in cells": Case(wider("note", lambda n: '"two\nlines"').encode()),
    # Columns.
    "other order": Case("\n".join(",".join(reversed(line.split(","))) for line in TEXT.split("\n")).encode()),
    "more columns": Case(wider("rssi", lambda n: f"-{n}.5", 2).encode()),
    "index column": Case(wider("", str, 0).encode()),
    "other names": Case(table(header=("slot", "device_id", "size (KB)", "cpu_cycles", "prio")).encode()),
    "unit in brackets": Case(table(header=retitled(2, "data [MB]"), scale=1e-3).encode()),
    "bytes": Case(table(header=retitled(2, "bytes"), scale=1e3).encode()),
    "kbit": Case(table(header=retitled(2, "payload_kbit"), scale=8).encode()),
    "kibibytes": Case(table(header=retitled(2, "size KiB"), scale=1000 / 1024, number=lambda x: f"{x:.17g}").encode()),
    "unit in cells": Case(table(header=retitled(2, "size"), change=every(2, lambda n, x: f"{x} KB")).encode()),
    "mixed units in cells": Case(table(header=retitled(2, "size"), change=every(
        2, lambda n, x: f"{float(x) / 1000:.10g} MB" if n % 2 else f"{x} KB")).encode()),
    "chosen column": Case(table(header=retitled(2, "amount")).encode(), options={"mapping": {"data": "amount[KB]"}}),
    "no header": Case(TEXT.partition("\n")[2].encode(), options={"mapping": {
        "step": "1", "user": "2", "data": "3[KB]", "cycles": "4[cycles]", "priority": "5"}}),
    "cells that are missing": Case(table(change=with_cell(0, 4, "NA")).encode()),
    "no priority": Case(TEXT.replace(",priority", "").replace(",1\n", "\n").replace(",2\n", "\n").replace(",3\n", "\n").encode(),
                        tasks=tuple((*task[:4], 1) for task in TASKS)),
    # Ids and times.
    "ids of text": Case(table(change=every(1, lambda n, u: PATIENTS[u])).encode()),
    "ids of floats": Case(table(change=every(1, lambda n, u: f"{u}.0")).encode()),
    "ids of mixed form": Case(table(change=every(1, lambda n, u: {"1": "0c:a4", "2": "7", "3": "Zoë"}[u])).encode()),
    "large ids": Case(table(change=every(1, lambda n, u: f"49{u}000000000000")).encode()),
    "iso times": Case(timed(lambda t: f"2024-05-31T10:00:0{t}").encode(), options={"step": 1.0}),
    "times with zone": Case(timed(lambda t: f"2024-05-31 10:00:0{t}+02:00").encode(), options={"step": 1.0}),
    "times across zones": Case(timed(lambda t: f"2024-05-31 {9 + t}:00:0{t}+0{t}:00").encode(), options={"step": 1.0}),
    "german times": Case(timed(lambda t: f"31.05.2024 10:0{t}", delimiter=";", number=german).encode(), options={"step": 60.0}),
    "american times": Case(timed(lambda t: f"5/31/2024 10:0{t} PM").encode(), options={"step": 60.0}),
    "unpadded times": Case(timed(lambda t: f"2014/6/1 9:0{t}").encode(), options={"step": 60.0}),
    "seconds since 1970": Case(timed(lambda t: str(1_700_000_000 + t)).encode(), options={"step": 1.0}),
    "milliseconds since 1970": Case(timed(lambda t: str(1_700_000_000_000 + 1000 * t)).encode(), options={"step": 1.0}),
    "elapsed minutes": Case(timed(lambda t: f"{t / 2}", ("time (min)", *HEADER[1:])).encode(), options={"step": 30.0}),
    "rows dropped": Case((TEXT + "3,3,lots,1000,1\n4,,1,1000,1\n5,1\n").encode(), options={"bad_rows": "drop"}),
    # Refused, with the place and what would be right.
    "two decimal marks": Case(table(";", change=with_cell(3, 2, "40,5")).encode(), ("line 5", "data_kb", "40,5", "same way")),
    "two thousands": Case(table(";", lambda x: f"{x:,.2f}", change=with_cell(5, 3, "180.000,0")).encode(),
                          ("line 7", "cycles", "180.000,0")),
    "open thousands": Case(table(";", whole, change=every(2, lambda n, x: "1.500")).encode(),
                           ("line 2", "1.500", "1500 or 1.5", "decimal =")),
    "open thousands, said": Case(table(";", whole, change=every(2, lambda n, x: "1.500")).encode(), options=DECIMAL,
                                 tasks=tuple((t, u, 1.5, c, p) for t, u, _, c, p in TASKS)),
    "open thousands, thousands said": Case(
        table(";", whole, change=every(2, lambda n, x: "1.500")).encode(), options={"decimal": "comma"},
        tasks=tuple((t, u, 1500, c, p) for t, u, _, c, p in TASKS)),
    "round thousands between commas": Case(table(",", whole, change=every(3, lambda n, x: "120.000")).encode(),
                                           ("line 2", "cycles", "120000 or 120.000")),
    "three decimals between commas": Case(table(",", whole, change=every(2, lambda n, x: f"2{n}.125")).encode(),
                                          tasks=tuple((t[0], t[1], 20.125 + n, *t[3:]) for n, t in enumerate(TASKS))),
    "comma splits cells": Case(table(",", lambda x: f"{x:.2f}".replace(".", ",")).encode(), ("cells",)),
    "text for a number": Case(table(change=with_cell(1, 2, "lots")).encode(), ("line 3", "data_kb", "'lots'", "a number")),
    "empty cell": Case(table(change=with_cell(2, 3, "")).encode(), ("line 4", "cycles", "needed")),
    "not a number": Case(table(change=with_cell(2, 2, "NaN")).encode(), ("line 4", "data_kb", "'NaN'")),
    "infinite": Case(table(change=with_cell(2, 2, "inf")).encode(), ("line 4", "data_kb", "'inf'")),
    "negative": Case(table(change=with_cell(0, 3, "-5")).encode(), ("line 2", "cycles", "'-5'", "allowed")),
    "out of range": Case(table(change=with_cell(0, 4, "11")).encode(), ("line 2", "priority", "'11'", "1 to 10")),
    "half a priority": Case(table(change=with_cell(0, 4, "1.5")).encode(), ("line 2", "priority", "whole")),
    "step from 0": Case(table(change=every(0, lambda n, t: str(int(t) - 1))).encode(), ("line 2", "step", "'0'", "1 to")),
    "a cell too few": Case(TEXT.replace("2,1,30.125,110000,3", "2,1,30.125").encode(), ("line 4", "3 cells", "header has 5")),
    "sum below": Case((TEXT + "Sum,,1603,,\n").encode(), ("line 8", "user", "needed")),
    "header again": Case((TEXT + TEXT).encode(), ("line 8", "step")),
    "blank line before": Case(TEXT.replace("\n2,3,40", "\n\n2,3,lots").encode(), ("line 6", "lots")),
    "no unit": Case(table(header=retitled(2, "size")).encode(), ("line 2", "size", "no unit", "data=size[UNIT]")),
    "bits or bytes": Case(table(header=retitled(2, "size_Mb")).encode(), ("size_Mb", "data", "two meanings")),
    "two columns for one": Case(wider("bytes", str).replace("data_kb", "size (KB)").encode(),
                                ("data may be", "size (KB)", "bytes")),
    "no user": Case(table(header=retitled(1, "colour")).encode(), ("lacks", "user")),
    "unknown chosen column": Case(TEXT.encode(), ("map data", "'datakb'", "data_kb"), {"mapping": {"data": "datakb"}}),
    "open dates": Case(timed(lambda t: f"01/02/2024 10:0{t}").encode(), ("01/02/2024", "dates = day-first")),
    "mixed dates": Case(timed(lambda t: ("13/02/2024", "02/14/2024", "01/02/2024")[t - 1]).encode(),
                        ("13/02/2024", "02/14/2024")),
    "two forms of dates": Case(timed(lambda t: ("2024-05-31", "31 May 2024", "2024-06-01")[t - 1]).encode(),
                               ("line 4", "31 May 2024")),
    "impossible date": Case(timed(lambda t: f"2024-02-{28 + t}").encode(), ("line 6", "2024-02-31", "written like")),
    "time of day": Case(timed(lambda t: f"10:05:0{t}").encode(), ("'10:05:01'", "2024-05-31 10:05:01", "time=timestamp[min]")),
    "time without unit": Case(timed(lambda t: f"{t / 2}", ("time", *HEADER[1:])).encode(), ("no unit", "time=time[s]")),
    "too many tasks": Case((TEXT + "1,1,5,1000,1\n" * 64).encode(), ("user '1'", "65 tasks", "64")),
    "spreadsheet": Case(b"PK\x03\x04" + b"\x00" * 40, ("Excel", "CSV")),
    "binary": Case(b"step,user\n1,\x00\n", ("zero byte",)),
    "empty": Case(b"\n \n", ("empty",)),
    "header only": Case(TEXT.partition("\n")[0].encode(), ("no rows",)),
    "json": Case(b'[\n{"step": 1}\n]', ("JSON",)),
    "open quotation mark": Case(TEXT.replace("30.125", '"30.125').encode(), ("line 4",)),
    "damaged parquet": Case(b"PAR1" + b"\x00" * 50, ("damaged",)),
}  # fmt: skip
