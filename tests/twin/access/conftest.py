"""A folder of keys and an audit log of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from iomt_core.twin.access import AuditLog
from tests.twin.access.wards import WAREHOUSE


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "keys"
    monkeypatch.setenv("IOMT_KEYS", str(folder))
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog(tmp_path / "log", WAREHOUSE) as opened:
        yield opened
