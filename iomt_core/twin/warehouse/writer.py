"""Writing a data warehouse: append records, rotate keys, forget a user, drop the oldest.

One process writes at a time, under a lock; any number of processes read meanwhile. Everything that changes is one commit with
a revision, and is acknowledged when the method returns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import uuid
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout

from iomt_core.scenario import os_errors
from iomt_core.twin.warehouse.aggregates import sums_to_bytes, task_sums
from iomt_core.twin.warehouse.columns import (
    LOGS,
    STEPS,
    TASKS,
    as_batch,
    divide_by_user,
    pieces,
    to_bytes,
)
from iomt_core.twin.warehouse.database import (
    DEVICE,
    Synchronous,
    add_commit,
    append_digest,
    blocks_digest,
    check_exists,
    connect_to_write,
    database_file,
    fact,
    now_us,
    set_fact,
    sqlite_errors,
    transaction,
)
from iomt_core.twin.warehouse.errors import (
    Audit,
    DiskFullError,
    WarehouseError,
    no_audit,
)
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.sealing import Header, encrypt, recording_data, sums_data
from iomt_core.twin.warehouse.segments import Segment, insert, seal_bytes
from iomt_core.twin.warehouse.tiers import Tiers, remove_orphans
from iomt_core.twin.warehouse.users import Users

LOCK, RESERVE = "writer.lock", "reserve"
LOCK_WAIT = 0.5  # s; `checks.is_written` holds the lock for an instant
NO_LIMIT_PAGES = 2**32 - 2
RETRY_AFTER = 64  # commits, before a move that found the disk full is tried again


class WarehouseWriter:
    """The one writer of the warehouse in `folder`.

    limits: of the tiers; None keeps those that the warehouse has. synchronous: see `database.py`. keys: None for those in the
    folder of `IOMT_KEYS`. create: whether a warehouse is made if there is none. Raises `WarehouseError` where another process
    writes.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        synchronous: Synchronous = "NORMAL",
        keys: Keyring | None = None,
        audit: Audit = no_audit,
        create: bool = True,
    ) -> None:
        if not create:
            check_exists(folder)
        self.folder, self.audit = folder, audit
        self._tiers: Tiers
        with os_errors(f"warehouse {str(folder)!r} cannot be opened"):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / LOCK)
            try:
                self._lock.acquire(timeout=LOCK_WAIT)
            except Timeout:
                raise WarehouseError(
                    f"another process writes to the warehouse {str(folder)!r}: one at a time can."
                ) from None
        try:
            self.db = connect_to_write(folder, synchronous)
            try:
                with self._errors():
                    self._open(limits, keys)
            except BaseException:
                self.db.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and lets another process write."""
        self.db.close()
        self._lock.release()

    @property
    def revision(self) -> int:
        """The revision of the latest commit; 0 if there is none."""
        return int(self.db.execute("SELECT coalesce(max(revision), 0) FROM commits").fetchone()[0])

    def begin_recording(self, configuration: Mapping[int, Mapping[str, Any]]) -> int:
        """Notes what is going to be recorded; returns the number for `append`.

        configuration: for each user what its own records mean, as JSON; it is sealed for that user.
        """
        with self._errors():
            users = self.users.known(configuration)
            with transaction(self.db):
                self._add_users(users)
                number = self.db.execute("SELECT coalesce(max(number), 0) + 1 FROM recordings").fetchone()[0]
                digest = hashlib.sha256()
                for user in users:
                    plain = json.dumps(configuration[user]).encode()
                    sealed = encrypt(self.users.ledger(user), plain, recording_data(self.identity, user, number))
                    self.db.execute("INSERT INTO recordings VALUES(?,?,?)", (number, user, sealed))
                    digest.update(sealed)
                detail = json.dumps({"recording": number, "users": users, "sha256": digest.hexdigest()})
                revision = add_commit(self.db, "record", detail, now_us(self.db))
        self.audit("record", {"recording": number, "users": len(users), "revision": revision})
        return int(number)

    def append(
        self,
        tasks: pd.DataFrame | pa.Table | pa.RecordBatch,
        steps: pd.DataFrame | pa.Table | pa.RecordBatch,
        recording: int = 0,
    ) -> int:
        """Adds records at the end of the users' logs, in one commit. Returns its revision.

        tasks: one row a task; steps: one row a user and step, at least one for every user with tasks. Rows of one user stay in
        their order. Rows of users who were forgotten are not kept. Raises `WarehouseError` for a table that cannot be stored,
        and `DiskFullError`; then nothing of the commit was kept.
        """
        batches = {TASKS: as_batch(TASKS, tasks), STEPS: as_batch(STEPS, steps)}
        with self._errors():
            revision, rows = self._append(batches, recording)
            self.audit("append", {"rows": rows, "recording": recording, "revision": revision})
            self._settle(revision)
        return revision

    def settle(self) -> None:
        """Moves what the limits ask to be moved. `append` does it too."""
        with self._errors():
            self._tiers.settle(self._heads)

    def set_limits(self, limits: Limits) -> None:
        """Changes the limits of the tiers, and moves what has to be moved by them."""
        with self._errors():
            with transaction(self.db):
                set_fact(self.db, "limits", limits.as_json())
            self.limits = self._tiers.limits = limits
            self._limit_size()
            self._reserve()
            self.audit("limit", {"revision": self.revision})
            self._tiers.settle(self._heads)

    def tidy(self, free: int) -> tuple[int, int]:
        """Drops the oldest segments of all tiers, at least so many bytes. Returns how many segments and rows.

        It works on a full disk, by the space that was reserved for it.
        """
        with contextlib.suppress(OSError):
            (self.folder / RESERVE).unlink()
        try:
            with self._errors():
                self.db.execute(f"PRAGMA max_page_count={NO_LIMIT_PAGES}")  # dropping needs a page too
                leaving = self._tiers.oldest_of_all(free)
                self._tiers.drop(leaving)
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._limit_size()
            self._reserve()
        return len(leaving), sum(segment.header.rows for segment in leaving)

    def rotate(self) -> int:
        """Gives every user a new key and wraps the segments' keys again; no data are written anew. Returns the number of keys."""
        with self._errors():
            users, wrapped, revision = self.users.rotate()
        self.audit("rotate", {"users": users, "keys": wrapped, "revision": revision})
        return wrapped

    def forget(self, user: int) -> None:
        """Destroys the user's key, so that no copy of the user's data can be read any more, and removes the user's segments.

        Raises `WarehouseError` for a user that the warehouse does not know.
        """
        with self._errors():
            revision = self.users.forget(user)
            if revision is not None:
                self.audit("forget", {"user": user, "revision": revision})
            self.users.destroy(user)
            self._load()

    def _errors(self) -> Any:
        return sqlite_errors(database_file(self.folder))

    def _open(self, limits: Limits | None, keys: Keyring | None) -> None:
        db = self.db
        if fact(db, "identity") is None:
            with transaction(db):
                set_fact(db, "identity", uuid.uuid4().hex)
                set_fact(db, "limits", (limits or Limits()).as_json())
        self.identity: str = fact(db, "identity")
        kept = Limits.from_json(fact(db, "limits"))
        self.limits = limits or kept
        if self.limits != kept:
            with transaction(db):
                set_fact(db, "limits", self.limits.as_json())
        self.keys = keys or Keyring.of_warehouse(self.identity, self.folder)
        self._limit_size()
        self._reserve()
        self._tiers = Tiers(db, self.folder, self.identity, self.keys, self.limits, self.audit)
        self.users = Users(db, self.folder, self.identity, self.keys)
        self._retry_at = 0
        self._load()
        self.users.complete()
        remove_orphans(db, self.folder)

    def _load(self) -> None:
        """Reads from the index what this object keeps in memory."""
        self.users.load()
        self._heads = {(user, log): 0 for user in self.users.versions for log in LOGS}
        self._heads |= {
            (user, log): last
            for user, log, last in self.db.execute("SELECT user, log, max(last) FROM appends GROUP BY user, log")
        }
        self._schemas = {row[0] for row in self.db.execute("SELECT identity FROM schemas")}
        self._tiers.refresh()

    def _append(self, batches: Mapping[str, tuple[pa.RecordBatch, str]], recording: int) -> tuple[int, int]:
        divided = {log: divide_by_user(batch) for log, (batch, _) in batches.items()}
        step_rows = dict(zip(divided[STEPS][1], _differences(divided[STEPS][2]), strict=True))
        if without := [user for user in divided[TASKS][1] if user not in step_rows]:
            raise WarehouseError(f"steps: user {without[0]} has tasks but no row.")
        if negative := [user for user in step_rows if user < 1]:
            raise WarehouseError(f"steps: user = {negative[0]} is out of range: users are numbered from 1.")
        batch, _, starts = divided[TASKS]
        sums = {TASKS: sums_to_bytes(task_sums(batch, starts)), STEPS: [b""] * len(step_rows)}
        try:
            with transaction(self.db):
                self._add_users(self.users.known(step_rows))
                time_us = now_us(self.db)
                revision = self.revision + 1
                self._number: int = self.db.execute("SELECT coalesce(max(id), 0) FROM segments").fetchone()[0]
                segments: list[Segment] = []
                blocks: list[bytes] = []
                appends: list[tuple[int, str, int, int, bytes, bytes]] = []
                for log, (batch, schema) in batches.items():
                    self._add_schema(schema, batch.schema)
                    commit = revision, time_us, recording
                    self._seal(log, schema, divided[log], step_rows, commit, sums[log], segments, blocks, appends)
                insert(self.db, segments, blocks)
                self.db.executemany(f"INSERT INTO appends VALUES({revision},?,?,?,?,?,?)", appends)
                add_commit(self.db, "append", append_digest(appends), time_us)
        except BaseException:
            if not self.db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._load()
            raise
        for user, log, last, *_ in appends:
            self._heads[user, log] = last
        for segment in segments:
            self._tiers.add(segment.header.user, segment.stored, segment.header.last_step)
        return revision, sum(segment.header.rows for segment in segments)

    def _seal(
        self,
        log: str,
        schema: str,
        divided: tuple[pa.RecordBatch, list[int], list[int]],
        step_rows: Mapping[int, int],
        commit: tuple[int, int, int],
        sums: list[bytes],
        segments: list[Segment],
        blocks: list[bytes],
        appends: list[tuple[int, str, int, int, bytes, bytes]],
    ) -> None:
        """Seals the rows of each user; adds to segments, blocks and rows of the table `appends`."""
        batch, users, starts = divided
        revision, time_us, recording = commit
        for place, user in enumerate(users):
            if user in self.users.forgotten:
                continue
            cipher = self.users.cipher(user)
            step = self._heads[user, STEPS]
            last, digests = self._heads[user, log], []
            for start, rows in pieces(starts[place], starts[place + 1]):
                packed, size = to_bytes(batch.slice(start, rows))
                header = Header(
                    self.identity, user, log, last + 1, rows, step + 1, step + step_rows[user], schema, size
                )
                block, wrapped = seal_bytes(packed, header.associated_data(), cipher)
                digests.append(hashlib.sha256(block).digest())
                self._number += 1
                segments.append(
                    Segment(
                        self._number, DEVICE, header, time_us, time_us, revision, len(block), digests[-1], wrapped, None
                    )
                )  # fmt: skip
                blocks.append(block)
                last += rows
            sealed = b""
            if sums[place]:
                sealed = encrypt(self.users.ledger(user), sums[place], sums_data(self.identity, user, revision))
            appends.append((user, log, last, recording, blocks_digest(digests), sealed))

    def _settle(self, revision: int) -> None:
        """Moves what has to be moved; a full disk stops moves only, and `append` says so when it can add nothing more."""
        if revision < self._retry_at:
            return
        try:
            self._tiers.settle(self._heads)
        except DiskFullError:
            self._retry_at = revision + RETRY_AFTER
            self._tiers.refresh()

    def _add_schema(self, identity: str, schema: pa.Schema) -> None:
        if identity not in self._schemas:
            self.db.execute("INSERT INTO schemas VALUES(?,?)", (identity, schema.serialize().to_pybytes()))
            self._schemas.add(identity)

    def _add_users(self, users: list[int]) -> None:
        """Makes keys and empty logs for users that are new; inside a transaction."""
        self._heads |= {(user, log): 0 for user in self.users.add(users) for log in LOGS}

    def _limit_size(self) -> None:
        pages = self.limits.database_bytes // self.db.execute("PRAGMA page_size").fetchone()[0]
        self.db.execute(f"PRAGMA max_page_count={pages or NO_LIMIT_PAGES}")

    def _reserve(self) -> None:
        """Keeps a file of `reserve_bytes`, if the disk has room for it."""
        path, size = self.folder / RESERVE, self.limits.reserve_bytes
        with contextlib.suppress(OSError):
            if size == 0:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.stat().st_size != size:
                try:
                    _allocate(path, size)
                except OSError:
                    path.unlink(missing_ok=True)


def _allocate(path: Path, size: int) -> None:
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for _ in range(0, size, 1 << 20):
                file.write(b"\0" * min(1 << 20, size - file.tell()))


def _differences(starts: list[int]) -> list[int]:
    return [b - a for a, b in pairwise(starts)]
