"""How much each tier may hold, and what is kept free."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from iomt_core.scenario import check_range
from iomt_core.twin.warehouse.database import ARCHIVED, DEVICE, EDGE
from iomt_core.twin.warehouse.errors import WarehouseError

MEGABYTE = 1_000_000
NO_LIMIT = 10**15  # of steps or bytes


@dataclass(frozen=True)
class Limits:
    """Limits of the tiers. The age of a segment is the number of steps of its user that were recorded after it.

    A tier is full when a segment reaches the tier's age, or all its segments together exceed the tier's bytes. Then whole
    segments leave it, oldest first, until a part of it (`headroom`) is free: from the device to the edge, from there to the
    archive. Segments that leave the archive are dropped and counted.
    """

    device_steps: int = 1000
    device_bytes: int = 64 * MEGABYTE
    edge_steps: int = 20_000
    edge_bytes: int = 512 * MEGABYTE
    archive_steps: int = NO_LIMIT
    archive_bytes: int = 8000 * MEGABYTE
    headroom: float = 0.25
    reserve_bytes: int = 32 * MEGABYTE  # of a file that is removed where a full disk is cleaned, which needs some space
    database_bytes: int = 0  # the largest size of the SQLite file, which holds device and edge; 0: no limit

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "headroom":
                low = 0 if field.name in ("reserve_bytes", "database_bytes") else 1
                check_range(field.name, getattr(self, field.name), low, NO_LIMIT)
        if not 0 <= self.headroom <= 0.9:
            raise WarehouseError(f"headroom = {self.headroom} is out of range: allowed is 0 to 0.9.")

    def steps(self, tier: str) -> int:
        """Age at which a segment leaves the tier."""
        return {DEVICE: self.device_steps, EDGE: self.edge_steps, ARCHIVED: self.archive_steps}[tier]

    def bytes(self, tier: str) -> int:
        """Bytes that the tier may hold."""
        return {DEVICE: self.device_bytes, EDGE: self.edge_bytes, ARCHIVED: self.archive_bytes}[tier]

    def as_json(self) -> dict[str, Any]:
        """The limits by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Limits:
        """The limits that `as_json` returned; names of other versions are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})
