"""The data warehouse: how fast records are stored and read, beside plain SQLite and plain Parquet.

`python -m benchmarks.warehouse` records episodes of the paper's ward. All stores get the same rows in the same commits. Each
figure is the best of some rounds, which take turns, since other processes disturb. With NORMAL an acknowledged commit
survives when the process is killed, with FULL also when the power fails.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from iomt_core.policies.registry import POLICIES
from iomt_core.record import Record
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import PRESETS
from iomt_core.twin.access import AuditLog
from iomt_core.twin.access.hooks import AUDIT_FOLDER, audit_hook
from iomt_core.twin.recorded_fork import recorded_episode
from iomt_core.twin.warehouse.checks import status, verify
from iomt_core.twin.warehouse.database import ARCHIVE, Synchronous, reading
from iomt_core.twin.warehouse.errors import Audit, no_audit
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.recorder import record as record_episodes
from iomt_core.twin.warehouse.rows import step_rows, task_rows
from iomt_core.twin.warehouse.segments import SegmentReader, select
from iomt_core.twin.warehouse.writer import WarehouseWriter

Commits = list[tuple[pa.RecordBatch, pa.RecordBatch]]
SMALL, LARGE = 512, 8192  # task rows of a commit
ROUNDS = 5
WANTED = {"NORMAL": 300_000, "FULL": 100_000}  # task rows a second
STAY = Limits(device_steps=10**9, device_bytes=10**12, reserve_bytes=0)
MOVE = Limits(device_steps=500, edge_steps=2000, headroom=0.5, reserve_bytes=0)
READS = 7


def played(episodes: int) -> Record:
    s = PRESETS["paper"]
    return play_episodes(POLICIES["greedy"](s), draw_episodes(s, 0, 0, episodes, certify=False))


def parts(record: Record, rows: int) -> list[Record]:
    steps = rows // record.snapshot.D[0].numel()
    return [record.select(slice(first, first + steps)) for first in range(0, len(record) // steps * steps, steps)]


def in_warehouse(
    folder: Path, commits: Commits, synchronous: Synchronous, limits: Limits = STAY, audited: bool = False
) -> float:
    """Seconds for all commits. audited: each has a record in the audit log, checkpoints are signed."""
    with ExitStack() as opened:
        audit: Audit = no_audit
        if audited:
            with WarehouseWriter(folder, limits, synchronous) as writer:
                identity = writer.identity
            audit = audit_hook(opened.enter_context(AuditLog(folder / AUDIT_FOLDER, identity)), "operator")
        writer = opened.enter_context(WarehouseWriter(folder, limits, synchronous, audit=audit))
        start = time.perf_counter()
        for tasks, steps in commits:
            writer.append(tasks, steps)
        return time.perf_counter() - start


def from_tensors(folder: Path, records: list[Record]) -> float:
    with WarehouseWriter(folder, STAY) as writer:
        start = time.perf_counter()
        for record in records:
            writer.append(task_rows(record), step_rows(record))
        return time.perf_counter() - start


def plain_sqlite(folder: Path, commits: Commits, synchronous: Synchronous) -> float:
    """The same tasks and steps as rows of two SQLite tables, lists as text; neither encrypted nor hashed."""
    folder.mkdir()
    with sqlite3.connect(folder / "rows.sqlite", isolation_level=None) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        inserts = []
        for name, batch in zip(("tasks", "steps"), commits[0], strict=True):
            db.execute(f"CREATE TABLE {name}({','.join(batch.schema.names)})")
            inserts.append(f"INSERT INTO {name} VALUES({','.join('?' * batch.num_columns)})")
        start = time.perf_counter()
        for batches in commits:
            db.execute("BEGIN")
            for insert, batch in zip(inserts, batches, strict=True):
                db.executemany(insert, zip(*map(_values, batch.columns), strict=True))
            db.execute("COMMIT")
        return time.perf_counter() - start


def _values(column: pa.Array) -> list[object]:
    if pa.types.is_list(column.type):
        return [str(values) for values in column.to_pylist()]
    return column.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]


def plain_parquet(folder: Path, commits: Commits, synchronous: Synchronous) -> float:
    """The same tasks and steps as Parquet files, two a commit; neither encrypted nor hashed."""
    folder.mkdir()
    start = time.perf_counter()
    for number, batches in enumerate(commits):
        for name, batch in zip(("tasks", "steps"), batches, strict=True):
            with (folder / f"{name}{number}.parquet").open("wb") as file:
                pq.write_table(pa.Table.from_batches([batch]), file, compression="lz4")
                if synchronous == "FULL":
                    file.flush()
                    os.fsync(file.fileno())
    return time.perf_counter() - start


def rates(stores: dict[str, Callable[[Path], float]], rows: int) -> dict[str, float]:
    """Rows a second of each store in its best round; each round gets a new folder."""
    best = dict.fromkeys(stores, float("inf"))
    for _ in range(ROUNDS):
        for name, store in stores.items():
            with tempfile.TemporaryDirectory() as place:
                best[name] = min(best[name], store(Path(place) / "store"))
    return {name: rows / seconds for name, seconds in best.items()}


def ingest(record: Record) -> None:
    print(f"Ingest of {record.snapshot.D.numel():,} task rows of 8 users and of their status rows, in task rows/s:")
    for size in (SMALL, LARGE):
        records = parts(record, size)
        commits = [(task_rows(part), step_rows(part)) for part in records]
        for mode, wanted in WANTED.items():
            stores: dict[str, Callable[[Path], float]] = {
                "warehouse": partial(in_warehouse, commits=commits, synchronous=mode),
                "warehouse with its audit log": partial(in_warehouse, commits=commits, synchronous=mode, audited=True),
                "warehouse, with moves through all tiers": partial(
                    in_warehouse, commits=commits, synchronous=mode, limits=MOVE
                ),
                "plain SQLite rows": partial(plain_sqlite, commits=commits, synchronous=mode),
                "plain Parquet files": partial(plain_parquet, commits=commits, synchronous=mode),
            }
            if mode == "NORMAL":
                stores["warehouse, from a record's tensors"] = partial(from_tensors, records=records)
            print(f"  commits of {size}, {mode} (wanted: {wanted:,})")
            for name, rate in rates(stores, len(commits) * size).items():
                print(f"    {name:40s} {rate:12,.0f}", flush=True)


def _seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """Seconds of the best round."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def archive_read(folder: Path) -> None:
    """Reads all archived tasks of a user, encrypted and from plain files with the same settings."""
    warehouse, plain = Warehouse(folder), folder.parent / "plain"
    plain.mkdir()
    with reading(folder) as db:
        reader = SegmentReader(db, folder, warehouse.keys)
        segments = list(select(db, warehouse.identity, "user=1 AND log='tasks' AND tier='archive'"))
        for segment in segments:
            batch = reader.read(segment)
            repeated = [field.name for field in batch.schema if not pa.types.is_floating(field.type)]
            pq.write_table(
                pa.Table.from_batches([batch]), plain / f"{segment.number}.parquet", compression="zstd",
                compression_level=1, use_dictionary=repeated, write_statistics=False,
            )  # fmt: skip
        files = sorted(plain.iterdir())
        encrypted = _seconds(lambda: [reader.read(segment) for segment in segments], READS)
        clear = _seconds(
            lambda: [pq.ParquetFile(path).read(use_threads=False).combine_chunks() for path in files], READS
        )
    rows = sum(segment.header.rows for segment in segments)
    print(
        f"Archive read, {rows:,} rows in {len(files)} files: encrypted {encrypted * 1e3:.1f} ms, plain {clear * 1e3:.1f} ms, "
        f"ratio {encrypted / clear:.2f} (wanted: at most 2)"
    )


