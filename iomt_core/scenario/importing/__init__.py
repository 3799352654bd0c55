"""Import of tables that people have: one door for files of any dialect, unit and form of ids."""

from iomt_core.scenario.importing.columns import ROLES, fields_of
from iomt_core.scenario.importing.options import (
    BAD_ROWS,
    DECIMALS,
    LOCATIONS,
    Input,
    Options,
    map_columns,
    open_tables,
    read_length,
)
from iomt_core.scenario.importing.read import LARGEST_TABLE, Table, read_table
from iomt_core.scenario.importing.run import Imported, run
from iomt_core.scenario.importing.values import ORDERS
from iomt_core.scenario.importing.work import Line, Progress

__all__ = [
    "BAD_ROWS", "DECIMALS", "LARGEST_TABLE", "LOCATIONS", "ORDERS", "ROLES", "Imported", "Input", "Line", "Options",
    "Progress", "Table", "fields_of", "map_columns", "open_tables", "read_length", "read_table", "run",
]  # fmt: skip
