"""Is the warehouse complete and unchanged, and how full is it?"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from filelock import FileLock, Timeout

from iomt_core.twin.warehouse.aggregates import SUMMED, SUMS, sums_from_bytes, task_sums
from iomt_core.twin.warehouse.columns import STEPS, TASKS
from iomt_core.twin.warehouse.database import (
    DEVICE,
    NO_HASH,
    TIERS,
    append_digest,
    blocks_digest,
    chain_hash,
    database_file,
    fact,
    reading,
)
from iomt_core.twin.warehouse.errors import DamagedError, WarehouseError
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.limits import NO_LIMIT, Limits
from iomt_core.twin.warehouse.reading import open_ledger
from iomt_core.twin.warehouse.sealing import decrypt, sums_data
from iomt_core.twin.warehouse.segments import Segment, SegmentReader, select
from iomt_core.twin.warehouse.writer import LOCK, RESERVE

ROUNDING = 1e-9  # relative difference of two sums of the same numbers in another order


def status(folder: Path) -> dict[str, Any]:
    """How full each tier is, and whether a record is missing; reads the index only and needs no key. Bytes, and s since 1970."""
    with reading(folder) as db:
        identity = fact(db, "identity")
        limits = Limits.from_json(fact(db, "limits") or {})
        last = db.execute("SELECT revision, hash, time_us FROM commits ORDER BY revision DESC LIMIT 1").fetchone()
        heads = _heads(db)
        segments = list(select(db, identity or ""))
        dropped = {
            (user, log): (last, rows)
            for user, log, last, rows in db.execute("SELECT user, log, last, rows FROM dropped")
        }
        forgotten = dict(db.execute("SELECT user, forgotten FROM users WHERE forgotten IS NOT NULL"))
        users = [user for (user,) in db.execute("SELECT user FROM users ORDER BY user")]
        recordings = db.execute("SELECT coalesce(max(number), 0) FROM recordings").fetchone()[0]
    gaps = {
        key: missing
        for key, head in heads.items()
        if key[0] not in forgotten
        for missing in [_missing(key, head, dropped.get(key, (0, 0))[0], segments)]
        if missing
    }
    database = database_file(folder)
    return {
        "warehouse": identity,
        "revision": last[0] if last else 0,
        "head_hash": last[1].hex() if last else "",
        "last_commit_s": last[2] / 1e6 if last else None,
        "users": users,
        "forgotten": forgotten,
        "recordings": recordings,
        "rows": sum(segment.header.rows for segment in segments),
        "bytes": sum(segment.stored for segment in segments),
        "sequence_gaps": sum(gaps.values()),
        "tiers": {tier: _tier(tier, segments, heads, limits) for tier in TIERS},
        "dropped_rows": sum(rows for _, rows in dropped.values()),
        "writing": is_written(folder),
        "limits": limits.as_json(),
        "database_bytes": sum(_size(database.with_name(database.name + end)) for end in ("", "-wal")),
        "reserve_bytes": _size(folder / RESERVE),
    }


def is_written(folder: Path) -> bool:
    """Whether some process has the warehouse open to write."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a place where this process cannot write
        return False
    lock.release()
    return False


def verify(folder: Path, keys: Keyring | None = None) -> dict[str, int]:
    """Reads everything. Returns how much was checked; raises the `DamagedError` of the first bad record.

    Checked are SQLite's own structure, the hash chain of all commits, that no record is missing or twice, that all stored bytes
    are those that were committed, that every segment opens with its user's key, and that the records give the sums that were
    kept. keys: None for those in the folder of `IOMT_KEYS`.
    """
    with reading(folder) as db:
        identity = fact(db, "identity")
        if identity is None:
            raise WarehouseError(f"warehouse = {str(folder)!r} holds nothing yet.")
        path = database_file(folder)
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise DamagedError(path, found)
        commits = _check_chain(db, path)
        segments = list(select(db, identity))
        _check_sequences(db, folder, segments)
        reader = SegmentReader(db, folder, keys or Keyring.of_warehouse(identity, folder))
        _check_origin(db, reader, segments)
        rows = _check_records(db, reader, identity, segments)
    return {"commits": commits, "segments": len(segments), "rows": rows}


