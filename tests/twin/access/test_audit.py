"""The audit log: a change, a truncation and a complete rewrite are found, and two processes can write at once."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from iomt_core.twin.access import AuditError, AuditLog, Event, Verification, verify_log
from iomt_core.twin.access.audit import CHECKPOINT_EVERY, COLUMNS, FILE, chained, first_hash
from iomt_core.twin.access.checkpoints import Checkpoints
from iomt_core.twin.access.hooks import audit_hook
from tests.twin.access.wards import WAREHOUSE

RECORDS = 300  # more than CHECKPOINT_EVERY
EVENT = Event("agent:1", "read", "warehouse/1", "granted")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a closed log with checkpoints after 0, 256 and 300 records."""
    with AuditLog(tmp_path / "log", WAREHOUSE) as log:
        for number in range(RECORDS):
            log.append(Event(f"agent:{number % 7 + 1}", "read", f"warehouse/{number % 5 + 1}", "granted"))
    return tmp_path / "log"


def change(folder: Path, *statements: str) -> None:
    """As somebody who can write to the file and does not know how to hash."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def hash_again(folder: Path, since: int = 1, until: int = RECORDS, identifier: str = WAREHOUSE) -> None:
    """As somebody who knows the code: makes the chain of these records valid again."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM record ORDER BY sequence").fetchall()
        head = first_hash(identifier) if since == 1 else rows[since - 2][-1]
        for row in rows[since - 1 : until]:
            head = chained(head, row[:-1])
            connection.execute("UPDATE record SET hash = ? WHERE sequence = ?", (head, row[0]))
        connection.commit()


def verified(folder: Path) -> Verification:
    return verify_log(folder, WAREHOUSE)


def test_an_honest_log_is_valid(folder: Path) -> None:
    found = verified(folder)
    assert found.valid
    assert (found.records, found.checkpoints, found.unsigned, found.first_bad) == (RECORDS, 3, 0, None)
    assert f"{RECORDS} records" in found.text()


