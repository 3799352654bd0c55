"""The files of an import: a scenario that every command reads, its tables, the ids, and the report."""

from __future__ import annotations

import csv
import io
import os
import shutil
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iomt_core.scenario.errors import ScenarioError, os_errors
from iomt_core.scenario.files import dump_scenario
from iomt_core.scenario.importing.run import Imported
from iomt_core.scenario.parameters import KILOBYTE, Scenario

SCENARIO, WORKLOAD, PLACES, IDS, REPORT = "scenario.json", "workload.csv", "places.csv", "ids.csv", "report.txt"
HEADINGS = {"taken": "Taken", "changed": "Changed", "dropped": "Left out", "ignored": "Not used"}
FORMULA = ("=", "+", "-", "@", "\t")  # spreadsheets compute what begins so


def files_of(found: Imported) -> dict[str, bytes]:
    """The files by name: the scenario with everything in it, tables for `--workload` and `--places`, ids, and the report."""
    s = found.scenario
    files = {SCENARIO: dump_scenario(s, "json")}
    if s.workload is not None:
        files[WORKLOAD] = workload_table(s)
    if s.places is not None:
        files[PLACES] = places_table(s)
    rows = (
        (kind, number, f"'{one}" if str(one).startswith(FORMULA) else one)
        for kind, number, one in found.ids.itertuples(index=False)
    )
    files[IDS] = _table(("kind", "number", "id"), rows)
    files[REPORT] = report_text(found)
    return {name: text.encode() for name, text in files.items()}


def write_import(found: Imported, out: Path, overwrite: bool = False) -> None:
    """Write the files into a new directory, all or none. overwrite: replace an earlier import. Raises `ScenarioError`."""
    names = {SCENARIO, WORKLOAD, PLACES, IDS, REPORT}
    with os_errors(f"out = {str(out)!r} cannot be written"):
        present = {one.name for one in out.iterdir()} if out.is_dir() else None
        if present is None and out.exists():
            raise ScenarioError(f"out = {str(out)!r} is a file: name a new directory.")
        if present and not (overwrite and present <= names):
            advice = "or replace it with --overwrite" if present <= names else "it holds other files too"
            raise ScenarioError(f"out = {str(out)!r} is already there: name a new directory, {advice}.")
        out.parent.mkdir(parents=True, exist_ok=True)
        part, old = (out.with_name(f".{out.name}.{uuid.uuid4().hex}.{end}") for end in ("tmp", "old"))
        try:
            part.mkdir()
            for name, content in files_of(found).items():
                with (part / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if present is not None:
                os.replace(out, old)
            os.replace(part, out)
        except BaseException:
            if old.exists() and not out.exists():
                os.replace(old, out)
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def packed(found: Imported) -> bytes:
    """All files as one ZIP."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in files_of(found).items():
            archive.writestr(name, part)
    return content.getvalue()


def report_text(found: Imported) -> str:
    """What was taken, changed and left out, and why, as plain text."""
    lines = [
        f"Import of {', '.join(one.table.name for one in found.inputs)}: {found.scenario.size_words}, {found.scenario.T} steps."
    ]
    for kind, heading in HEADINGS.items():
        texts = [line.text for line in found.report if line.kind == kind]
        if texts:
            lines += ["", heading, *(f"- {text}" for text in texts)]
    return "\n".join(lines) + "\n"


def workload_table(s: Scenario) -> str:
    """The own workload of a scenario as a CSV for `--workload`."""
    tasks = s.workload or ()
    optional = {name for name in ("kind", "T_max") if any(getattr(task, name) is not None for task in tasks)}
    columns = ["step", "user", "data_kb", "cycles", "priority", *(["kind"] if "kind" in optional else []),
               *(["deadline_ms"] if "T_max" in optional else [])]  # fmt: skip

    def row(task: Any) -> list[Any]:
        cells = [task.step, task.user, _number(task.D / KILOBYTE), _number(task.C), task.P]
        if "kind" in optional:
            cells.append(task.kind or "")
        if "T_max" in optional:
            cells.append("" if task.T_max is None else _number(task.T_max * 1e3))
        return cells

    return _table(columns, map(row, tasks))


def places_table(s: Scenario) -> str:
    """The own places of a scenario, with what differs about its devices, as a CSV for `--places`."""
    assert s.places is not None
    of: Mapping[str, Mapping[int, Any]] = {
        "user": {d.number: d for d in s.user_devices},
        "server": {d.number: d for d in s.server_devices},
    }
    fields: Mapping[str, tuple[str, str, float]] = {  # columns with their fields of users and servers, and the factor from SI
        "name": ("name", "name", 0.0), "cpu_ghz": ("F_i", "F_k", 1e9), "bandwidth_mhz": ("", "B_k", 1e6),
        "latency_ms": ("", "latency", 1e-3), "power_w": ("P_tr", "", 1.0), "battery_j": ("Cap", "", 1.0),
    }  # fmt: skip

    def value(kind: str, number: int, column: str) -> Any:
        of_user, of_server, factor = fields[column]
        field = of_server if kind == "server" else of_user
        found = getattr(of[kind].get(number), field, None) if field else None
        return "" if found is None else found if not factor else _number(found / factor)

    rows: list[list[Any]] = []
    for kind, places in (("user", s.places.users), ("server", s.places.servers)):
        for number, (x, y) in enumerate(places, 1):
            rows.append([kind, _number(x), _number(y), *(value(kind, number, column) for column in fields)])
    used = [n for n in range(3, 3 + len(fields)) if any(row[n] != "" for row in rows)]
    header = ["kind", "x_m", "y_m", *fields]
    return _table([header[n] for n in (0, 1, 2, *used)], ([row[n] for n in (0, 1, 2, *used)] for row in rows))


def _number(value: float) -> str:
    return f"{value:.15g}"


def _table(columns: Sequence[str], rows: Any) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def mapping_of(words: Sequence[str], what: str) -> Mapping[str, str]:
    """Read the words NAME=VALUE of a command line. Raises `ScenarioError`."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise ScenarioError(f"{what} = {word[:60]!r} cannot be used: allowed is NAME=VALUE.")
        if name.strip() in found:
            raise ScenarioError(f"{what}: {name.strip()[:40]!r} stands twice.")
        found[name.strip()] = value.strip()
    return found
