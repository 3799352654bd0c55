"""The audit log of a warehouse: where it is, and what opens it."""

from __future__ import annotations

from pathlib import Path

from iomt_core.twin.access.audit import AuditLog
from iomt_core.twin.access.hooks import AUDIT_FOLDER
from iomt_core.twin.warehouse.database import database_file
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.writer import WarehouseWriter


def open_audit_log(folder: Path, create: bool = False) -> AuditLog:
    """Opens the audit log of the warehouse in `folder`; makes it if it does not exist.

    create: whether to make the warehouse too. Raises `WarehouseError` and `AuditError`.
    """
    if create and not database_file(folder).is_file():
        WarehouseWriter(folder).close()
    return AuditLog(folder / AUDIT_FOLDER, Warehouse(folder).identity)
