"""Reading a data warehouse, while another process may write it.

Every read can name a revision and gives for ever what it gave when that revision was the latest. Logs only grow, so that a
revision is a length of each log. Where records of a revision were dropped or forgotten since, reading it raises an error.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iomt_core.scenario import Scenario, check_range, scenario
from iomt_core.twin.warehouse.aggregates import SUMS, sums_from_bytes
from iomt_core.twin.warehouse.columns import ADDED, REQUIRED, STEPS, TASKS
from iomt_core.twin.warehouse.database import database_file, fact, reading
from iomt_core.twin.warehouse.errors import Audit, DamagedError, KeyMissingError, WarehouseError, no_audit
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.sealing import decrypt, ledger_data, recording_data, sums_data
from iomt_core.twin.warehouse.segments import SegmentReader, select

T = TypeVar("T")
MICROSECONDS = 1e6
CHANGES = ("append", "record", "drop", "forget")  # kinds of commits after which something else can be read
NUMBER = {"sequence": pa.int64(), "recording": pa.int64(), "synchronised_s": pa.float64()}


class Warehouse:
    """A data warehouse to read. keys: None for all keys in the folder of `IOMT_KEYS`; audit: called before data are returned."""

    def __init__(self, folder: Path, keys: Keyring | None = None, audit: Audit = no_audit) -> None:
        self.folder, self.audit = folder, audit
        with reading(folder) as db:
            self.identity: str = fact(db, "identity") or ""
        if not self.identity:
            raise WarehouseError(f"warehouse = {str(folder)!r} holds nothing yet.")
        self.keys = keys or Keyring.of_warehouse(self.identity, folder)

    @property
    def revision(self) -> int:
        """The latest revision that changed what can be read; moves and new keys have revisions too, which change none of it."""
        kinds = ",".join(f"'{kind}'" for kind in CHANGES)
        with reading(self.folder) as db:
            query = f"SELECT coalesce(max(revision), 0) FROM commits WHERE kind IN ({kinds})"
            return int(db.execute(query).fetchone()[0])

    def head_hash(self, at: int) -> str:
        """The hash of a revision, which stands for the whole history up to it, in hexadecimal; "" if there is none."""
        with reading(self.folder) as db:
            row = db.execute("SELECT hash FROM commits WHERE revision=?", (at,)).fetchone()
        return row[0].hex() if row else ""

    @property
    def users(self) -> tuple[int, ...]:
        """All users who were ever recorded, also those who were forgotten."""
        with reading(self.folder) as db:
            return tuple(user for (user,) in db.execute("SELECT user FROM users ORDER BY user"))

    @property
    def forgotten(self) -> tuple[int, ...]:
        """The users who were forgotten."""
        with reading(self.folder) as db:
            return tuple(
                user for (user,) in db.execute("SELECT user FROM users WHERE forgotten NOT NULL ORDER BY user")
            )

    @property
    def scenario(self) -> Scenario:
        """The ward of the latest recording, with the workload of those users whose keys are here. Raises `WarehouseError`."""
        return self.scenario_of()

    def scenario_of(self, recording: int | None = None) -> Scenario:
        """The ward of a recording, see `configurations`, with the workload of those users whose keys are here."""
        wards = [values["scenario"] for values in self.configurations(recording)[1].values()]
        own = [task for ward in wards for task in ward["workload"] or ()]
        return scenario({**wards[0], "workload": own or None})

    def configurations(self, recording: int | None = None) -> tuple[int, dict[int, dict[str, Any]]]:
        """The number of a recording (None: the latest), and its configuration for each user who was not forgotten.

        Raises `WarehouseError` if there is none.
        """
        with reading(self.folder) as db:
            query = (
                "SELECT number, r.user FROM recordings r JOIN users u ON r.user = u.user WHERE forgotten IS NULL "
                "AND number = coalesce(?, (SELECT max(number) FROM recordings)) ORDER BY r.user"
            )
            found = db.execute(query, (recording,)).fetchall()
        if not found and recording is not None:
            raise WarehouseError(f"recording = {recording} is not there, or all its users were forgotten.")
        if not found:
            raise WarehouseError("no recording says which ward it was: record with `iomt warehouse record`.")
        return found[0][0], {user: self.log(user).configuration(number) for number, user in found}

    def log(self, user: int) -> UserWarehouse:
        """DW_i, the data warehouse of one user; it can use the key of this user only."""
        return UserWarehouse(self.folder, self.identity, user, self.keys.for_user(user), self.audit)

    def aggregates(self, at: int | None = None, by_day: bool = False) -> pd.DataFrame:
        """Sums over all tasks ever recorded, a row for each user (and day, UTC), with the columns `user` and `SUMS`.

        Made of the sums that were kept for each commit, also for records that were dropped since; no record is read. Users who
        were forgotten are not among them.
        """

        def read(db: sqlite3.Connection) -> pd.DataFrame:
            revision, rows = _checked_revision(db, at), []
            ledgers = self._ledgers(db)
            query = (
                "SELECT user, a.revision, sums, time_us FROM appends a JOIN commits c ON a.revision = c.revision "
                "WHERE log=? AND a.revision<=? ORDER BY a.revision"
            )
            for user, commit, sealed, time_us in db.execute(query, (TASKS, revision)):
                if user in ledgers:
                    plain = decrypt(ledgers[user], sealed, sums_data(self.identity, user, commit))
                    if plain is None:
                        raise DamagedError(
                            database_file(self.folder), f"the sums of commit {commit} were changed.", user
                        )
                    rows.append((user, time_us // 86_400_000_000, *sums_from_bytes(plain)))
            table = pd.DataFrame(rows, columns=["user", "day", *SUMS])
            table["day"] = pd.to_datetime(table["day"].astype("int64"), unit="D", utc=True)
            return table.groupby(["user", "day"] if by_day else ["user"], as_index=False)[list(SUMS)].sum()

        table = self._read(read)
        self.audit("aggregates", {"users": int(table["user"].nunique()), "at": at or 0})
        return table

    def _ledgers(self, db: sqlite3.Connection) -> dict[int, AESGCM]:
        query = "SELECT user, key_version, ledger_key FROM users WHERE forgotten IS NULL"
        return {
            user: open_ledger(self.folder, self.identity, self.keys, user, version, wrapped)
            for user, version, wrapped in db.execute(query)
        }

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        return read_view(self.folder, read)


class UserWarehouse:
    """DW_i: the records of one user. Get it by `Warehouse.log`, or make it with a key of this user alone."""

    def __init__(self, folder: Path, identity: str, user: int, keys: Keyring, audit: Audit = no_audit) -> None:
        self.folder, self.identity, self.user, self.keys, self.audit = folder, identity, user, keys, audit

    def tasks(
        self, at: int | None = None, columns: Sequence[str] | None = None, after: int = 0, recording: int | None = None
    ) -> pa.Table:
        """The user's tasks at a revision (None: the latest), with sequence numbers above `after`, in their order.

        columns: None for all. recording: only those of this recording. Before the stored columns come `sequence`,
        `recording` (number of the recording, 0 for none) and `synchronised_s` (when the record was written, s since 1970).
        Raises `WarehouseError` where records of the revision were dropped or forgotten, and `DamagedError`.
        """
        return self._read(TASKS, at, columns, after, recording)

    def steps(
        self, at: int | None = None, columns: Sequence[str] | None = None, after: int = 0, recording: int | None = None
    ) -> pa.Table:
        """One row for each recorded step: status and outcome of the user; see `tasks`."""
        return self._read(STEPS, at, columns, after, recording)

    def configuration(self, recording: int) -> dict[str, Any]:
        """What the records of a recording mean: scenario, policy, seed; with this user's own workload only."""

        def read(db: sqlite3.Connection) -> dict[str, Any]:
            ledger = self._ledger(db)
            query = "SELECT sealed FROM recordings WHERE number=? AND user=?"
            row = db.execute(query, (recording, self.user)).fetchone()
            if row is None:
                raise WarehouseError(f"recording = {recording} is not known for user {self.user}.")
            plain = decrypt(ledger, row[0], recording_data(self.identity, self.user, recording))
            if plain is None:
                raise DamagedError(database_file(self.folder), f"recording {recording} was changed.", self.user)
            values: dict[str, Any] = json.loads(plain)
            return values

        return self.view(read)

    def view(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `read` on one view of the warehouse; see `read_view`."""
        return read_view(self.folder, read)

    def _read(
        self, log: str, at: int | None, columns: Sequence[str] | None, after: int, recording: int | None
    ) -> pa.Table:
        table, revision = self.view(lambda db: self._select(db, log, at, columns, after, recording))
        facts = {"user": self.user, "log": log, "revision": revision, "rows": table.num_rows}
        self.audit("read", facts)
        return table

    def _select(
        self,
        db: sqlite3.Connection,
        log: str,
        at: int | None,
        columns: Sequence[str] | None,
        after: int,
        recording: int | None,
    ) -> tuple[pa.Table, int]:
        revision = _checked_revision(db, at)
        self._check_kept(db, log, revision)
        appends = db.execute(
            "SELECT a.last, recording, time_us FROM appends a JOIN commits c ON a.revision = c.revision "
            "WHERE user=? AND log=? AND a.revision<=? ORDER BY a.revision",
            (self.user, log, revision),
        ).fetchall()
        head = appends[-1][0] if appends else 0
        if recording is not None:  # the records of a recording follow each other: one writer at a time
            places = [n for n, (_, number, _) in enumerate(appends) if number == recording]
            head = appends[places[-1]][0] if places else 0
            after = max(after, appends[places[0] - 1][0] if places and places[0] else 0)
        stored = None if columns is None else [name for name in columns if name not in ADDED]
        reader, parts = SegmentReader(db, self.folder, self.keys), []
        condition = "user=? AND log=? AND first<=? AND first+rows-1>?"
        for segment in select(db, self.identity, condition, (self.user, log, head, after)):
            h = segment.header
            known = reader.schema(h.schema).names
            batch = reader.read(segment, None if stored is None else [name for name in stored if name in known])
            skip = max(0, after - h.first + 1)
            batch = batch.slice(skip, min(h.last, head) - h.first + 1 - skip)
            first = h.first + skip
            parts.append(_with_added(batch, np.arange(first, first + batch.num_rows), appends))
        if not parts:
            names = columns or (*ADDED, *REQUIRED[log])  # without a segment no other columns are known
            empty = {name: pa.array([], NUMBER.get(name, pa.float64())) for name in names}
            table = pa.table(empty)
        else:
            # Permissive: training records single precision, `iomt warehouse record` double.
            table = pa.concat_tables(parts, promote_options="permissive")
        if columns is not None:
            if unknown := [name for name in columns if name not in table.column_names]:
                raise WarehouseError(f"{log}: column {unknown[0]!r} is not stored.")
            table = table.select(list(columns))
        return table, revision

    def _check_kept(self, db: sqlite3.Connection, log: str, revision: int) -> None:
        forgotten = db.execute("SELECT forgotten FROM users WHERE user=?", (self.user,)).fetchone()
        if forgotten is None:
            raise WarehouseError(f"user = {self.user} is not known: the warehouse has no records of this user.")
        if forgotten[0] is not None:
            raise WarehouseError(f"user = {self.user} was forgotten at revision {forgotten[0]}: the key is destroyed.")
        query = "SELECT last, revision FROM dropped WHERE user=? AND log=?"
        dropped = db.execute(query, (self.user, log)).fetchone()
        if dropped is not None and revision < dropped[1]:
            raise WarehouseError(
                f"at = {revision} cannot be read any more: {log} 1 to {dropped[0]} of user {self.user} were dropped until "
                f"revision {dropped[1]}, since the archive was full."
            )

    def _ledger(self, db: sqlite3.Connection) -> AESGCM:
        row = db.execute("SELECT key_version, ledger_key, forgotten FROM users WHERE user=?", (self.user,)).fetchone()
        if row is None or row[2] is not None:
            raise WarehouseError(f"user = {self.user} is not known or was forgotten.")
        return open_ledger(self.folder, self.identity, self.keys, self.user, row[0], row[1])


def open_ledger(folder: Path, identity: str, keys: Keyring, user: int, version: int, wrapped: bytes) -> AESGCM:
    """The cipher for a user's sums and configurations."""
    key = decrypt(keys.cipher(user, version), wrapped, ledger_data(identity, user))
    if key is None:
        raise DamagedError(database_file(folder), "the key of the user is another one.", user)
    return AESGCM(key)


def read_view(folder: Path, read: Callable[[sqlite3.Connection], T]) -> T:
    """The result of `read` on one view of the warehouse.

    A file of the archive or the version of a key may go between the view and the read, because a writer dropped it or rotated
    keys; then a new view says so or has what took its place.
    """
    with reading(folder) as db:
        before = _latest(db)
        try:
            return read(db)
        except FileNotFoundError as error:
            missing = DamagedError(Path(error.filename or folder), "it is missing.")
        except (DamagedError, KeyMissingError) as error:
            missing = error  # type: ignore[assignment]
    with reading(folder) as db:
        if _latest(db) == before:
            raise missing
        return read(db)


def _latest(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(revision), 0) FROM commits").fetchone()[0])


def _checked_revision(db: sqlite3.Connection, at: int | None) -> int:
    latest = _latest(db)
    if at is None:
        return latest
    check_range("at", at, 0, latest)
    return at


def _with_added(batch: pa.RecordBatch, sequence: Any, appends: list[tuple[int, int, int]]) -> pa.Table:
    """The rows with the columns of `ADDED` before them."""
    last, recording, time_us = (np.array(column, dtype=np.int64) for column in zip(*appends, strict=True))
    place = np.searchsorted(last, sequence)
    added = [pa.array(sequence), pa.array(recording[place]), pa.array(time_us[place] / MICROSECONDS)]
    return pa.Table.from_arrays([*added, *batch.columns], [*ADDED, *batch.schema.names])
