"""Tables of columns: which are allowed, how they are divided among users, and how they become bytes and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from iomt_core.twin.warehouse.errors import WarehouseError

TASKS, STEPS = "tasks", "steps"
LOGS = (TASKS, STEPS)  # each user has one log of each
# Columns that every table of a log has; the sums of `aggregates.py` are made of them.
REQUIRED = {
    TASKS: ("user", "observed_s", "choice", "weight", "delay_s", "energy_j", "cost", "deadline_missed"),
    STEPS: ("user", "observed_s"),
}
# Columns that reading adds; they are not stored for each record.
ADDED = ("sequence", "recording", "synchronised_s")
MOST_ROWS = 65_536  # of a segment
CODEC = pa.Codec("lz4_raw")
NUMBERS = (pa.bool_(), pa.float32(), pa.float64(), pa.int8(), pa.int16(), pa.int32(), pa.int64())
TYPES = (*NUMBERS, pa.string(), *map(pa.list_, (pa.float32(), pa.float64(), pa.int64())))


class Checked(NamedTuple):
    """What is known of columns that can be stored: places of texts to convert, places of lists, identity of the columns."""

    texts: list[int]
    lists: list[int]
    identity: str


def as_batch(log: str, table: pd.DataFrame | pa.Table | pa.RecordBatch) -> tuple[pa.RecordBatch, str]:
    """The table as one record batch, and the identity of its columns.

    Raises `WarehouseError` for a column that is missing, has another type or empty values.
    """
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    if isinstance(table, pa.Table):
        batches = table.combine_chunks().to_batches()
        table = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    checked = _checked(log, table.schema)
    for place in checked.texts:
        table = table.set_column(place, table.schema.field(place).name, table.column(place).cast(pa.string()))
    columns = table.columns
    if any(column.null_count for column in columns) or any(
        columns[place].flatten().null_count for place in checked.lists
    ):
        name = next(name for name, column in zip(table.schema.names, columns, strict=True) if _has_empty(column))
        raise WarehouseError(f"{log}: column {name!r} has empty values; write NaN, 0 or an empty text.")
    return table.replace_schema_metadata(None) if table.schema.metadata else table, checked.identity


def _has_empty(column: Any) -> bool:
    return bool(column.null_count or (pa.types.is_list(column.type) and column.flatten().null_count))


@lru_cache(maxsize=64)
def _checked(log: str, schema: pa.Schema) -> Checked:
    """Raises `WarehouseError` for columns that cannot be stored."""
    if missing := [name for name in REQUIRED[log] if name not in schema.names]:
        raise WarehouseError(f"{log}: column {missing[0]!r} is missing: needed are {', '.join(REQUIRED[log])}.")
    if taken := [name for name in ADDED if name in schema.names]:
        raise WarehouseError(f"{log}: column {taken[0]!r} is added by the warehouse and cannot be given.")
    if len(set(schema.names)) < len(schema.names):
        raise WarehouseError(f"{log}: two columns have the same name.")
    # pandas' categories and texts become plain texts.
    kinds = [pa.string() if _is_text(kind) else kind for kind in schema.types]
    stored = pa.schema(list(zip(schema.names, kinds, strict=True)))
    for field in stored:
        wrong = field.name in REQUIRED[log] and field.type not in NUMBERS
        wrong = wrong or (field.name == "user" and not pa.types.is_integer(field.type))
        if wrong or field.type not in TYPES:
            raise WarehouseError(f"{log}: column {field.name!r} of type {field.type} cannot be stored.")
    texts = [place for place, kind in enumerate(schema.types) if kind != kinds[place]]
    lists = [place for place, kind in enumerate(kinds) if pa.types.is_list(kind)]
    return Checked(texts, lists, schema_identity(stored))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return bool(pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type))
    return bool(pa.types.is_large_string(kind))


def divide_by_user(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[int], list[int]]:
    """The rows sorted by user and otherwise in order, the users, and the row where each user begins, with the end at last."""
    user = np.asarray(batch.column("user")).astype(np.int64, copy=False)
    if not len(user):
        return batch, [], [0]
    changes = np.flatnonzero(user[1:] != user[:-1]) + 1
    if np.any(user[changes] < user[changes - 1]):
        order = np.argsort(user, kind="stable")
        batch, user = batch.take(pa.array(order)), user[order]
        changes = np.flatnonzero(user[1:] != user[:-1]) + 1
    starts = [0, *changes.tolist()]
    return batch, user[starts].tolist(), [*starts, len(user)]


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
