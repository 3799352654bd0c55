"""The audit log: who did what with which object, when, and with what outcome. It contains no data of users.

Every record holds a hash of its fields and of the record before, so that a changed or missing record breaks the chain. Signed
checkpoints (see `checkpoints`) make it impossible to shorten the log or to write it again. Records after the last checkpoint are
protected by the chain only; there are at most `CHECKPOINT_EVERY` of them.

The log is an SQLite database of its own. A power loss can take the records after the last checkpoint or durable transaction, but
no others; the end of a process takes none.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from iomt_core.twin.access.checkpoints import Checkpoint, Checkpoints
from iomt_core.twin.access.errors import AuditError

FILE = "audit.sqlite"
CHECKPOINT_EVERY = 256  # records
LONGEST_FIELD = 200  # characters
BUSY_TIMEOUT = 30.0  # seconds to wait for another writer
SEPARATOR = "\x1f"  # between the fields that are hashed; no field contains it, so no two records look alike
COLUMNS = ("sequence", "time_ns", "subject", "action", "object", "outcome", "budget", "hash")
BODY = SEPARATOR.join(("%d", "%d", "%s", "%s", "%s", "%s", "%d"))
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS log (identifier TEXT NOT NULL) STRICT",
    """CREATE TABLE IF NOT EXISTS record (
        sequence INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, subject TEXT NOT NULL, action TEXT NOT NULL,
        object TEXT NOT NULL, outcome TEXT NOT NULL, budget INTEGER NOT NULL, hash BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS budget_changes ON record (budget) WHERE budget <> 0",
)
RECORDS = f"SELECT {', '.join(COLUMNS)} FROM record ORDER BY sequence"


@dataclass(frozen=True)
class Event:
    """What a record says.

    subject: identity, or "unknown". action, object: as in the table of permissions. outcome: granted, or why not. budget: change
    of the privacy budget, in millionths of ε.
    """

    subject: str
    action: str
    object: str
    outcome: str
    budget: int = 0

    def __post_init__(self) -> None:
        for text in (self.subject, self.action, self.object, self.outcome):
            if not text or len(text) > LONGEST_FIELD or not text.isprintable():
                raise ValueError(f"fields of an audit record are 1 to {LONGEST_FIELD} printable characters")


class Transaction:
    """An open transaction of an audit log: records, and further statements on the same database."""

    def __init__(self, connection: sqlite3.Connection, identifier: str) -> None:
        self.execute = connection.execute
        last = self.execute("SELECT sequence, hash FROM record ORDER BY sequence DESC LIMIT 1").fetchone()
        self.size: int = last[0] if last else 0
        self.head: bytes = last[1] if last else first_hash(identifier)

    def append(self, event: Event) -> int:
        """Adds a record. Returns its sequence number."""
        self.size += 1
        fields = (
            self.size, time.time_ns(), event.subject, event.action, event.object, event.outcome, event.budget,
        )  # fmt: skip
        self.head = chained(self.head, fields)
        self.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*fields, self.head))
        return self.size

    def balance(self) -> int:
        """Sum of all changes of the privacy budget: what is left, in millionths of ε."""
        return int(self.execute("SELECT COALESCE(SUM(budget), 0) FROM record WHERE budget <> 0").fetchone()[0])


