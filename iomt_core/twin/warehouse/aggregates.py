"""Sums over the tasks of a user: made when records are appended, sealed for the user, and kept when segments are dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# tasks: how many. done: how many were not skipped; delay and energy are theirs. local: done on the own device. misses: late or
# skipped. weighted_cost: of cost times weight.
SUMS = ("tasks", "done", "local", "misses", "delay_s", "energy_j", "cost", "weight", "weighted_cost")
SUMMED = (
    "choice",
    "weight",
    "delay_s",
    "energy_j",
    "cost",
    "deadline_missed",
)  # columns of tasks that they are made of
Sums = NDArray[np.float64]


def task_sums(batch: pa.RecordBatch, starts: Sequence[int]) -> Sums:
    """The sums of `SUMS` for each group of rows, (groups, sums); `starts` has the first row of each group, and the end."""
    rows = batch.num_rows
    choice, weight, delay, energy, cost, missed = (
        np.asarray(batch.column(name)).astype(np.float64, copy=False) for name in SUMMED
    )
    done = ~np.isnan(delay)
    columns = np.empty((len(SUMS), rows))
    columns[0], columns[1], columns[2], columns[3] = 1.0, done, done & (choice == 0), missed
    columns[4], columns[5], columns[6], columns[7] = (
        np.where(done, delay, 0.0),
        np.where(done, energy, 0.0),
        cost,
        weight,
    )
    np.multiply(cost, weight, out=columns[8])
    if not rows:
        return np.zeros((0, len(SUMS)))
    return np.add.reduceat(columns, starts[:-1], axis=1).T.astype("<f8", order="C")


def sums_to_bytes(sums: Sums) -> list[bytes]:
    """The bytes of each group's sums."""
    return [row.tobytes() for row in sums]


def sums_from_bytes(plain: bytes) -> Sums:
    """The sums of one group."""
    return np.frombuffer(plain, "<f8")
