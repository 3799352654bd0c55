"""Warehouses to test on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.warehouse_faults import rows
from iomt_core.twin.warehouse.database import TIERS
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.writer import WarehouseWriter

# With these, 60 steps in commits of 6 lie in all three tiers.
SMALL = Limits(device_steps=12, edge_steps=24, reserve_bytes=0)
NOTHING_MOVES = Limits(reserve_bytes=0)


def filled(folder: Path, steps: int = 60, limits: Limits = SMALL, first: int = 1) -> Path:
    """A warehouse with so many steps of three users, in commits of 6."""
    with WarehouseWriter(folder, limits) as writer:
        for start in range(first, first + steps, 6):
            writer.append(*rows(start, 6))
        if limits is SMALL and steps >= 60:
            assert all(writer._tiers.fill[tier].bytes for tier in TIERS)
    return folder