CHANGES = {
    "subject": "UPDATE record SET subject = 'agent:8' WHERE sequence = 123",
    "time": "UPDATE record SET time_ns = time_ns + 1 WHERE sequence = 123",
    "action": "UPDATE record SET action = 'append' WHERE sequence = 123",
    "object": "UPDATE record SET object = 'state' WHERE sequence = 123",
    "outcome": "UPDATE record SET outcome = 'refused' WHERE sequence = 123",
    "budget": "UPDATE record SET budget = 5000000 WHERE sequence = 123",
    "hash": "UPDATE record SET hash = zeroblob(32) WHERE sequence = 123",
    "removed": "DELETE FROM record WHERE sequence = 123",
    "moved border": "UPDATE record SET subject = subject || char(31) || action, action = '' WHERE sequence = 123",
    "text that is none": "UPDATE record SET subject = CAST(x'ff' AS TEXT) WHERE sequence = 123",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_record_is_named(name: str, folder: Path) -> None:
    change(folder, CHANGES[name])
    found = verified(folder)
    assert (found.valid, found.first_bad) == (False, 123)
    assert "first bad record 123" in found.text()


def insert_in_between(folder: Path) -> None:
    change(
        folder,
        "UPDATE record SET sequence = -sequence - 1 WHERE sequence > 122",
        "UPDATE record SET sequence = -sequence WHERE sequence < 0",
        "INSERT INTO record SELECT 123, 1, 'operator', action, object, outcome, budget, hash FROM record WHERE sequence = 1",
    )


def cut(folder: Path) -> None:
    change(folder, "DELETE FROM record WHERE sequence > 290")


def cut_before_the_first_checkpoint(folder: Path) -> None:
    change(folder, "DELETE FROM record WHERE sequence > 100")


def empty(folder: Path) -> None:
    change(folder, "DELETE FROM record")


def rewrite(folder: Path) -> None:
    change(folder, "UPDATE record SET subject = 'operator' WHERE sequence = 123")
    hash_again(folder)


def rewrite_the_end(folder: Path) -> None:
    change(folder, "UPDATE record SET subject = 'operator' WHERE sequence = 280")
    hash_again(folder, 280)


def rewrite_one(folder: Path) -> None:
    change(folder, "UPDATE record SET subject = 'operator' WHERE sequence = 123")
    hash_again(folder, 123, 123)


def remove_and_renumber(folder: Path) -> None:
    change(
        folder,
        "DELETE FROM record WHERE sequence = 123",
        "UPDATE record SET sequence = -sequence + 1 WHERE sequence > 123",
        "UPDATE record SET sequence = -sequence WHERE sequence < 0",
    )
    hash_again(folder)


def remove_the_file(folder: Path) -> None:
    (folder / FILE).unlink()


def other_warehouse(folder: Path) -> None:
    change(folder, "UPDATE log SET identifier = 'ward-2'")
    hash_again(folder, identifier="ward-2")


def damage(folder: Path) -> None:
    path = folder / FILE
    content = bytearray(path.read_bytes())
    content[8192:20480] = b"\xa5" * 12288
    path.write_bytes(content)


def truncate_the_file(folder: Path) -> None:
    path = folder / FILE
    path.write_bytes(path.read_bytes()[:20000])


def no_database(folder: Path) -> None:
    (folder / FILE).write_bytes(b"nonsense" * 1000)


ATTACKS: dict[Callable[[Path], None], tuple[int | None, str]] = {
    insert_in_between: (123, "hash does not match"),
    cut: (291, "records 291 to 300 are missing"),
    cut_before_the_first_checkpoint: (101, "records 101 to 300 are missing"),
    empty: (1, "records 1 to 300 are missing"),
    rewrite: (1, "records 1 to 256 were written again"),
    rewrite_the_end: (257, "records 257 to 300 were written again"),
    rewrite_one: (124, "hash does not match"),
    remove_and_renumber: (1, "records 1 to 256 were written again"),
    remove_the_file: (1, "missing"),
    other_warehouse: (1, "another warehouse"),
    damage: (None, ""),
    truncate_the_file: (1, "cannot be read"),
    no_database: (1, "cannot be read"),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_found(attack: Callable[[Path], None], folder: Path) -> None:
    first_bad, reason = ATTACKS[attack]
    attack(folder)
    found = verified(folder)
    assert not found.valid
    assert reason in found.reason
    assert found.first_bad == first_bad or (first_bad is None and found.first_bad)


@pytest.mark.parametrize(
    "attack", [cut, empty, rewrite, rewrite_the_end, remove_the_file, other_warehouse, no_database]
)
def test_nothing_is_added_to_a_log_after_an_attack(attack: Callable[[Path], None], folder: Path) -> None:
    attack(folder)
    with pytest.raises(AuditError):
        AuditLog(folder, WAREHOUSE)
    assert not verified(folder).valid


def test_an_older_copy_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with AuditLog(folder, WAREHOUSE) as log:
        log.append(EVENT)
    shutil.copytree(folder, tmp_path / "copy")
    with AuditLog(folder, WAREHOUSE) as log:
        log.append(EVENT)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    with pytest.raises(AuditError, match="shortened"):
        AuditLog(folder, WAREHOUSE)


def test_forged_and_missing_checkpoints(folder: Path, keys: Path) -> None:
    path = Checkpoints(WAREHOUSE).path
    honest = path.read_bytes()
    rewrite(folder)
    with closing(sqlite3.connect(folder / FILE)) as connection:
        (head,) = connection.execute("SELECT hash FROM record WHERE sequence = 256").fetchone()
    old = next(c for c in Checkpoints(WAREHOUSE).all() if c.size == 256)
    path.write_bytes(honest.replace(old.head.hex().encode(), head.hex().encode()))
    assert "written again" in verified(folder).reason or "not signed" in verified(folder).reason
    path.unlink()
    assert "no checkpoint" in verified(folder).reason
    with pytest.raises(AuditError, match="no checkpoint"):
        AuditLog(folder, WAREHOUSE)
    path.write_bytes(honest)
    (keys / "audit.pem").unlink()  # a new one is made
    assert "not signed with the key" in verified(folder).reason
    with pytest.raises(AuditError, match="not signed"):
        AuditLog(folder, WAREHOUSE)


def test_a_checkpoint_that_a_power_loss_cut_is_no_error(folder: Path) -> None:
    path = Checkpoints(WAREHOUSE).path
    path.write_bytes(path.read_bytes()[:-40])
    assert verified(folder).unsigned == RECORDS - CHECKPOINT_EVERY
    with AuditLog(folder, WAREHOUSE) as log:
        log.append(EVENT)
    found = verified(folder)
    assert (found.valid, found.records, found.unsigned) == (True, RECORDS + 1, 0)


def test_checkpoints_are_not_in_the_logs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOMT_KEYS", str(tmp_path / "log" / "keys"))
    with pytest.raises(AuditError, match="inside"):
        AuditLog(tmp_path / "log", WAREHOUSE)


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AuditLog(tmp_path / "log", WAREHOUSE) as log:
        log.append(EVENT)
        log._connection.execute("PRAGMA max_page_count = 1")  # what a full disk does
        with pytest.raises(AuditError, match="full"):
            log.append(*[EVENT] * 1000)
        log._connection.execute("PRAGMA max_page_count = 100000")
        assert log.append(EVENT) == 2  # nothing of the failed transaction is there
    assert verified(tmp_path / "log").valid
    with pytest.raises(AuditError, match="closed"):
        log.append(EVENT)


def test_a_new_log_is_empty_and_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    for number in range(5):
        folder = tmp_path / f"log{number}"
        with ThreadPoolExecutor(4) as threads:
            logs = list(threads.map(lambda _, place=folder: AuditLog(place, place.name), range(4)))
        assert len(logs[0].latest(5)) == 0
        for log in logs:
            log.append(EVENT)
            log.close()
        assert verify_log(folder, folder.name).records == 4


@pytest.mark.parametrize("text", ["", "a\x1fb", "a\nb", "a\0b", "x" * 201])
def test_a_field_is_a_short_line(text: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        Event(text, "read", "state", "granted")


WRITER = """
import sys
from pathlib import Path
from iomt_core.twin.access import AuditLog, Event
with AuditLog(Path(sys.argv[1]), sys.argv[2]) as log:
    for number in range(200):
        log.append(Event(sys.argv[3], "read", "state", "granted"), durable=number % 50 == 0)
"""


def test_two_processes_and_their_threads_write_one_chain(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    call = [sys.executable, "-c", WRITER, str(folder), WAREHOUSE]
    writers = [subprocess.Popen([*call, f"operator:w{number}"]) for number in range(2)]
    with AuditLog(folder, WAREHOUSE) as log, ThreadPoolExecutor(4) as threads:
        for _ in range(200):
            threads.submit(log.append, Event("operator:w2", "read", "state", "granted"))
        sizes = set()
        while any(writer.poll() is None for writer in writers):
            found = verified(folder)  # reads a consistent state meanwhile
            assert found.valid, found.text()
            sizes.add(found.records)
        threads.shutdown()
        assert [writer.returncode for writer in writers] == [0, 0]
        counts = log.latest(10_000)["subject"].value_counts().to_dict()
    assert len(sizes) > 2
    assert counts == {"operator:w0": 200, "operator:w1": 200, "operator:w2": 200}
    found = verified(folder)
    assert (found.valid, found.records, found.unsigned) == (True, 600, 0)


def test_what_a_warehouse_does_is_recorded_without_its_data(log: AuditLog) -> None:
    hook = audit_hook(log, "agent:3")
    hook("read", {"user": 3, "revision": 17, "rows": 512, "log": "tasks"})
    hook("rotate", {"users": 8, "keys": 4})
    records = log.latest(2)[["subject", "action", "object", "outcome", "budget"]]
    assert [*records.itertuples(index=False, name=None)] == [
        ("agent:3", "rotate", "warehouse", "done", 0),
        ("agent:3", "read", "warehouse/3@17", "done", 0),
    ]
