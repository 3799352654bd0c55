"""Own data on disk: kept by content, found only by digest, within limits, deleted when nobody uses it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from iomt_core.scenario import ScenarioError
from iomt_core.scenario.own_data import DAY, OwnDataStore


def test_the_same_content_is_kept_once_under_its_digest(tmp_path: Path) -> None:
    store = OwnDataStore(tmp_path / "new")
    digest = store.keep(b"tasks")
    assert digest == store.keep(b"tasks") == hashlib.sha256(b"tasks").hexdigest()
    assert [file.name for file in store.folder.iterdir()] == [digest]
    assert store.read(digest) == b"tasks"
    assert store.kept_until(digest) == pytest.approx(time.time() + 30 * DAY, abs=60)


@pytest.mark.parametrize("digest", ["", "a", "../secret", "A" * 64, "a" * 64, "a" * 64 + "\n", "a" * 65, "\x00" * 64])
def test_nothing_else_can_be_read(tmp_path: Path, digest: str) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(ScenarioError, match=r"is not the digest|is not on this server"):
        OwnDataStore(tmp_path / "store").read(digest)


def test_damaged_data_is_not_used(tmp_path: Path) -> None:
    store = OwnDataStore(tmp_path)
    digest = store.keep(b"tasks")
    (tmp_path / digest).write_bytes(b"other")
    with pytest.raises(ScenarioError, match="is not on this server"):
        store.read(digest)


@pytest.mark.parametrize("store", [{"files": 2}, {"megabytes": 1}, {"megabytes": 0}, {"files": 0}])
def test_a_full_store_refuses_and_keeps_what_it_promised(tmp_path: Path, store: dict[str, int]) -> None:
    limited = OwnDataStore(tmp_path, **store)
    kept = [limited.keep(bytes([n]) * 400_000) for n in range(min(limited.files, 2 * limited.megabytes))]
    with pytest.raises(ScenarioError, match="keeps no more own data"):
        limited.keep(b"x" * 400_000)
    assert {file.name for file in tmp_path.iterdir()} == set(kept)
    for digest in kept:
        assert limited.keep(limited.read(digest)) == digest  # what is there needs no room


def test_what_nobody_uses_makes_room_and_other_files_stay(tmp_path: Path) -> None:
    store = OwnDataStore(tmp_path, files=2, days=1)
    unused, used = store.keep(b"unused"), store.keep(b"used")
    others = [tmp_path / "notes.txt", tmp_path / f".{'a' * 64}.b.tmp"]
    for path in (*others, tmp_path / unused, tmp_path / used):
        path.touch()
        os.utime(path, (0, time.time() - 2 * DAY))
    store.read(used)
    new = store.keep(b"new")
    assert {file.name for file in tmp_path.iterdir()} == {used, new, "notes.txt"}


@pytest.mark.parametrize("value", ["many", "-1", "1e3", "9" * 30])
def test_a_limit_that_is_not_a_count_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("IOMT_OWN_DATA_DAYS", value)
    with pytest.raises(ScenarioError, match="IOMT_OWN_DATA_DAYS"):
        OwnDataStore.from_environment()