def _check_chain(db: sqlite3.Connection, path: Path) -> int:
    before, expected = NO_HASH, 0
    appends = _appends(db)
    for revision, kind, time_us, detail, found in db.execute("SELECT * FROM commits ORDER BY revision"):
        expected += 1
        if revision != expected or found != chain_hash(before, revision, kind, time_us, detail):
            raise DamagedError(path, f"commit {expected} was changed or removed: the hash chain breaks there.")
        if kind == "append" and append_digest(appends.pop(revision, [])) != detail:
            raise DamagedError(path, f"what commit {revision} appended was changed.")
        if kind == "record":
            said = json.loads(detail)
            sealed = db.execute("SELECT user, sealed FROM recordings WHERE number=?", (said["recording"],)).fetchall()
            of_user = dict(sealed)
            digest = hashlib.sha256(b"".join(of_user.get(user, b"") for user in said["users"])).hexdigest()
            if digest != said["sha256"]:
                raise DamagedError(path, f"the configuration of recording {said['recording']} was changed.")
        before = found
    if appends:
        raise DamagedError(path, f"commit {min(appends)} was removed.")
    return expected


def _appends(db: sqlite3.Connection) -> dict[int, list[tuple[int, str, int, int, bytes, bytes]]]:
    rows = db.execute("SELECT revision, user, log, last, recording, blocks, sums FROM appends ORDER BY revision")
    return {revision: [row[1:] for row in group] for revision, group in groupby(rows, key=lambda row: row[0])}


def _check_sequences(db: sqlite3.Connection, folder: Path, segments: list[Segment]) -> None:
    """Raises `DamagedError` if a log has a gap, or a record twice."""
    forgotten = {user for (user,) in db.execute("SELECT user FROM users WHERE forgotten IS NOT NULL")}
    expected = dict.fromkeys(_heads(db), 1)
    expected |= {(user, log): last + 1 for user, log, last in db.execute("SELECT user, log, last FROM dropped")}
    path = database_file(folder)
    for segment in segments:
        h, due = segment.header, expected.get((segment.header.user, segment.header.log), 1)
        if h.first != due:
            what = "are missing" if h.first > due else "are there twice"
            low, high = sorted((h.first, due))
            raise DamagedError(path, f"{h.log} {low} to {high - 1} {what}.", h.user, segment.name, low, h.log)
        expected[h.user, h.log] = h.last + 1
    for (user, log), head in _heads(db).items():
        if user not in forgotten and expected[user, log] != head + 1:
            due = expected[user, log]
            raise DamagedError(path, f"{log} {due} to {head} are missing.", user, "", due, log)


def _check_origin(db: sqlite3.Connection, reader: SegmentReader, segments: list[Segment]) -> None:
    """Raises `DamagedError` unless the stored bytes of every segment are those that its commit named."""
    appended = {
        (rev, user, log): blocks
        for rev, user, log, blocks in db.execute("SELECT revision, user, log, blocks FROM appends")
    }
    moved = {
        (entry["user"], entry["log"], entry["first"], entry["sha256"])
        for (detail,) in db.execute("SELECT detail FROM commits WHERE kind='move'")
        for entry in json.loads(detail)["moved"]
    }
    for segment in segments:
        if reader.digest(segment) != segment.sha256:
            raise reader.damaged(segment, "the stored bytes were changed or truncated.")
    of_commit: dict[tuple[int, int, str], list[Segment]] = {}
    for segment in segments:
        h = segment.header
        if segment.tier == DEVICE:
            of_commit.setdefault((segment.revision, h.user, h.log), []).append(segment)
        elif (h.user, h.log, h.first, segment.sha256.hex()) not in moved:
            raise reader.damaged(segment, "no commit made it.")
    for commit, made in of_commit.items():
        # Of the segments of one commit, the first may have left the device already; then the rest proves nothing alone.
        complete = made[0].header.first == 1 or _ends_before(db, commit) == made[0].header.first - 1
        if complete and blocks_digest([segment.sha256 for segment in made]) != appended.get(commit):
            raise reader.damaged(made[0], "it is not what its commit appended.")


def _ends_before(db: sqlite3.Connection, commit: tuple[int, int, str]) -> int:
    """The last sequence number of a log before a commit."""
    revision, user, log = commit
    query = "SELECT coalesce(max(last), 0) FROM appends WHERE user=? AND log=? AND revision<?"
    return int(db.execute(query, (user, log, revision)).fetchone()[0])


