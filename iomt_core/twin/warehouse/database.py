"""The SQLite file of a warehouse: its tables, connections, transactions, and the hash chain of commits.

Segments and index lie in one file, so that a move between tiers is one transaction. The file is in WAL mode: other processes
read while one writes. `synchronous=NORMAL` keeps every acknowledged commit if the process is killed, and may lose the latest
ones if the power fails; the file stays consistent. `FULL` keeps them then too, at one write to the disk for each commit.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from iomt_core.twin.warehouse.errors import DamagedError, DiskFullError, WarehouseError

FILE, ARCHIVE = "warehouse.sqlite", "archive"
FORMAT = 1  # of the tables; SQLite's user_version
PAGE_BYTES = 16384
CHECKPOINT_PAGES = 1024  # 16 MB of the write-ahead log before SQLite copies it into the file
BUSY_SECONDS = 20.0
NO_HASH = b"\0" * 32  # before the first commit
DEVICE, EDGE, ARCHIVED = "device", "edge", "archive"
TIERS = (DEVICE, EDGE, ARCHIVED)
Synchronous = Literal["NORMAL", "FULL"]

NO_ROOM = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE,
)  # fmt: skip

# `blocks` is apart from `segments`, so that new wrapped keys rewrite no data. No index: rows are added at the end, and an
# index ordered by user would change a page for each user in every commit.
TABLES = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE users(user INTEGER PRIMARY KEY, key_version INTEGER NOT NULL, ledger_key BLOB NOT NULL, forgotten INTEGER);
CREATE TABLE recordings(number INTEGER, user INTEGER, sealed BLOB NOT NULL, PRIMARY KEY(number, user)) WITHOUT ROWID;
CREATE TABLE schemas(identity TEXT PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE commits(
    revision INTEGER PRIMARY KEY, kind TEXT NOT NULL, time_us INTEGER NOT NULL, detail TEXT NOT NULL, hash BLOB NOT NULL);
CREATE TABLE appends(
    revision INTEGER, user INTEGER, log TEXT, last INTEGER NOT NULL, recording INTEGER NOT NULL, blocks BLOB NOT NULL,
    sums BLOB NOT NULL, PRIMARY KEY(revision, user, log)) WITHOUT ROWID;
CREATE TABLE segments(
    id INTEGER PRIMARY KEY, tier TEXT NOT NULL, user INTEGER NOT NULL, log TEXT NOT NULL, first INTEGER NOT NULL,
    rows INTEGER NOT NULL, first_step INTEGER NOT NULL, last_step INTEGER NOT NULL, schema TEXT NOT NULL,
    size INTEGER NOT NULL, first_us INTEGER NOT NULL, last_us INTEGER NOT NULL, revision INTEGER NOT NULL,
    bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, wrapped_key BLOB NOT NULL, file TEXT);
CREATE TABLE blocks(segment INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE dropped(
    user INTEGER, log TEXT, last INTEGER NOT NULL, rows INTEGER NOT NULL, segments INTEGER NOT NULL, bytes INTEGER NOT NULL,
    revision INTEGER NOT NULL, PRIMARY KEY(user, log)) WITHOUT ROWID;
"""


def database_file(folder: Path) -> Path:
    """The SQLite file of the warehouse in this folder."""
    return folder / FILE


def check_exists(folder: Path) -> None:
    """Raises `WarehouseError` where there is no warehouse."""
    if not database_file(folder).is_file():
        raise WarehouseError(f"warehouse = {str(folder)!r} is not a data warehouse: it has no {FILE}.")


def connect(folder: Path) -> sqlite3.Connection:
    """A connection that only reads. Raises `WarehouseError` where there is no warehouse."""
    check_exists(folder)
    path = database_file(folder)
    with sqlite_errors(path):
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", timeout=BUSY_SECONDS, isolation_level=None, uri=True
        )
        try:
            check_format(db, path)
        except BaseException:
            db.close()
            raise
    return db


