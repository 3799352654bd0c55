"""Kills a process that records into a warehouse, again and again, and checks that no record is lost or there twice.

`python -m benchmarks.warehouse_faults` does it 200 times with SIGKILL at random instants. The process appends, moves segments
through all tiers, drops the oldest and rotates keys. After each kill the warehouse must open, hold every record that was
acknowledged exactly once and unchanged, and pass `verify`; then the next process goes on with it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa

from iomt_core.twin.warehouse.checks import status, verify
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.writer import WarehouseWriter

USERS, TASKS_OF_STEP, STEPS_OF_COMMIT = 3, 4, 6
# Small, so that within a tenth of a second segments pass all tiers and leave the archive.
LIMITS = Limits(device_steps=24, edge_steps=72, archive_bytes=60_000, reserve_bytes=0)
ROTATE_EVERY = 11  # commits
LONGEST = 0.25  # s from the first acknowledgement to the kill
AT_START = 0.2  # part of the kills that come while the process starts, which opens or makes the warehouse


def rows(first: int, count: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Tasks and steps number `first` to `first + count - 1` of every user; each value follows from user, step and task."""
    user, step, task = (x.ravel() for x in np.mgrid[1 : USERS + 1, first : first + count, 1 : TASKS_OF_STEP + 1])
    value = value_of(user, step, task)
    tasks = {
        "user": user,
        "step": step,
        "task": task,
        "observed_s": step * 1.0,
        "delay_s": value,
        "energy_j": value / 3,
    }
    tasks |= {"cost": value * 7, "deadline_missed": value > 0.9, "choice": task % 3, "weight": task / 2}
    one = task == 1
    return pa.RecordBatch.from_pydict(tasks), pa.RecordBatch.from_pydict(
        {"user": user[one], "step": step[one], "observed_s": step[one] * 1.0}
    )


def value_of(user: np.ndarray, step: np.ndarray, task: np.ndarray) -> np.ndarray:
    """A number in [0, 1) that differs from record to record."""
    return (user * 0.137 + step * 0.618033988749 + task * 0.271) % 1.0


def record_for_ever(folder: Path, keys: str, acknowledge: Connection) -> None:
    """Appends until it is killed; sends the number of steps after each commit."""
    os.environ["IOMT_KEYS"] = keys
    done = 0
    with WarehouseWriter(folder, LIMITS) as writer:
        done = writer._heads.get((1, "steps"), 0)
        acknowledge.send(done)
        while True:
            writer.append(*rows(done + 1, STEPS_OF_COMMIT))
            done += STEPS_OF_COMMIT
            acknowledge.send(done)
            if done // STEPS_OF_COMMIT % ROTATE_EVERY == 0:
                writer.rotate()


def kill_once(context: multiprocessing.context.BaseContext, folder: Path, keys: str, draw: random.Random) -> int:
    """Lets a process record for a random time and kills it. Returns the last step that it acknowledged; 0 if none."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=record_for_ever, args=(folder, keys, theirs), daemon=True)  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    acknowledged = 0 if draw.random() < AT_START else ours.recv()
    time.sleep(draw.random() * LONGEST)
    process.kill()
    process.join()
    try:
        while True:
            acknowledged = ours.recv()
    except EOFError:
        return int(acknowledged)


def check(folder: Path, acknowledged: int) -> None:
    """Raises `AssertionError` or `DamagedError` unless every record up to the acknowledged step is there exactly once."""
    if acknowledged:
        check_records(folder, acknowledged)  # as a reader finds them
    with WarehouseWriter(folder):
        pass  # opening removes what the kill left behind
    if acknowledged:
        files = {path.name for path in (folder / "archive").glob("*")}
        assert len(files) == status(folder)["tiers"]["archive"]["segments"], "a file belongs to no segment"
        check_records(folder, acknowledged)


def check_records(folder: Path, acknowledged: int) -> None:
    state = status(folder)
    assert state["sequence_gaps"] == 0, state
    verify(folder)
    warehouse = Warehouse(folder)
    for user in warehouse.users:
        log = warehouse.log(user)
        steps, tasks = log.steps().to_pandas(), log.tasks().to_pandas()
        assert steps["step"].max() >= acknowledged, f"step {acknowledged} was acknowledged and is lost"
        for table, size in ((steps, 1), (tasks, TASKS_OF_STEP)):
            sequence = table["sequence"].to_numpy()
            assert (np.diff(sequence) == 1).all(), "a record is missing or there twice"
            assert ((sequence - 1) // size + 1 == table["step"]).all(), "a record is in another's place"
        expected = value_of(np.full(len(tasks), user), tasks["step"].to_numpy(), tasks["task"].to_numpy())
        assert (tasks["delay_s"] == expected).all(), "a record was changed"
        assert tasks["step"].max() == steps["step"].max()


def run(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kills so often, checks after each kill, and returns what the warehouse went through."""
    keys, draw = str(folder.parent / "keys"), random.Random(seed)
    os.environ["IOMT_KEYS"] = keys
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WarehouseWriter.__module__, verify.__module__])
    acknowledged = 0
    for _ in range(kills):
        acknowledged = max(acknowledged, kill_once(context, folder, keys, draw))
        check(folder, acknowledged)
    state = status(folder)
    return {"kills": kills, "steps": acknowledged, "commits": state["revision"], "dropped_rows": state["dropped_rows"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = run(Path(place) / "warehouse", options.kills, options.seed)
    print(f"{found}: nothing acknowledged was lost, nothing is there twice, and the warehouse opened each time")


if __name__ == "__main__":
    main()
