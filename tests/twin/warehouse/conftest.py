"""Every test has its own folder of keys. Nothing waits for the disk: no test cuts the power."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "keys"
    monkeypatch.setenv("IOMT_KEYS", str(folder))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return folder
