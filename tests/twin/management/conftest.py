"""A registry and runs of the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("IOMT_MODELS", "IOMT_RUNS", "IOMT_KEYS"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    return tmp_path / "iomt_models"
