"""The warehouses that the Twin page offers, recording into one in the background, and deleting one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from iomt_core.paths import user_folder
from iomt_core.policies.base import Shares
from iomt_core.runs import directory
from iomt_core.runs.directory import NAME, free_name
from iomt_core.runs.owner import Person, owner_of
from iomt_core.scenario import Scenario, ScenarioError, check_range
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.warehouse.checks import status
from iomt_core.twin.warehouse.database import database_file
from iomt_core.twin.warehouse.errors import WarehouseError
from iomt_core.twin.warehouse.recorder import record
from iomt_core.twin.warehouse.writer import WarehouseWriter

ROOT = "IOMT_WAREHOUSES"
MOST_EPISODES, MOST_WAREHOUSES = 1000, 50
AT_ONCE = 8  # episodes between two reports of progress, at each of which recording can be cancelled
SUBJECT = "dashboard"  # in the audit log
State = Literal["running", "finished", "cancelled", "failed"]


class _CancelledError(Exception):
    """Ends the thread that records."""


@dataclass
class Recording:
    """Episodes that are recorded in the background by a thread of the server."""

    warehouse: str
    episodes: int
    owner: Person
    done: int = 0
    state: State = "running"
    problem: str = ""
    started: float = field(default_factory=time.monotonic)
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.started


_recordings: dict[str, Recording] = {}  # the latest one of each warehouse
_lock = threading.Lock()


def known() -> dict[str, Path]:
    """The folders of all warehouses in the root by name, the latest first."""
    root = user_folder(ROOT)
    try:
        found = [path for path in root.iterdir() if NAME.fullmatch(path.name) and database_file(path).is_file()]
    except OSError:
        return {}
    return {path.name: path for path in sorted(found, key=_changed, reverse=True)}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def recording_of(name: str | None) -> Recording | None:
    """The latest recording into a warehouse since the server was started; None if there was none."""
    return _recordings.get(name or "")


def running() -> Recording | None:
    """The recording that runs, of whatever warehouse."""
    return next((job for job in _recordings.values() if job.state == "running"), None)


def start(
    name: str | None, s: Scenario, policy: str, seed: int, shares: Shares, episodes: int, person: Person
) -> Recording:
    """Begins to record episodes; one recording runs at a time.

    name: of the warehouse, None for a new one. Raises `ScenarioError` if another recording runs or the warehouse belongs to
    somebody else.
    """
    check_range("episodes", episodes, 1, MOST_EPISODES)
    with _lock:
        if (other := running()) is not None:
            raise WarehouseError(f"{other.warehouse} is being recorded: wait until it is done, or cancel it.")
        folder = open_for(name, s.name, person)
        job = _recordings[folder.name] = Recording(folder.name, episodes, person)
    arguments = (job, folder, s, policy, seed, shares)
    threading.Thread(target=_record, args=arguments, name=f"record-{folder.name}", daemon=True).start()
    return job


def open_for(name: str | None, suggested: str, person: Person) -> Path:
    """The folder of a warehouse into which this person may record; it is made if it is new.

    name: of the warehouse, None for a new one, which is named like `suggested`. Raises `ScenarioError` where another process
    writes to it or it belongs to somebody else.
    """
    root, warehouses = user_folder(ROOT), known()
    if name is not None and name not in warehouses:
        raise WarehouseError(f"warehouse = {name[:60]!r} is not there any more.")
    if name is None and len(warehouses) >= MOST_WAREHOUSES:
        raise WarehouseError(f"there are {MOST_WAREHOUSES} warehouses: remove folders of {root.name}/ first.")
    folder = root / (name or free_name(root, suggested))
    if name is not None and not person.may_change(owner_of(folder)):
        raise WarehouseError(f"{name} belongs to {owner_of(folder).name}: record into a new warehouse.")
    with WarehouseWriter(folder):  # makes it, so that it has an identity and an owner before anything is recorded
        if name is None:
            person.save(folder)
    return folder


def dropped_rows(folder: Path) -> int:
    """How many records left the archive so far. Raises `ScenarioError`."""
    return int(status(folder)["dropped_rows"])


def delete(folder: Path) -> None:
    """Destroys the keys of a warehouse and removes its folder. Raises `ScenarioError`, also while somebody writes to it."""
    with WarehouseWriter(folder, create=False) as writer:
        for user in status(folder)["users"]:
            writer.keys.destroy(user)
    directory.delete(folder)
    _recordings.pop(folder.name, None)


def _record(job: Recording, folder: Path, s: Scenario, policy: str, seed: int, shares: Shares) -> None:
    def on_commit(episodes: int, revision: int) -> None:
        del revision
        job.done = episodes
        if job.cancel.is_set():
            raise _CancelledError

    try:
        with open_audit_log(folder) as log:
            record(
                s, policy, job.episodes, seed, folder, shares, audit=audit_hook(log, SUBJECT), on_commit=on_commit,
                at_once=AT_ONCE,
            )  # fmt: skip
        job.state = "finished"
    except _CancelledError:
        job.state = "finished" if job.done == job.episodes else "cancelled"
    except ScenarioError as error:
        job.problem, job.state = str(error), "failed"
    except BaseException as error:
        job.problem, job.state = f"{type(error).__name__}: {error}", "failed"
        raise
