"""Tables of columns: which are allowed, how they are divided among users, and how they become bytes and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from iomt_core.twin.warehouse.errors import WarehouseError

TASKS, STEPS = "tasks", "steps"
LOGS = (TASKS, STEPS)  # each user has one log of each
# Columns that every table of a log has; the sums of `aggregates.py` are made of them.
REQUIRED = {
    TASKS: ("user", "observed_s", "delay_s", "energy_j", "cost", "deadline_missed"),
    STEPS: ("user", "observed_s"),
}
# Columns that reading adds; they are not stored for each record.
ADDED = ("sequence", "recording", "synchronised_s")
MOST_ROWS = 65_536  # of a segment
CODEC = pa.Codec("lz4_raw")
NUMBERS = (pa.bool_(), pa.float32(), pa.float64(), pa.int8(), pa.int16(), pa.int32(), pa.int64())
TYPES = (*NUMBERS, pa.string(), pa.list_(pa.float64()))


def as_batch(log: str, table: pd.DataFrame | pa.Table | pa.RecordBatch) -> pa.RecordBatch:
    """The table as one record batch. Raises `WarehouseError` for a column that is missing, of another type, or has nulls."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    batch = table.combine_chunks().to_batches() if isinstance(table, pa.Table) else [table]
    one = batch[0] if batch else pa.RecordBatch.from_pylist([], schema=table.schema)
    for place, field in enumerate(one.schema):
        if pa.types.is_dictionary(field.type) or pa.types.is_large_string(field.type):  # pandas' categories and texts
            one = one.set_column(place, field.name, one.column(place).cast(pa.string()))
    _check_schema(log, one.schema)
    for field, values in zip(one.schema, one.columns, strict=True):
        if values.null_count or (pa.types.is_list(field.type) and values.flatten().null_count):
            raise WarehouseError(f"{log}: column {field.name!r} has empty values; write NaN, 0 or an empty text.")
    return one.replace_schema_metadata(None)


@lru_cache(maxsize=64)
def _check_schema(log: str, schema: pa.Schema) -> None:
    if missing := [name for name in REQUIRED[log] if name not in schema.names]:
        raise WarehouseError(f"{log}: column {missing[0]!r} is missing: needed are {', '.join(REQUIRED[log])}.")
    if taken := [name for name in ADDED if name in schema.names]:
        raise WarehouseError(f"{log}: column {taken[0]!r} is added by the warehouse and cannot be given.")
    if len(set(schema.names)) < len(schema.names):
        raise WarehouseError(f"{log}: two columns have the same name.")
    for field in schema:
        if field.type not in TYPES or (field.name in REQUIRED[log] and field.type not in NUMBERS):
            raise WarehouseError(f"{log}: column {field.name!r} of type {field.type} cannot be stored.")


def divide_by_user(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[int], list[int]]:
    """The rows sorted by user and otherwise in order, the users, and the row where each user begins, with the end at last."""
    user = np.asarray(batch.column("user")).astype(np.int64, copy=False)
    if len(user) and np.any(np.diff(user) < 0):
        order = np.argsort(user, kind="stable")
        batch, user = batch.take(pa.array(order)), user[order]
    starts = np.flatnonzero(np.diff(user, prepend=user[0] - 1 if len(user) else 0))
    return batch, user[starts].tolist(), [*starts.tolist(), len(user)]


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each segment of the rows from `start` to `stop`."""
    for first in range(start, stop, MOST_ROWS):
        yield first, min(MOST_ROWS, stop - first)


def to_bytes(batch: pa.RecordBatch) -> tuple[bytes, int]:
    """The compressed columns, and their size before compression."""
    plain = batch.serialize()
    return CODEC.compress(plain, asbytes=True), plain.size


def from_bytes(packed: bytes, size: int, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of `to_bytes`. They come from a sealed segment, so they are what was written."""
    return pa.ipc.read_record_batch(CODEC.decompress(packed, size), schema)


def join(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches with the same columns as one."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


@lru_cache(maxsize=64)
def schema_identity(schema: pa.Schema) -> str:
    """A digest of names and types of the columns."""
    return hashlib.sha256(schema.serialize()).hexdigest()[:16]


def same(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    """Whether two batches have equal columns, bit by bit, NaN included."""
    if not one.schema.equals(other.schema) or one.num_rows != other.num_rows:
        return False
    return all(_same_array(a, b) for a, b in zip(one.columns, other.columns, strict=True))


def _same_array(a: Any, b: Any) -> bool:
    if pa.types.is_list(a.type):
        return bool(a.value_lengths().equals(b.value_lengths())) and _same_array(a.flatten(), b.flatten())
    if pa.types.is_floating(a.type):
        return np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return bool(a.equals(b))
