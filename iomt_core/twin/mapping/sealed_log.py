"""The log of one user as bytes that are sealed as in the warehouse, and reading them without the warehouse.

A copy holds the user's segments, configurations and wrapped keys, and nothing of other users. The process that makes it needs
no key; the one that reads it needs the key of this user and opens no file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from iomt_core.twin.warehouse.database import TABLES, fact, set_fact
from iomt_core.twin.warehouse.errors import WarehouseError
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.reading import T, UserWarehouse, read_view
from iomt_core.twin.warehouse.segments import SegmentReader, select

MOST_BYTES = 1_000_000_000  # of a copy, which is held in memory twice
IDENTITY = "identity"
# Tables of which a user gets some rows; {user} is a parameter of the query.
ROWS = {
    "users": "user=:user",
    "recordings": "user=:user",
    "appends": "user=:user",
    "segments": "user=:user",
    "dropped": "user=:user",
    "commits": "revision IN (SELECT revision FROM appends WHERE user=:user)",
    "schemas": "identity IN (SELECT schema FROM segments WHERE user=:user)",
}


def sealed_copy(folder: Path, user: int) -> bytes:
    """The log of a user as a sealed copy, for `SealedLog`.

    Raises `WarehouseError` for a user who is not known or was forgotten, and for a log larger than `MOST_BYTES`.
    """
    return read_view(folder, lambda db: _copy(db, folder, user))


def _copy(db: sqlite3.Connection, folder: Path, user: int) -> bytes:
    row = db.execute("SELECT forgotten FROM users WHERE user=?", (user,)).fetchone()
    if row is None or row[0] is not None:
        known = [number for (number,) in db.execute("SELECT user FROM users WHERE forgotten IS NULL ORDER BY user")]
        raise WarehouseError(
            f"user = {user} has no log that can be read: allowed is {', '.join(map(str, known)) or 'nobody'}."
        )
    size = db.execute("SELECT coalesce(sum(bytes), 0) FROM segments WHERE user=?", (user,)).fetchone()[0]
    if size > MOST_BYTES:
        raise WarehouseError(
            f"user = {user}: the log has {size / 1e6:,.0f} MB, allowed is {MOST_BYTES / 1e6:,.0f} MB: drop the oldest with "
            "`iomt warehouse tidy`, or record into a new warehouse."
        )
    identity = fact(db, IDENTITY)
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for statement in TABLES.split(";"):
            copy.execute(statement)
        set_fact(copy, IDENTITY, identity)
        for table, condition in ROWS.items():
            found = db.execute(f"SELECT * FROM {table} WHERE {condition}", {"user": user})
            marks = ",".join("?" * len(found.description))
            copy.executemany(f"INSERT INTO {table} VALUES({marks})", found)
        reader = SegmentReader(db, folder, Keyring.of_versions(user, {}))
        stored = ((s.number, reader.stored(s)) for s in select(db, identity, "user=?", (user,)))
        copy.executemany("INSERT INTO blocks VALUES(?,?)", stored)
        return copy.serialize()
    finally:
        copy.close()


class SealedLog(UserWarehouse):
    """DW_i from a sealed copy; reading it opens no file."""

    def __init__(self, content: bytes, user: int, versions: Mapping[int, bytes]) -> None:
        """content: of `sealed_copy`; versions: of the user's key."""
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.deserialize(content)
        place = Path(f"sealed log of user {user}")
        super().__init__(place, fact(self._db, IDENTITY), user, Keyring.of_versions(user, versions))

    def view(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `read` on the copy."""
        return read(self._db)

    @property
    def latest_recording(self) -> int:
        """The number of the user's latest recording. Raises `WarehouseError` if there is none."""
        found = self._db.execute("SELECT max(number) FROM recordings").fetchone()[0]
        if found is None:
            raise WarehouseError(f"user = {self.user} has no recording: record with `iomt warehouse record`.")
        return int(found)
