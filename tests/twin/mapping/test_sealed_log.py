"""A sealed copy of one user's log, and the process that reads it and can open nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from iomt_core.twin.mapping import sealed_log
from iomt_core.twin.mapping.confined import run
from iomt_core.twin.mapping.sealed_log import SealedLog, sealed_copy
from iomt_core.twin.warehouse.errors import DamagedError, WarehouseError
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.writer import WarehouseWriter
from tests.twin.warehouse.helpers import filled

ATTEMPTS = """
import json, os, socket, sqlite3, subprocess, sys
import pyarrow as pa
from iomt_core.twin.mapping.confinement import shut_in

path = sys.argv[1]

def arrow_file():
    pa.OSFile(path)  # opened by C++, which Python's audit hooks do not see

attempts = {
    "file": lambda: open(path),
    "new file": lambda: open(path + "-new", "w"),
    "C++ file": arrow_file,
    "folder": lambda: os.listdir("/"),
    "removed file": lambda: os.remove(path),
    "socket": lambda: socket.socket(),
    "pipe": lambda: os.pipe(),
    "database": lambda: sqlite3.connect(path),
    "program": lambda: subprocess.run(["true"]),
    "fork": lambda: os.fork(),
    "import": lambda: __import__("wave"),
}
shut_in()
done = []
for name, attempt in attempts.items():
    try:
        attempt()
        done.append(name)
    except OSError:
        pass
print(json.dumps(done), flush=True)
"""


def log_of(folder: Path, user: int, key_of: int | None = None) -> SealedLog:
    return SealedLog(sealed_copy(folder, user), user, Warehouse(folder).keys.versions(key_of or user))


def test_a_copy_reads_like_the_warehouse_in_every_tier(tmp_path: Path) -> None:
    folder = filled(tmp_path / "w")
    for user in Warehouse(folder).users:
        log, whole = log_of(folder, user), Warehouse(folder).log(user)
        assert log.tasks().equals(whole.tasks())
        assert log.steps(after=7, columns=["sequence", "user"]).equals(
            whole.steps(after=7, columns=["sequence", "user"])
        )


def test_a_copy_has_nothing_of_other_users_and_nothing_plain(ward: Path) -> None:
    log = log_of(ward, 2)
    tables = ("users", "recordings", "appends", "segments")
    assert all({user for (user,) in log._db.execute(f"SELECT user FROM {name}")} == {2} for name in tables)
    content = sealed_copy(ward, 2)
    key = Warehouse(ward).keys.versions(2)[1]
    assert key not in content
    assert b"data_bits" not in b"".join(data for (data,) in log._db.execute("SELECT data FROM blocks"))


def test_the_key_of_another_user_opens_nothing(ward: Path) -> None:
    with pytest.raises(DamagedError):
        log_of(ward, 2, key_of=1).tasks()
    with pytest.raises(DamagedError):
        log_of(ward, 2, key_of=1).configuration(1)


def test_users_who_cannot_be_read_are_refused(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WarehouseError, match="user = 7 has no log that can be read: allowed is 1, 2"):
        sealed_copy(ward, 7)
    with WarehouseWriter(ward) as writer:
        writer.forget(1)
    with pytest.raises(WarehouseError, match="user = 1 has no log that can be read: allowed is 2"):
        run(ward, 1, "train", {})
    monkeypatch.setattr(sealed_log, "MOST_BYTES", 100)
    with pytest.raises(WarehouseError, match="allowed is 0 MB"):
        sealed_copy(ward, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has the audit hook only")
def test_a_process_that_is_shut_in_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_text("of somebody else")
    found = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(found.stdout) == [], found.stderr
    assert path.read_text() == "of somebody else"
