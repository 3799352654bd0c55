"""Writes a log of some users into a plain file, outside of the warehouse's protection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from iomt_core.scenario import check_known, os_errors
from iomt_core.scenario.files import replace_file
from iomt_core.twin.warehouse.columns import LOGS, TASKS
from iomt_core.twin.warehouse.errors import WarehouseError
from iomt_core.twin.warehouse.reading import Warehouse

ENDINGS = (".parquet", ".csv")


def export(
    warehouse: Warehouse, out: Path, log: str = TASKS, users: Sequence[int] | None = None, at: int | None = None
) -> int:
    """Writes the records of some users (None: all) at a revision into a Parquet or CSV file, not encrypted. Returns their number.

    The file appears as a whole or not at all. Raises `WarehouseError`.
    """
    check_known("table", log, LOGS)
    if out.suffix not in ENDINGS:
        raise WarehouseError(f"out = {str(out)!r} cannot be written: its name must end in {' or '.join(ENDINGS)}.")
    at = warehouse.revision if at is None else at  # one revision for all users
    chosen = [user for user in warehouse.users if user not in warehouse.forgotten] if users is None else users
    tables = [getattr(warehouse.log(user), log)(at) for user in chosen]
    if not tables:
        raise WarehouseError("the warehouse has no users.")
    table = pa.concat_tables(tables, promote_options="permissive")
    part = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with os_errors(f"out = {str(out)!r} cannot be written"):
        try:
            if out.suffix == ".csv":
                table.to_pandas().to_csv(part, index=False)
            else:
                pq.write_table(table, part)
            replace_file(part, out)
        finally:
            part.unlink(missing_ok=True)
    return int(table.num_rows)
