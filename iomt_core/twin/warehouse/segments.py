"""Segments: some records of one user's log, sealed; as a block in the SQLite file, or as an encrypted file of the archive."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iomt_core.twin.warehouse.archive import file_digest, read_file, write_file
from iomt_core.twin.warehouse.columns import from_bytes, to_bytes
from iomt_core.twin.warehouse.database import ARCHIVE, database_file
from iomt_core.twin.warehouse.errors import DamagedError
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.sealing import Header, decrypt, encrypt, new_key

COLUMNS = (
    "id, tier, user, log, first, rows, first_step, last_step, schema, size, first_us, last_us, revision, bytes, sha256, "
    "wrapped_key, file"
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of the index: header, place and age of a segment. Times are those of writing, in microseconds since 1970."""

    number: int
    tier: str
    header: Header
    first_us: int
    last_us: int
    revision: int  # of the commit that made this segment, from records that may be older
    stored: int  # bytes
    sha256: bytes  # of the sealed block or of the file
    wrapped_key: bytes
    file: str | None  # inside the archive

    @property
    def name(self) -> str:
        """For messages: "segment 7 (tasks 513 to 1024)"."""
        return f"segment {self.number} ({self.header.log} {self.header.first} to {self.header.last})"

    def row(self) -> tuple[object, ...]:
        """The values of `COLUMNS`."""
        h = self.header
        return (
            self.number, self.tier, h.user, h.log, h.first, h.rows, h.first_step, h.last_step, h.schema, h.size,
            self.first_us, self.last_us, self.revision, self.stored, self.sha256, self.wrapped_key, self.file,
        )  # fmt: skip


def select(
    db: sqlite3.Connection, warehouse: str, where: str = "1", values: Sequence[object] = ()
) -> Iterator[Segment]:
    """The segments for which an SQL condition holds: by user and log, and then by sequence number."""
    rows = db.execute(f"SELECT {COLUMNS} FROM segments WHERE {where} ORDER BY user, log, first", values)
    for number, tier, user, log, first, count, first_step, last_step, schema, size, *rest in rows:
        yield Segment(
            number, tier, Header(warehouse, user, log, first, count, first_step, last_step, schema, size), *rest
        )


def insert(db: sqlite3.Connection, segments: Sequence[Segment], blocks: Sequence[bytes | None]) -> None:
    """Adds segments to the index and, where they are no files, their blocks."""
    marks = ",".join("?" * (COLUMNS.count(",") + 1))
    db.executemany(f"INSERT INTO segments VALUES({marks})", [segment.row() for segment in segments])
    stored = [(s.number, block) for s, block in zip(segments, blocks, strict=True) if block is not None]
    db.executemany("INSERT INTO blocks VALUES(?,?)", stored)


def delete(db: sqlite3.Connection, segments: Sequence[Segment]) -> None:
    """Removes segments and their blocks; the caller removes files after the transaction."""
    numbers = [(segment.number,) for segment in segments]
    db.executemany("DELETE FROM blocks WHERE segment=?", numbers)
    db.executemany("DELETE FROM segments WHERE id=?", numbers)


def seal(batch: pa.RecordBatch, header: Header, user_cipher: AESGCM) -> tuple[bytes, bytes]:
    """The sealed block of these rows, and the wrapped key. `header.size` is that of `to_bytes`."""
    return seal_bytes(to_bytes(batch)[0], header.associated_data(), user_cipher)


def seal_bytes(packed: bytes, associated: bytes, user_cipher: AESGCM) -> tuple[bytes, bytes]:
    """The sealed block of packed columns, and the wrapped key."""
    key = new_key()
    return encrypt(AESGCM(key), packed, associated), encrypt(user_cipher, key, associated)


