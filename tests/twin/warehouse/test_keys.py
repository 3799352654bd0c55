"""Keys: where they lie, rotation, forgetting, and wrong ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.warehouse_faults import rows
from iomt_core.paths import keys_folder
from iomt_core.scenario import ScenarioError
from iomt_core.twin.warehouse import users
from iomt_core.twin.warehouse.checks import status, verify
from iomt_core.twin.warehouse.errors import DamagedError, KeyMissingError
from iomt_core.twin.warehouse.keys import Keyring
from iomt_core.twin.warehouse.reading import UserWarehouse, Warehouse
from iomt_core.twin.warehouse.writer import WarehouseWriter
from tests.twin.warehouse.helpers import SMALL, filled

POSIX = pytest.mark.skipif(os.name != "posix", reason="no file modes")


def data_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    with sqlite3.connect(folder / "warehouse.sqlite") as db:
        for row in db.execute("SELECT segment, data FROM blocks ORDER BY segment"):
            digest.update(repr(row).encode())
    for path in sorted((folder / "archive").glob("*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def key_files(keys: Path) -> list[Path]:
    return sorted(keys.glob("*/user-*.json"))


@POSIX
def test_keys_lie_outside_and_only_their_owner_may_read_them(tmp_path: Path, keys: Path) -> None:
    folder = filled(tmp_path / "w")
    files = key_files(keys)
    assert len(files) == 3
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    key = Keyring(files[0].parent)._read(1)[1]
    assert key not in stored
    assert key.hex().encode() not in stored
    files[0].chmod(0o644)
    with pytest.raises(ScenarioError, match=r"can be read by others .mode 0644.: `chmod 600` it"):
        Warehouse(folder).log(1).tasks()


def test_the_folder_of_keys_is_that_of_the_variable_or_the_persons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert keys_folder() == tmp_path / "keys"
    monkeypatch.delenv("IOMT_KEYS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert keys_folder() == tmp_path / "data" / "iomt" / "keys"
    monkeypatch.setenv("IOMT_KEYS", str(tmp_path / "w" / "keys"))
    with pytest.raises(ScenarioError, match="lies inside the warehouse"):
        WarehouseWriter(tmp_path / "w", SMALL)


def test_nothing_of_a_user_is_stored_in_clear(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    with WarehouseWriter(folder, SMALL) as writer:
        number = writer.begin_recording({user: {"secret": "rosebud"} for user in (1, 2, 3)})
        for start in range(1, 61, 6):
            tasks, steps = rows(start, 6)
            writer.append(tasks.append_column("note", pa.array(["rosebud"] * tasks.num_rows)), steps, number)
    assert Warehouse(folder).log(2).configuration(1) == {"secret": "rosebud"}
    assert set(Warehouse(folder).log(2).tasks()["recording"].to_pylist()) == {1}
    for path in folder.rglob("*"):
        assert not path.is_file() or b"rosebud" not in path.read_bytes()


def test_a_wrong_or_missing_key_is_refused(tmp_path: Path, keys: Path) -> None:
    folder = filled(tmp_path / "w")
    one, other, _ = key_files(keys)
    shutil.copy(other, one)
    with pytest.raises(DamagedError, match=r"user 1, segment \d+ .*: its key cannot be unwrapped"):
        Warehouse(folder).log(1).tasks()
    one.write_text("{}")
    with pytest.raises(ScenarioError, match="is damaged: restore it"):
        Warehouse(folder).log(1).tasks()
    one.unlink()
    with pytest.raises(KeyMissingError, match=r"the key of user 1 is not in .*: set IOMT_KEYS"):
        Warehouse(folder).log(1).tasks()
    assert Warehouse(folder).log(2).tasks().num_rows == 240
    with WarehouseWriter(folder) as writer, pytest.raises(KeyMissingError):
        writer.append(*rows(61, 6))
    assert status(folder)["sequence_gaps"] == 0


def test_an_agents_keyring_opens_its_own_user_only(tmp_path: Path, keys: Path) -> None:
    warehouse = Warehouse(filled(tmp_path / "w"))
    log = warehouse.log(2)
    assert log.tasks().num_rows == 240
    other = UserWarehouse(log.folder, log.identity, 1, log.keys)
    for read in (other.tasks, other.steps):
        with pytest.raises(KeyMissingError, match="this process may read user 2 only"):
            read()
    for path in key_files(keys):  # a process that has no other file at all
        if path.name != "user-2.json":
            path.unlink()
    assert log.tasks().num_rows == 240


def test_rotation_changes_keys_and_no_data(tmp_path: Path, keys: Path) -> None:
    folder = filled(tmp_path / "w")
    data, old = data_digest(folder), [path.read_text() for path in key_files(keys)]
    warehouse = Warehouse(folder)
    tasks, revision = warehouse.log(1).tasks(), warehouse.revision
    with WarehouseWriter(folder) as writer:
        writer.rotate()
        assert warehouse.revision == revision < writer.revision
        assert writer.rotate() == sum(tier["segments"] for tier in status(folder)["tiers"].values())
        writer.append(*rows(61, 6))
    assert data_digest(folder) != data  # one commit more
    assert warehouse.log(1).tasks(at=revision).equals(tasks)
    for path, text in zip(key_files(keys), old, strict=True):
        assert path.read_text() != text
        path.write_text(text)
    with pytest.raises(KeyMissingError, match="version 3 of the key of user 1"):
        Warehouse(folder).log(1).tasks()


def test_rotation_alone_writes_no_data_byte(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w")
    data = data_digest(folder)
    with WarehouseWriter(folder) as writer:
        writer.rotate()
        writer.rotate()
    assert data_digest(folder) == data
    verify(folder)


@pytest.mark.parametrize(("owner", "step"), [(users, "encrypt"), (Keyring, "keep_only")])
def test_a_rotation_that_was_killed_leaves_one_working_key(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, owner: object, step: str
) -> None:
    """Before its commit, or after it."""
    folder = filled(tmp_path / "w")
    before = Warehouse(folder).log(1).tasks()
    with WarehouseWriter(folder) as writer, monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            writer.rotate()
    keyring = Keyring(key_files(keys)[0].parent)
    assert len(keyring._read(1)) == 2
    assert Warehouse(folder).log(1).tasks().equals(before)
    with WarehouseWriter(folder):
        pass
    assert len(keyring._read(1)) == 1
    assert Warehouse(folder).log(1).tasks().equals(before)
    verify(folder)


def test_a_forgotten_user_is_gone_from_every_copy(tmp_path: Path, keys: Path) -> None:
    folder = filled(tmp_path / "w")
    shutil.copytree(folder, tmp_path / "copy")
    others = Warehouse(folder).log(1).tasks()
    with WarehouseWriter(folder) as writer:
        writer.forget(2)
        assert [path.name for path in key_files(keys)] == ["user-1.json", "user-3.json"]
        writer.append(*rows(61, 6))  # the ward goes on; nothing of user 2 is kept
        with pytest.raises(ScenarioError, match="user = 9 is not known: the warehouse has 1, 2, 3"):
            writer.forget(9)
    warehouse = Warehouse(folder)
    assert (warehouse.users, warehouse.forgotten) == ((1, 2, 3), (2,))
    assert warehouse.log(1).tasks().slice(0, 240).equals(others)
    assert set(warehouse.aggregates()["user"]) == {1, 3}
    for at in (None, 3):
        with pytest.raises(ScenarioError, match="user = 2 was forgotten at revision"):
            warehouse.log(2).tasks(at=at)
    assert not list((folder / "archive").glob("user-2-*"))
    state = status(folder)
    assert list(state["forgotten"]) == [2]
    assert state["sequence_gaps"] == 0
    verify(folder)
    with pytest.raises(KeyMissingError, match="the key of user 2"):  # archive included
        Warehouse(tmp_path / "copy").log(2).tasks()


def test_forgetting_that_was_killed_is_completed(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path / "w")
    with WarehouseWriter(folder) as writer, monkeypatch.context() as patch:
        patch.setattr(Keyring, "destroy", killed)
        with pytest.raises(KeyboardInterrupt):
            writer.forget(2)
    with pytest.raises(ScenarioError, match="was forgotten"):  # at once, though its key is still there
        Warehouse(folder).log(2).tasks()
    with WarehouseWriter(folder):
        assert not [path for path in key_files(keys) if path.name == "user-2.json"]
    verify(folder)
