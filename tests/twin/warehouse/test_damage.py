"""Everything that was changed, swapped, truncated or removed is found, and the error names file, user and segment."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.scenario import ScenarioError
from iomt_core.twin.warehouse.checks import status, verify
from iomt_core.twin.warehouse.errors import DamagedError
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.writer import WarehouseWriter
from tests.twin.warehouse.helpers import filled


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("intact")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOMT_KEYS", str(place / "keys"))
        filled(place / "w")
    return place


@pytest.fixture
def folder(intact: Path, tmp_path: Path, keys: Path) -> Path:
    shutil.copytree(intact / "keys", keys)
    shutil.copytree(intact / "w", tmp_path / "w")
    return tmp_path / "w"


def execute(folder: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(folder / "warehouse.sqlite")
    with db:
        db.execute(statement, values)
    db.close()


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def flip_block(folder: Path) -> None:
    db = sqlite3.connect(folder / "warehouse.sqlite")
    number, data = db.execute("SELECT segment, data FROM blocks ORDER BY segment DESC LIMIT 1").fetchone()
    with db:
        db.execute("UPDATE blocks SET data=? WHERE segment=?", (flip(data, len(data) // 2), number))
    db.close()


def swap_blocks(folder: Path) -> None:
    """Exchanges the data of two segments of one user and log, with their digests."""
    db = sqlite3.connect(folder / "warehouse.sqlite")
    query = "SELECT id FROM segments WHERE tier='device' AND user=1 AND log='tasks' ORDER BY id LIMIT 2"
    (one,), (other,) = db.execute(query).fetchall()
    with db:
        for table, key, columns in (("blocks", "segment", ("data",)), ("segments", "id", ("sha256", "bytes"))):
            for column in columns:
                values = [
                    db.execute(f"SELECT {column} FROM {table} WHERE {key}=?", (n,)).fetchone()[0] for n in (one, other)
                ]
                for number, value in zip((other, one), values, strict=True):
                    db.execute(f"UPDATE {table} SET {column}=? WHERE {key}=?", (value, number))
    db.close()


def archive_file(folder: Path, user: int = 2) -> Path:
    return min((folder / "archive").glob(f"user-{user}-tasks-*.parquet"))


def flip_file(folder: Path) -> None:
    path = archive_file(folder)
    path.write_bytes(flip(path.read_bytes(), 200))


def truncate_file(folder: Path) -> None:
    os.truncate(archive_file(folder), archive_file(folder).stat().st_size // 2)


def swap_files(folder: Path) -> None:
    one, other = archive_file(folder, 1), archive_file(folder, 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def remove_file(folder: Path) -> None:
    archive_file(folder).unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped bit": (flip_block, r"warehouse.sqlite', user 3, segment \d+ \(tasks .*\): the stored bytes were changed"),
    "swapped segments": (swap_blocks, r"warehouse.sqlite', user 1, segment \d+ \(tasks .*: it is not what its commit"),
    "flipped bit of a file": (flip_file, r"tasks-.*parquet', user 2, segment \d+ \(tasks .*: the stored bytes were"),
    "truncated file": (truncate_file, r"tasks-.*parquet', user 2, segment \d+ \(tasks .*truncated"),
    "swapped files": (swap_files, r"tasks-.*parquet', user 1, segment \d+ \(tasks .*: the stored bytes were"),
    "removed file": (remove_file, r"tasks-.*parquet', user 2, segment \d+ \(tasks .*: No such file"),
    "removed segment": (
        lambda folder: execute(folder, "DELETE FROM segments WHERE id=(SELECT max(id) FROM segments WHERE user=1)"),
        r"user 1.*: (tasks|steps) \d+ to \d+ are missing",
    ),
    "changed commit": (
        lambda folder: execute(folder, "UPDATE commits SET time_us=1 WHERE revision=4"),
        "commit 4 was changed",
    ),
    "removed commit": (
        lambda folder: execute(folder, "DELETE FROM commits WHERE revision=4"),
        "commit 4 was changed or rem",
    ),
    "changed sums": (
        lambda folder: execute(
            folder, "UPDATE appends SET sums=zeroblob(76) WHERE revision=3 AND user=1 AND log='tasks'"
        ),
        "what commit 3 appended was changed",
    ),
    "changed number of records": (
        lambda folder: execute(
            folder, "UPDATE segments SET first_step=first_step+1 WHERE user=1 AND log='tasks' AND first=1"
        ),
        r"user 1, segment \d+ \(tasks 1 to .*: its key cannot be unwrapped",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_finds_the_first_bad_record(folder: Path, name: str) -> None:
    verify(folder)
    damage, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(DamagedError, match=message):
        verify(folder)


@pytest.mark.parametrize(
    "name", ["flipped bit", "swapped segments", "flipped bit of a file", "truncated file", "swapped files"]
)
def test_reading_refuses_changed_data_too(folder: Path, name: str) -> None:
    DAMAGES[name][0](folder)
    user = {"flipped bit": 3, "swapped segments": 1}.get(name, 2)
    log = Warehouse(folder).log(user)
    with pytest.raises(DamagedError, match=rf"file '.*', user {user}, segment \d+"):
        log.tasks()


def test_a_segment_that_was_replaced_with_its_digests_does_not_open(folder: Path) -> None:
    """Whoever can write the whole store, but has no key, cannot put a record in another place."""
    swap_blocks(folder)
    with pytest.raises(DamagedError, match="the data were changed, or belong to another segment"):
        Warehouse(folder).log(1).tasks()


@pytest.mark.parametrize("size", [0, 3000, 100_000])
def test_a_truncated_database_is_a_clear_error(folder: Path, size: int) -> None:
    os.truncate(folder / "warehouse.sqlite", size)
    with pytest.raises(ScenarioError, match=r"warehouse.sqlite'|holds nothing"):
        verify(folder)


def test_a_file_of_another_program_or_none_is_a_clear_error(tmp_path: Path) -> None:
    for opened in (Warehouse, status, partial(WarehouseWriter, create=False)):
        with pytest.raises(ScenarioError, match="is not a data warehouse"):
            opened(tmp_path / "nothing")
        assert not (tmp_path / "nothing").exists()
    (tmp_path / "warehouse.sqlite").write_text("hello" * 1000)
    with pytest.raises(ScenarioError, match="file is not a database"):
        Warehouse(tmp_path)
    (tmp_path / "warehouse.sqlite").unlink()
    execute(tmp_path, "CREATE TABLE a(b)")
    with pytest.raises(ScenarioError, match="has format 0"):
        WarehouseWriter(tmp_path)


def test_two_writers_are_refused_and_readers_are_not(folder: Path) -> None:
    with WarehouseWriter(folder):
        with pytest.raises(ScenarioError, match="another process writes to the warehouse"):
            WarehouseWriter(folder)
        assert Warehouse(folder).log(1).tasks().num_rows == 240
        assert status(folder)["writing"]
    assert not status(folder)["writing"]
    WarehouseWriter(folder).close()


def test_verify_on_the_command_line_exits_with_1_and_names_the_record(folder: Path) -> None:
    run = CliRunner().invoke
    good = run(application(["warehouse"]), ["warehouse", "verify", str(folder)])
    assert good.exit_code == 0
    assert "intact: 900 records" in good.stdout
    flip_file(folder)
    bad = run(application(["warehouse"]), ["warehouse", "verify", str(folder)])
    assert bad.exit_code == 1
    assert "first bad record: tasks 1 of user 2" in bad.stdout
