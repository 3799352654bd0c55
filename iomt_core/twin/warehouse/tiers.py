"""What happens to segments as they age: device -> edge -> archive -> dropped.

A move joins small segments to larger ones, writes them into the next tier, reads them back as a reader would, compares them
with their sources, and removes the sources, all in one transaction. Archive files are complete and on the disk before the
transaction ends; a file that no transaction refers to is removed when the next writer opens the warehouse. So a kill at any
instant leaves every record exactly once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from iomt_core.twin.key_files import sync_folder
from iomt_core.twin.warehouse.columns import MOST_ROWS, STEPS, join, same, to_bytes
from iomt_core.twin.warehouse.database import (
    ARCHIVE,
    ARCHIVED,
    DEVICE,
    EDGE,
    TIERS,
    add_commit,
    durable_transaction,
    now_us,
    transaction,
)
from iomt_core.twin.warehouse.errors import Audit
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.sealing import Header
from iomt_core.twin.warehouse.segments import Segment, SegmentReader, delete, insert, seal_bytes, select, write_archive

NEXT = {DEVICE: EDGE, EDGE: ARCHIVED}
Heads = Mapping[tuple[int, str], int]  # last sequence number of each user's log


@dataclass
class Fill:
    """What a tier holds: bytes, and for each user the last step of the oldest segment."""

    bytes: int = 0
    oldest: dict[int, int] = field(default_factory=dict)


class Tiers:
    """The tiers of a warehouse that this process writes."""

    def __init__(
        self, db: sqlite3.Connection, folder: Path, identity: str, keys: Keyring, limits: Limits, audit: Audit
    ) -> None:
        self.db, self.folder, self.identity, self.keys, self.limits, self.audit = (
            db,
            folder,
            identity,
            keys,
            limits,
            audit,
        )
        self.refresh()

    def refresh(self) -> None:
        """Reads from the index how full the tiers are."""
        self.fill = {tier: Fill() for tier in TIERS}
        query = "SELECT tier, user, sum(bytes), min(last_step) FROM segments GROUP BY tier, user"
        for tier, user, size, oldest in self.db.execute(query):
            self.fill[tier].bytes += size
            self.fill[tier].oldest[user] = oldest

    def add(self, user: int, size: int, last_step: int) -> None:
        """Notes a new segment of the device."""
        self.fill[DEVICE].bytes += size
        self.fill[DEVICE].oldest.setdefault(user, last_step)

    def full(self, tier: str, heads: Heads) -> bool:
        """Whether some segment has to leave the tier."""
        fill, steps = self.fill[tier], self.limits.steps(tier)
        return fill.bytes > self.limits.bytes(tier) or any(
            heads[user, STEPS] - oldest >= steps for user, oldest in fill.oldest.items()
        )

    def settle(self, heads: Heads) -> None:
        """Empties full tiers. Raises `DamagedError` and `DiskFullError`.

        First from the end of the archive to the device, which makes room for what moves; then back for what has moved.
        """
        for tier in (ARCHIVED, EDGE, DEVICE, EDGE, ARCHIVED):
            if self.full(tier, heads):
                leaving = self._leaving(tier, heads)
                if tier in NEXT:
                    self._move(tier, leaving)
                else:
                    self.drop(leaving)

    def oldest_first(self, tier: str, where: str = "1", values: Sequence[object] = ()) -> list[Segment]:
        """Segments of a tier, for which an SQL condition holds, in the order in which they leave it."""
        segments = select(self.db, self.identity, f"tier=? AND ({where})", (tier, *values))
        return sorted(segments, key=lambda segment: (segment.last_us, segment.revision, segment.header.first))

    def _leaving(self, tier: str, heads: Heads) -> list[Segment]:
        """Segments to remove until the tier has its headroom; of each log the oldest, without a gap."""
        keep = 1 - self.limits.headroom
        steps, most = int(self.limits.steps(tier) * keep), self.limits.bytes(tier) * keep
        kept = self.fill[tier].bytes
        if kept <= self.limits.bytes(tier):  # by age only
            of_user = [(user, heads[user, STEPS] - steps) for user in self.fill[tier].oldest]
            where = " OR ".join(["user=? AND last_step<=?"] * len(of_user))
            return self.oldest_first(tier, where, [value for pair in of_user for value in pair])
        leaving = []
        for segment in self.oldest_first(tier):
            h = segment.header
            if heads[h.user, STEPS] - h.last_step >= steps or kept > most:
                leaving.append(segment)
                kept -= segment.stored
        return leaving

    def _move(self, tier: str, leaving: list[Segment]) -> None:
        if not leaving:
            return
        to, moved = NEXT[tier], []
        reader = SegmentReader(self.db, self.folder, self.keys)
        with transaction(self.db):
            number = self.db.execute("SELECT coalesce(max(id), 0) FROM segments").fetchone()[0]
            revision = self.db.execute("SELECT max(revision) FROM commits").fetchone()[0] + 1
            for sources in _to_join(leaving):
                number += 1
                moved.append(self._move_joined(reader, sources, to, number, revision))
            if to == ARCHIVED:
                sync_folder(self.folder / ARCHIVE)
            detail = {"from": tier, "to": to, "moved": moved}
            add_commit(self.db, "move", json.dumps(detail), now_us(self.db))
        self.refresh()
        rows = sum(segment.header.rows for segment in leaving)
        self.audit("move", {"from": tier, "to": to, "rows": rows, "revision": revision})

    def _move_joined(
        self, reader: SegmentReader, sources: list[Segment], to: str, number: int, revision: int
    ) -> dict[str, object]:
        first, last = sources[0], sources[-1]
        batch = join([reader.read(source) for source in sources])
        packed, size = to_bytes(batch) if to == EDGE else (b"", 0)
        h = first.header
        header = Header(
            self.identity, h.user, h.log, h.first, batch.num_rows, h.first_step, last.header.last_step, h.schema, size
        )
        version = self.db.execute("SELECT key_version FROM users WHERE user=?", (h.user,)).fetchone()[0]
        cipher, file, block = self.keys.cipher(h.user, version), None, None
        if to == EDGE:
            block, wrapped = seal_bytes(packed, header.associated_data(), cipher)
            stored, digest = len(block), hashlib.sha256(block).digest()
        else:
            file, stored, digest, wrapped = write_archive(self.folder, number, batch, header, cipher)
        new = Segment(
            number, to, header, first.first_us, last.last_us, revision, stored, digest, wrapped, file
        )  # fmt: skip
        insert(self.db, [new], [block])
        if not same(reader.read(new), batch) or reader.digest(new) != digest:
            raise reader.damaged(new, "what was read back differs from what was written; the move was undone.")
        delete(self.db, sources)
        return {"user": h.user, "log": h.log, "first": header.first, "last": header.last, "sha256": digest.hex()}

    def drop(self, leaving: list[Segment]) -> None:
        """Removes segments for ever and counts them; of each log the oldest."""
        if not leaving:
            return
        # On the disk before a file is removed: otherwise a power failure could leave an index without its file.
        with durable_transaction(self.db):
            entries = [
                {"user": h.user, "log": h.log, "first": h.first, "last": h.last} for h in (s.header for s in leaving)
            ]
            revision = add_commit(self.db, "drop", json.dumps({"dropped": entries}), now_us(self.db))
            self.db.executemany(
                "INSERT INTO dropped VALUES(?,?,?,?,1,?,?) ON CONFLICT(user, log) DO UPDATE SET last=max(last, excluded.last), "
                "rows=rows+excluded.rows, segments=segments+1, bytes=bytes+excluded.bytes, revision=excluded.revision",
                [(s.header.user, s.header.log, s.header.last, s.header.rows, s.stored, revision) for s in leaving],
            )
            delete(self.db, leaving)
        remove_files(self.folder, [segment.file for segment in leaving if segment.file is not None])
        self.refresh()
        rows = sum(segment.header.rows for segment in leaving)
        self.audit("drop", {"segments": len(leaving), "rows": rows, "revision": revision})

    def oldest_of_all(self, size: int) -> list[Segment]:
        """The oldest segments of all tiers that have at least so many bytes together."""
        found: list[Segment] = []
        total = 0
        for tier in reversed(TIERS):
            for segment in self.oldest_first(tier):
                if total >= size:
                    return found
                found.append(segment)
                total += segment.stored
        return found


def _to_join(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Groups of consecutive segments of one log with the same columns, each of at most `MOST_ROWS` records."""
    ordered = sorted(segments, key=lambda s: (s.header.user, s.header.log, s.header.first))
    for _, group in groupby(ordered, key=lambda s: (s.header.user, s.header.log, s.header.schema)):
        part: list[Segment] = []
        rows = 0
        for segment in group:
            if part and rows + segment.header.rows > MOST_ROWS:
                yield part
                part, rows = [], 0
            part.append(segment)
            rows += segment.header.rows
        yield part


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Removes archive files; a file that cannot be removed now is removed when the next writer opens the warehouse."""
    for name in names:
        with contextlib.suppress(OSError):
            (folder / ARCHIVE / name).unlink()


def remove_orphans(db: sqlite3.Connection, folder: Path) -> None:
    """Removes archive files that no segment refers to: a process was killed before or after its transaction."""
    known = {name for (name,) in db.execute("SELECT file FROM segments WHERE file IS NOT NULL")}
    for path in (folder / ARCHIVE).glob("*"):
        if path.name not in known:
            with contextlib.suppress(OSError):
                path.unlink()
