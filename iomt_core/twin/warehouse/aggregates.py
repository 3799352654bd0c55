"""Sums over the tasks of a user: made when records are appended, sealed for the user, and kept when segments are dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# done: tasks that were not skipped; the delay is theirs. misses: late or skipped. weighted_cost: cost times weight.
SUMS = ("tasks", "done", "delay_s", "energy_j", "cost", "misses", "local", "weight", "weighted_cost")
Sums = NDArray[np.float64]


def task_sums(batch: pa.RecordBatch, starts: Sequence[int]) -> Sums:
    """The sums of `SUMS` for each group of rows, (groups, 9); `starts` has the first row of each group, and the end."""
    rows = batch.num_rows
    delay, energy, cost, missed, choice, weight = (
        np.asarray(batch.column(name)).astype(np.float64, copy=False)
        for name in ("delay_s", "energy_j", "cost", "deadline_missed", "choice", "weight")
    )
    done = ~np.isnan(delay)
    local = done & (choice == 0)
    columns = np.stack(
        [np.ones(rows), done, np.where(done, delay, 0.0), energy, cost, missed, local, weight, cost * weight]
    )
    if not rows:
        return np.zeros((0, len(SUMS)))
    return np.add.reduceat(columns, starts[:-1], axis=1).T.astype("<f8", order="C")


def sums_to_bytes(sums: Sums) -> list[bytes]:
    """The bytes of each group's sums."""
    return [row.tobytes() for row in sums]


def sums_from_bytes(plain: bytes) -> Sums:
    """The sums of one group."""
    return np.frombuffer(plain, "<f8")