class SegmentReader:
    """Reads segments of a warehouse through one connection. Every method may raise `DamagedError` or `KeyMissingError`."""

    def __init__(self, db: sqlite3.Connection, folder: Path, keys: Keyring) -> None:
        self.db, self.folder, self.keys = db, folder, keys
        self._versions = dict(db.execute("SELECT user, key_version FROM users"))
        self._schemas: dict[str, pa.Schema] = {}

    def schema(self, identity: str) -> pa.Schema:
        """The columns of segments with this identity."""
        if identity not in self._schemas:
            row = self.db.execute("SELECT definition FROM schemas WHERE identity=?", (identity,)).fetchone()
            if row is None:
                raise DamagedError(database_file(self.folder), f"columns {identity} are missing")
            self._schemas[identity] = pa.ipc.read_schema(pa.py_buffer(row[0]))
        return self._schemas[identity]

    def key(self, segment: Segment) -> bytes:
        """The key of a segment."""
        return self._unwrap(segment, segment.header.associated_data())

    def _unwrap(self, segment: Segment, associated: bytes) -> bytes:
        user = segment.header.user
        key = decrypt(self.keys.cipher(user, self._versions.get(user, 0)), segment.wrapped_key, associated)
        if key is None:
            raise self.damaged(
                segment, "its key cannot be unwrapped: the user's key or the segment's header is another one."
            )
        return key

    def read(self, segment: Segment, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The records of a segment, with some of their columns. May raise `FileNotFoundError` if it was just dropped."""
        header, associated = segment.header, segment.header.associated_data()
        key = self._unwrap(segment, associated)
        if segment.file is not None:
            path = self.folder / ARCHIVE / segment.file
            try:
                batch = read_file(path, key, associated, columns, self._copied_file(segment))
            except DamagedError as error:
                raise self.damaged(segment, error.reason) from None
        else:
            packed = decrypt(AESGCM(key), self.block(segment), associated)
            if packed is None:
                raise self.damaged(segment, "the data were changed, or belong to another segment.")
            batch = from_bytes(packed, header.size, self.schema(header.schema))
            batch = batch if columns is None else batch.select(list(columns))
        if batch.num_rows != header.rows:
            raise self.damaged(segment, f"it has {batch.num_rows} records instead of {header.rows}.")
        return batch

    def stored(self, segment: Segment) -> bytes:
        """A segment as it is stored, sealed: its block, or the content of its file. Raises `FileNotFoundError`."""
        if segment.file is None:
            return self.block(segment)
        return (self.folder / ARCHIVE / segment.file).read_bytes()

    def _copied_file(self, segment: Segment) -> bytes | None:
        """The content of a segment's file in a sealed copy of a log, which holds files as blocks; None in a warehouse."""
        row = self.db.execute("SELECT data FROM blocks WHERE segment=?", (segment.number,)).fetchone()
        return None if row is None else bytes(row[0])

    def block(self, segment: Segment) -> bytes:
        """The sealed block of a segment that is no file."""
        row = self.db.execute("SELECT data FROM blocks WHERE segment=?", (segment.number,)).fetchone()
        if row is None:
            raise self.damaged(segment, "its data are missing.")
        return bytes(row[0])

    def digest(self, segment: Segment) -> bytes:
        """SHA-256 of a segment's stored bytes; needs no key."""
        if segment.file is None:
            return hashlib.sha256(self.block(segment)).digest()
        path = self.folder / ARCHIVE / segment.file
        try:
            return file_digest(path)
        except OSError as error:
            raise self.damaged(segment, f"{error.strerror}.") from None

    def damaged(self, segment: Segment, reason: str) -> DamagedError:
        """The error for this segment."""
        place = database_file(self.folder) if segment.file is None else self.folder / ARCHIVE / segment.file
        h = segment.header
        return DamagedError(place, reason, h.user, segment.name, h.first, h.log)


def write_archive(
    folder: Path, number: int, batch: pa.RecordBatch, header: Header, user_cipher: AESGCM
) -> tuple[str, int, bytes, bytes]:
    """Writes a segment's archive file. Returns its name inside the archive, size, SHA-256, and the wrapped key."""
    key, associated = new_key(), header.associated_data()
    name = f"user-{header.user}-{header.log}-{header.first:010d}-{header.last:010d}-{number}.parquet"
    path = folder / ARCHIVE / name
    size = write_file(path, batch, key, associated)
    return name, size, file_digest(path), encrypt(user_cipher, key, associated)
