"""The folder of a run: its names, its JSON files, its append-only lines and how it is deleted.

A run is a training run or a sweep. Whatever it is, its folder holds

status.json  state and progress, as its worker last reported them; replaced as a whole
worker.json  the process that the queue started for it
worker.log   what that process printed
worker.lock  locked by the process that works on it
stop         exists while the run is asked to stop
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from iomt_core.scenario import ScenarioError, os_errors
from iomt_core.scenario.files import write_text_atomically

STATUS, STOP, LOG, TRASH = "status.json", "stop", "worker.log", ".trash"
LONGEST_NAME = 40
NAME = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?")
LONGEST_LOG = 4000  # bytes of a log that are shown


def checked_name(name: str) -> str:
    """Returns the name. Raises `ScenarioError` where a new run may not have it."""
    if not NAME.fullmatch(name):
        raise ScenarioError(
            f"name = {name[:60]!r} cannot be used: allowed are 1 to {LONGEST_NAME} of a-z, 0-9 and -, no - at either end."
        )
    return name


def free_name(root: Path, words: str) -> str:
    """A name that no run in `root` has yet, made from words: `words-1`, `words-2` and so on."""
    stem = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[: LONGEST_NAME - 6].strip("-") or "run"
    taken = {entry.name for entry in root.glob("*")}
    return next(name for n in range(1, len(taken) + 2) if (name := f"{stem}-{n}") not in taken)


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None where the file is missing or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def write_json(path: Path, values: Mapping[str, Any], indent: int | None = None) -> None:
    """Writes a JSON file, as a whole or not at all. Raises `ScenarioError`."""
    write_text_atomically(path, json.dumps(values, indent=indent, ensure_ascii=False) + "\n")


def read_status(folder: Path) -> dict[str, Any]:
    """What the run's worker last reported; empty where it has not yet."""
    return read_json(folder / STATUS) or {}


def write_status(folder: Path, status: Mapping[str, Any]) -> None:
    """Replaces the run's status. Raises `ScenarioError`."""
    write_json(folder / STATUS, status)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The mappings in a file of JSON lines; damaged or half-written lines are left out. Raises `ScenarioError`."""
    if not path.exists():
        return
    with os_errors(f"file {str(path)!r} cannot be read"):
        text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            values = json.loads(line)
            if isinstance(values, dict):
                yield values


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Adds a JSON line. Raises `ScenarioError` where the disk is full or the folder is gone."""
    with os_errors(f"file {str(path)!r} cannot be written"), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replaces a file of JSON lines. Raises `ScenarioError`."""
    write_text_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))


def log_tail(folder: Path) -> str:
    """The end of the worker's log; empty if there is no log."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LONGEST_LOG))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def delete(folder: Path) -> None:
    """Removes a run's folder. Raises `ScenarioError` if it cannot be removed.

    The folder is first moved into a trash folder next to it, so that it disappears in one step. Files in the trash that
    cannot be removed now are removed at a later deletion.
    """
    trash = folder.parent / TRASH
    with os_errors(f"{folder.name!r} cannot be deleted"):
        trash.mkdir(exist_ok=True)
        os.rename(folder, trash / uuid.uuid4().hex)
        left = list(trash.iterdir())
    for entry in left:
        with contextlib.suppress(OSError):
            if entry.is_symlink():
                entry.unlink()
        shutil.rmtree(entry, ignore_errors=True)
