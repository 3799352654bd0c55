"""Every test has its own folder of keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iomt_core.scenario import Scenario
from iomt_core.twin.warehouse.recorder import record

WARD = Scenario(users=2, tasks=2, servers=2, T=4)


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "keys"
    monkeypatch.setenv("IOMT_KEYS", str(folder))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return folder


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A warehouse with 40 episodes of a small ward under random choices."""
    record(WARD, "random", 40, 0, tmp_path / "ward")
    return tmp_path / "ward"