def _check_records(db: sqlite3.Connection, reader: SegmentReader, identity: str, segments: list[Segment]) -> int:
    """Opens every segment and compares the sums of its tasks with those kept. Returns the number of records."""
    count = 0
    for (user, log), group in groupby(segments, key=lambda segment: (segment.header.user, segment.header.log)):
        parts = []
        for segment in group:
            batch = reader.read(segment)
            count += batch.num_rows
            if log == TASKS:
                parts.append((segment.header.first, batch.select(list(SUMMED))))
        if parts:
            _check_sums(db, reader, identity, user, parts)
    return count


def _check_sums(
    db: sqlite3.Connection, reader: SegmentReader, identity: str, user: int, parts: list[tuple[int, Any]]
) -> None:
    version, wrapped = db.execute("SELECT key_version, ledger_key FROM users WHERE user=?", (user,)).fetchone()
    ledger: AESGCM = open_ledger(reader.folder, identity, reader.keys, user, version, wrapped)
    path = database_file(reader.folder)
    query = "SELECT revision, last, sums FROM appends WHERE user=? AND log=? ORDER BY revision"
    lasts, kept = [], []
    for revision, last, sealed in db.execute(query, (user, TASKS)):
        plain = decrypt(ledger, sealed, sums_data(identity, user, revision))
        if plain is None:
            raise DamagedError(path, f"the sums of commit {revision} were changed.", user)
        lasts.append(last)
        kept.append(sums_from_bytes(plain))
    begins, found = np.array([0, *lasts[:-1]]), np.zeros((len(lasts), len(SUMS)))
    whole = begins >= parts[0][0] - 1  # commits that are still complete
    for first, batch in parts:
        last = first + batch.num_rows - 1
        low, high = np.searchsorted(lasts, first), np.searchsorted(lasts, last)
        edges = np.clip([begins[n] + 1 - first for n in range(low, high + 1)], 0, None)
        found[low : high + 1] += task_sums(batch, [*edges.tolist(), batch.num_rows])
    bad = whole & ~np.isclose(found, np.array(kept), rtol=ROUNDING, atol=0).all(1)
    if bad.any():
        place = int(bad.argmax())
        raise DamagedError(
            path, "the records do not give the sums that were kept.", user, "", int(begins[place]) + 1, TASKS
        )


def _heads(db: sqlite3.Connection) -> dict[tuple[int, str], int]:
    rows = db.execute("SELECT user, log, max(last) FROM appends GROUP BY user, log")
    return {(user, log): last for user, log, last in rows}


def _missing(key: tuple[int, str], head: int, dropped: int, segments: list[Segment]) -> int:
    """How many records of a log are in no segment or in two."""
    count, due = 0, dropped + 1
    for h in (segment.header for segment in segments if (segment.header.user, segment.header.log) == key):
        count += abs(h.first - due)
        due = h.last + 1
    return count + abs(head + 1 - due)


def _tier(tier: str, segments: list[Segment], heads: Mapping[tuple[int, str], int], limits: Limits) -> dict[str, Any]:
    inside = [segment for segment in segments if segment.tier == tier]
    ages = [heads[s.header.user, STEPS] - s.header.last_step for s in inside]
    size, now = sum(segment.stored for segment in inside), time.time()
    return {
        "rows": sum(segment.header.rows for segment in inside),
        "tasks": sum(segment.header.rows for segment in inside if segment.header.log == TASKS),
        "segments": len(inside),
        "bytes": size,
        "limit_bytes": _limit(limits.bytes(tier)),
        "age_steps": max(ages, default=0),
        "limit_steps": _limit(limits.steps(tier)),
        "oldest_s": min((s.first_us for s in inside), default=0) / 1e6 or None,
        "newest_s": max((s.last_us for s in inside), default=0) / 1e6 or None,
        "age_s": now - min(s.first_us for s in inside) / 1e6 if inside else 0.0,
        "full": size > limits.bytes(tier) or max(ages, default=0) >= limits.steps(tier),
    }


def _limit(value: int) -> int | None:
    return value if value < NO_LIMIT else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