class AuditLog:
    """An audit log, open for writing; several processes and threads may write to the same log.

    folder: of the log; the file is `FILE`. identifier: of the log, the same as the warehouse's; a log without records is made if
    it does not exist. keys: folder of the keys, default `keys_folder()`.

    Raises `AuditError` if the log is missing although checkpoints of it exist, if it has another identifier, or if it is shorter
    or different than at its last checkpoint: so nobody gets back a spent privacy budget by removing the log or by restoring an
    older copy.
    """

    def __init__(self, folder: Path, identifier: str, keys: Path | None = None) -> None:
        self.path, self.identifier = folder / FILE, identifier
        self._checkpoints = Checkpoints(identifier, keys)
        if self._checkpoints.path.parent.resolve().is_relative_to(folder.resolve()):
            raise AuditError(f"the folder of the keys is inside {folder}, the folder of the audit log: set IOMT_KEYS.")
        self._lock = threading.Lock()
        last = self._last_checkpoint()  # before the log is read, which other processes may extend
        self._signed = last.size
        with _sqlite_errors(self.path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # One connection for all threads, which take turns; transactions are begun explicitly.
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            self._open = True
            try:
                self._prepare()
                self._compare(last)
            except BaseException:
                self._open = False
                self._connection.close()
                raise

    def _last_checkpoint(self) -> Checkpoint:
        """The last checkpoint; of a new log, its first. Raises `AuditError` if there is a log or a checkpoint, but not both."""
        existed = self.path.exists()
        last = self._checkpoints.last()
        if last is None and existed:
            where = self._checkpoints.path.parent
            raise AuditError(
                f"the audit log {self.path} has no checkpoint in {where}: it was not made with these keys."
            )
        if last is None:  # before the log is made, because a log without a checkpoint is refused
            return self._checkpoints.sign(0, first_hash(self.identifier))
        if last.size and not self.path.exists():
            raise AuditError(
                f"the audit log {self.path} is missing: at its last checkpoint it had {last.size} records."
            )
        return last

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=NORMAL")
        execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            execute(statement)
        execute("INSERT INTO log SELECT ? WHERE NOT EXISTS (SELECT * FROM log)", (self.identifier,))
        execute("COMMIT")
        (found,) = execute("SELECT identifier FROM log").fetchone()
        if found != self.identifier:
            raise AuditError(f"the audit log {self.path} belongs to another warehouse.")

    def _compare(self, last: Checkpoint) -> None:
        """Raises `AuditError` unless the log contains what its last checkpoint says."""
        if last.size:
            found = self._connection.execute("SELECT hash FROM record WHERE sequence = ?", (last.size,)).fetchone()
            if found is None:
                raise AuditError(
                    f"the audit log {self.path} was shortened: at its last checkpoint it had {last.size} records."
                )
            if found[0] != last.head:
                raise AuditError(
                    f"the audit log {self.path} was changed: record {last.size} differs from its checkpoint."
                )

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[Transaction]:
        """A transaction, committed at the end of the block, or rolled back if the block raises.

        durable: on return it survives a power loss, and a checkpoint covers it. Raises `AuditError` if it cannot be committed, or
        if it was committed and the checkpoint cannot be written.
        """
        with self._lock, self._usable() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(connection, self.identifier)
                yield transaction
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if durable or transaction.size - self._signed >= CHECKPOINT_EVERY:
                self._checkpoint(transaction.size, transaction.head)

    @contextmanager
    def _usable(self) -> Iterator[sqlite3.Connection]:
        """The connection, if it is open; its errors as `AuditError`."""
        if not self._open:
            raise AuditError("the audit log is closed.")
        with _sqlite_errors(self.path):
            yield self._connection

    def append(self, *events: Event, durable: bool = False) -> int:
        """Adds records, in one transaction. Returns the sequence number of the last. Raises `AuditError`."""
        with self.transaction(durable) as transaction:
            for event in events:
                transaction.append(event)
        return transaction.size

    def _checkpoint(self, size: int, head: bytes) -> None:
        """Signs a committed state, which is on disk before."""
        # A sync of the write-ahead log covers all commits that are not in the database file yet; SQLite syncs that one itself.
        descriptor = os.open(f"{self.path}-wal", os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._checkpoints.sign(size, head)
        self._signed = size

    def checkpoint(self) -> None:
        """Signs the present state, unless it is signed already. Raises `AuditError`."""
        with self._lock, self._usable() as connection:
            transaction = Transaction(connection, self.identifier)
            if transaction.size > self._signed:
                self._checkpoint(transaction.size, transaction.head)

    def balance(self) -> int:
        """The privacy budget that is left, in millionths of ε."""
        with self._lock, self._usable() as connection:
            return Transaction(connection, self.identifier).balance()

    def latest(self, count: int) -> pd.DataFrame:
        """The last records, the newest first: sequence, time, subject, action, object, outcome, budget (ε)."""
        with self._lock, self._usable() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(COLUMNS[:-1])} FROM record ORDER BY sequence DESC LIMIT ?", (count,)
            ).fetchall()
        frame = pd.DataFrame(rows, columns=[*COLUMNS[:-1]])
        times = pd.to_datetime(frame.pop("time_ns").astype("int64"), unit="ns", utc=True)
        frame.insert(1, "time", times)
        return frame.assign(budget=frame["budget"].astype(float) / 1e6)

    def close(self) -> None:
        """Signs a checkpoint and closes the log; may be called again."""
        if self._open:
            try:
                self.checkpoint()
            finally:
                with self._lock:
                    self._open = False
                    self._connection.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def first_hash(identifier: str) -> bytes:
    """What stands for the hash before the first record; logs with different identifiers have nothing in common."""
    return hashlib.sha256(f"iomt audit log\n{identifier}".encode()).digest()


def chained(previous: bytes, fields: Sequence[Any]) -> bytes:
    """The hash of a record: of the hash before and its fields, `COLUMNS` without the hash."""
    return hashlib.sha256(previous + (BODY % tuple(fields)).encode()).digest()


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Raises errors of the database and its files as `AuditError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise AuditError(f"the audit log {path} cannot be used: {error}.") from None