def data_digest(folder: Path) -> str:
    """A digest of all stored data, without keys and index."""
    digest = hashlib.sha256()
    with sqlite3.connect(folder / "warehouse.sqlite") as db:
        for (block,) in db.execute("SELECT data FROM blocks ORDER BY segment"):
            digest.update(block)
    for path in sorted((folder / ARCHIVE).glob("*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def rotation(folder: Path) -> None:
    before = data_digest(folder)
    with WarehouseWriter(folder) as writer:
        seconds = _seconds(writer.rotate)
    segments = sum(tier["segments"] for tier in status(folder)["tiers"].values())
    verdict = "no data byte changed" if data_digest(folder) == before else "DATA CHANGED"
    print(f"Rotation of the keys of 8 users, {segments:,} segments: {seconds:.3f} s, {verdict} (wanted: at most 1 s)")


def fork(folder: Path, episodes: int) -> None:
    record_episodes(PRESETS["paper"], "greedy", episodes, 0, folder)
    middle = PRESETS["paper"].T // 2
    opened = _seconds(lambda: recorded_episode(folder, episodes), READS)
    episode = recorded_episode(folder, episodes)
    played = _seconds(lambda: episode.fork(middle, {"servers_off": "1"}), READS)
    print(
        f"Fork of 1 of {episodes} recorded episodes: opened in {1e3 * opened:.0f} ms (wanted: below 200 ms), its future of "
        f"{PRESETS['paper'].T - middle + 1} steps played in {1e3 * played:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=200)
    episodes = parser.parse_args().episodes
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.environ["IOMT_KEYS"] = str(Path(place) / "keys")
        record = played(episodes)
        ingest(record)
        folder = Path(place) / "warehouse"
        commits = [(task_rows(part), step_rows(part)) for part in parts(record, SMALL)]
        in_warehouse(folder, commits, "NORMAL", MOVE)
        archive_read(folder)
        rotation(folder)
        found = {}
        seconds = _seconds(lambda: found.update(verify(folder)))
        state = status(folder)
        print(f"Verifying {state['rows']:,} records: {seconds:.2f} s")
        fork(Path(place) / "recorded", episodes)
        print(f"Stored: {state['bytes'] / state['rows']:.0f} bytes a record")


if __name__ == "__main__":
    main()
