"""A process that records is killed at random instants: `python -m benchmarks.warehouse_faults` does it 200 times."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.warehouse_faults import run

KILLS = 12


@pytest.mark.skipif(sys.platform == "win32", reason="no fork server")
def test_kills_lose_nothing_acknowledged_and_double_nothing(tmp_path: Path) -> None:
    found = run(tmp_path / "w", KILLS)
    assert found["kills"] == KILLS
    assert found["commits"] > KILLS
