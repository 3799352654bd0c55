"""Tiers: what moves when, what a full one does, and a full disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.warehouse_faults import rows
from iomt_core.scenario import ScenarioError
from iomt_core.twin.warehouse import tiers as tiers_module
from iomt_core.twin.warehouse.checks import status, verify
from iomt_core.twin.warehouse.database import TIERS
from iomt_core.twin.warehouse.errors import DamagedError, DiskFullError
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.segments import write_archive
from iomt_core.twin.warehouse.writer import RESERVE, WarehouseWriter
from tests.twin.warehouse.helpers import NOTHING_MOVES, SMALL, filled


def test_old_segments_move_as_wholes_and_the_oldest_lie_deepest(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w")
    state = status(folder)
    device, edge, archive = (state["tiers"][tier] for tier in ("device", "edge", "archive"))
    assert device["rows"] + edge["rows"] + archive["rows"] == state["rows"] == 60 * 3 * 5
    assert device["age_steps"] < 12
    assert edge["age_steps"] < 24 + 12
    assert archive["segments"] < device["rows"] // 5  # joined
    assert device["newest_s"] > edge["newest_s"] > archive["newest_s"]
    assert state["sequence_gaps"] == 0
    assert verify(folder)["rows"] == state["rows"]


def test_the_archive_is_parquet_that_opens_with_the_key_only(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w")
    files = list((folder / "archive").glob("*.parquet"))
    assert files
    for path in files:
        with pytest.raises(OSError, match="encrypt"):
            pq.read_table(path)
        assert b"delay_s" not in path.read_bytes()  # the footer is encrypted too


def test_a_tier_that_is_full_by_size_keeps_its_headroom(tmp_path: Path) -> None:
    limits = Limits(device_bytes=40_000, edge_bytes=60_000, archive_bytes=10**9, reserve_bytes=0)
    state = status(filled(tmp_path / "w", 300, limits))
    for tier in ("device", "edge"):
        assert 0 < state["tiers"][tier]["bytes"] <= state["tiers"][tier]["limit_bytes"]
        assert not state["tiers"][tier]["full"]
    assert state["tiers"]["archive"]["rows"]


def test_the_end_of_the_archive_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w", 120, replace(SMALL, archive_bytes=40_000))
    state = status(folder)
    assert state["dropped_rows"] > 0
    assert state["rows"] + state["dropped_rows"] == 120 * 3 * 5
    assert state["sequence_gaps"] == 0
    log = Warehouse(folder).log(1)
    tasks, steps = log.tasks(), log.steps()
    assert tasks["sequence"][-1].as_py() == 480
    assert tasks.num_rows < 480
    assert steps["step"].to_pylist()[-1] == 120
    with pytest.raises(ScenarioError, match=r"at = 3 cannot be read any more: tasks 1 to \d+ of user 1 were dropped"):
        log.tasks(at=3)
    on_disk = {path.name for path in (folder / "archive").glob("*")}
    assert len(on_disk) == state["tiers"]["archive"]["segments"]
    verify(folder)


def test_new_limits_apply_at_once_and_stay(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w", limits=NOTHING_MOVES)
    assert status(folder)["tiers"]["edge"]["rows"] == 0
    before = Warehouse(folder).log(2).tasks()
    with WarehouseWriter(folder) as writer:
        writer.set_limits(SMALL)
    state = status(folder)
    assert state["tiers"]["edge"]["rows"]
    assert state["limits"] == SMALL.as_json()
    assert Warehouse(folder).log(2).tasks().equals(before)
    with pytest.raises(ScenarioError, match="device_steps = 0 is out of range"):
        Limits(device_steps=0)


def test_a_move_that_cannot_be_verified_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path / "w", limits=NOTHING_MOVES)
    before, state = Warehouse(folder).log(1).tasks(), status(folder)
    monkeypatch.setattr(tiers_module, "same", lambda one, other: False)
    with WarehouseWriter(folder) as writer, pytest.raises(DamagedError, match="the move was undone"):
        writer.set_limits(SMALL)
    assert Warehouse(folder).log(1).tasks().equals(before)
    after = status(folder)
    assert [after["tiers"][tier]["rows"] for tier in TIERS] == [state["rows"], 0, 0]
    assert after["tiers"]["device"]["full"]
    verify(folder)


def test_a_full_database_keeps_what_was_acknowledged_and_can_be_cleaned(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    with WarehouseWriter(folder, replace(NOTHING_MOVES, database_bytes=600_000)) as writer:
        with pytest.raises(DiskFullError, match="Nothing of this commit was kept"):
            append_for_ever(writer)
        kept = int(Warehouse(folder).revision) * 6
        assert kept > 6
        assert Warehouse(folder).log(1).steps()["step"].to_pylist()[-1] == kept
        segments, dropped = writer.tidy(100_000)
        assert segments
        assert dropped
        writer.append(*rows(kept + 1, 6))
    assert status(folder)["sequence_gaps"] == 0
    assert Warehouse(folder).log(1).steps()["step"].to_pylist()[-1] == kept + 6
    verify(folder)


def append_for_ever(writer: WarehouseWriter) -> None:
    for start in range(1, 6000, 6):
        writer.append(*rows(start, 6))


FULL_DISK = """
import resource, sys
from pathlib import Path
from benchmarks.warehouse_faults import rows
from iomt_core.twin.warehouse.database import TIERS
from iomt_core.twin.warehouse.errors import DiskFullError
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.segments import write_archive
from iomt_core.twin.warehouse.writer import WarehouseWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
with WarehouseWriter(Path(sys.argv[1]), Limits(reserve_bytes=0)) as writer:
    for start in range(1, 6000, 6):
        try:
            writer.append(*rows(start, 6))
        except DiskFullError as error:
            sys.exit(f"{start - 1} {error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
def test_a_disk_that_takes_no_more_bytes_gives_a_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    call = [sys.executable, "-c", FULL_DISK, str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    kept, _, message = done.stderr.partition(" ")
    assert "cannot grow" in message, done.stderr
    assert "tidy DIR --free-mb 100" in message
    assert Warehouse(folder).log(3).steps()["step"].to_pylist()[-1] == int(kept)
    verify(folder)


def test_an_archive_without_room_stops_moves_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise DiskFullError("no room")

    monkeypatch.setattr(tiers_module, "write_archive", no_room)
    folder = filled(tmp_path / "w", 90, replace(SMALL, device_steps=6, edge_steps=12))
    state = status(folder)
    assert state["rows"] == 90 * 15
    assert state["tiers"]["edge"]["full"]
    monkeypatch.setattr(tiers_module, "write_archive", write_archive)
    with WarehouseWriter(folder) as writer:
        writer.settle()
    assert not status(folder)["tiers"]["edge"]["full"]
    verify(folder)


def test_a_reserve_is_kept_and_used_for_cleaning(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w", limits=replace(SMALL, reserve_bytes=100_000))
    assert status(folder)["reserve_bytes"] == 100_000
    (folder / RESERVE).unlink()
    with WarehouseWriter(folder) as writer:
        assert status(folder)["reserve_bytes"] == 100_000
        assert writer.tidy(1)[0] == 1
    assert status(folder)["reserve_bytes"] == 100_000


def test_files_of_an_interrupted_move_are_removed(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w")
    file = next((folder / "archive").glob("*.parquet"))
    shutil.copy(file, file.with_name("user-1-tasks-0000000001-0000000002-999.parquet"))
    shutil.copy(file, file.with_name(file.name + ".tmp"))
    with WarehouseWriter(folder):
        pass
    assert file.exists()
    assert not list((folder / "archive").glob("*999.parquet"))
    assert not list((folder / "archive").glob("*.tmp"))
    verify(folder)