def check_format(db: sqlite3.Connection, path: Path) -> None:
    """Raises `WarehouseError` for a file of another format or of another program."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        raise WarehouseError(f"file {str(path)!r} has format {version}; this version of the lab reads format {FORMAT}.")


def connect_to_write(folder: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """A connection that writes; makes the file if it is missing. The caller holds the writer's lock."""
    path = database_file(folder)
    with sqlite_errors(path):
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            db.execute(f"PRAGMA page_size={PAGE_BYTES}")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={synchronous}")
            db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            if (
                db.execute("PRAGMA user_version").fetchone()[0] == 0
                and not db.execute("SELECT 1 FROM sqlite_master").fetchone()
            ):
                with transaction(db):  # a kill leaves all tables or none
                    for statement in TABLES.split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version={FORMAT}")
            check_format(db, path)
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def durable_transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that is on the disk when the block is left, whatever mode the connection has."""
    before = db.execute("PRAGMA synchronous").fetchone()[0]
    db.execute("PRAGMA synchronous=FULL")
    try:
        with transaction(db):
            yield
    finally:
        db.execute(f"PRAGMA synchronous={before}")


@contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection with one view of the warehouse, which no writer changes."""
    db = connect(folder)
    try:
        with sqlite_errors(database_file(folder)):
            db.execute("BEGIN")
            yield db
    finally:
        db.close()


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Raises SQLite's errors as `WarehouseError`: a full disk, a damaged file, or a writer that never ends."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code in NO_ROOM:
            raise DiskFullError(
                f"file {str(path)!r} cannot grow: the disk or the configured size is full. Nothing of this commit was kept. "
                "`iomt warehouse tidy DIR --free-mb 100` drops the oldest segments."
            ) from None
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise WarehouseError(f"file {str(path)!r} is locked by another process: try again later.") from None
        if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
            raise WarehouseError(f"file {str(path)!r} cannot be opened: {error}.") from None
        raise DamagedError(path, f"{error}.") from None


def add_commit(db: sqlite3.Connection, kind: str, detail: str, time_us: int) -> int:
    """Adds a commit to the chain, inside a transaction. Returns its revision."""
    last = db.execute("SELECT revision, hash FROM commits ORDER BY revision DESC LIMIT 1").fetchone()
    revision, before = (last[0] + 1, last[1]) if last else (1, NO_HASH)
    values = (revision, kind, time_us, detail)
    db.execute("INSERT INTO commits VALUES(?,?,?,?,?)", (*values, chain_hash(before, *values)))
    return int(revision)


def chain_hash(before: bytes, revision: int, kind: str, time_us: int, detail: str) -> bytes:
    """The hash of a commit, which covers all commits before it."""
    return hashlib.sha256(before + json.dumps([revision, kind, time_us, detail]).encode()).digest()


def now_us(db: sqlite3.Connection) -> int:
    """The time in microseconds since 1970, never before the latest commit, even if the clock was set back."""
    last = db.execute("SELECT time_us FROM commits ORDER BY revision DESC LIMIT 1").fetchone()
    return max(time.time_ns() // 1000, last[0] if last else 0)


def fact(db: sqlite3.Connection, name: str) -> Any:
    """A value of the table of facts, from JSON; None if it is not there."""
    row = db.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
    return json.loads(row[0]) if row else None


def set_fact(db: sqlite3.Connection, name: str, value: Any) -> None:
    """Sets a value of the table of facts."""
    db.execute("INSERT OR REPLACE INTO facts VALUES(?,?)", (name, json.dumps(value)))


def append_digest(rows: list[tuple[int, str, int, int, bytes, bytes]]) -> str:
    """What a commit of the kind "append" says about its rows of `appends`: user, log, last, recording, blocks, sums."""
    digest = hashlib.sha256()
    for user, log, last, recording, blocks, sums in sorted(rows):
        digest.update(f"{user}|{log}|{last}|{recording}|{len(sums)}|".encode() + blocks + sums)
    return digest.hexdigest()


def blocks_digest(sha256: list[bytes]) -> bytes:
    """One digest of the segments that a log got in one commit, in their order."""
    return hashlib.sha256(b"".join(sha256)).digest()
