"""Own data that is too large for a link, kept on disk so that a link can name it.

A file's name is the SHA-256 of its content: the same data is kept once, whoever brings it, and a link finds it again after
a reload or on another day. Nobody chooses a name or a path. Data that nobody has used for some days is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iomt_core.paths import user_folder
from iomt_core.scenario.errors import ScenarioError, os_errors
from iomt_core.scenario.files import write_atomically

DIGEST = re.compile(r"[0-9a-f]{64}")
LEFT_OVER = re.compile(r"\.[0-9a-f]{64}\..*\.tmp")  # what a server that was killed left behind
DAY = 86_400.0  # seconds
USED_AGAIN = 3600.0  # seconds after which another use is noted


@dataclass(frozen=True)
class OwnDataStore:
    """A folder of own data, with its limits. Any number of servers may share it."""

    folder: Path
    megabytes: int = 200
    files: int = 2000
    days: int = 30  # since the last use

    @classmethod
    def from_environment(cls) -> OwnDataStore:
        """The store that the IOMT_OWN_DATA variables describe. Raises `ScenarioError` for a limit that is not a count."""
        return cls(
            user_folder("IOMT_OWN_DATA"),
            _limit("IOMT_OWN_DATA_MB", cls.megabytes),
            _limit("IOMT_OWN_DATA_FILES", cls.files),
            _limit("IOMT_OWN_DATA_DAYS", cls.days),
        )

    def keep(self, content: bytes) -> str:
        """Keep the content and return its digest. Raises `ScenarioError` if there is no room or the disk refuses."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / digest
        if not path.exists():
            with os_errors("own data cannot be kept on this server"):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._make_room(len(content))
            write_atomically(path, content)
        self._note_use(path)
        return digest

    def read(self, digest: str) -> bytes:
        """Return the content with this digest. Raises `ScenarioError` if it is not kept (any more) or was damaged."""
        if not DIGEST.fullmatch(digest):
            raise ScenarioError(f"{digest[:40]!r} is not the digest of own data: it has 64 digits from 0 to f.")
        path = self.folder / digest
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise ScenarioError(
                f"own data {digest[:8]}… is not on this server. It may have been kept by another server, or deleted: "
                f"data that nobody uses is deleted after {self.days} days."
            )
        self._note_use(path)
        return content

    def kept_until(self, digest: str) -> float:
        """When the data will be deleted if nobody uses it, in seconds since 1970; 0 if it is not kept."""
        try:
            return (self.folder / digest).stat().st_mtime + self.days * DAY
        except OSError:
            return 0.0

    def _note_use(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # the folder may be read-only
            if time.time() - path.stat().st_mtime > USED_AGAIN:
                os.utime(path)

    def _make_room(self, size: int) -> None:
        """Delete what has expired. Raises `ScenarioError` if the new content would still exceed the limits."""
        count, total = 0, size
        for path, status in self._entries():
            if time.time() - status.st_mtime > self.days * DAY:
                path.unlink(missing_ok=True)
            else:
                count, total = count + 1, total + status.st_size
        if count >= self.files or total > self.megabytes * 1e6:
            raise ScenarioError(
                f"This server keeps no more own data: its limit of {self.megabytes} MB or {self.files} files is reached. "
                "A reload would lose this scenario: download its file."
            )

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for entry in os.scandir(self.folder):
            if DIGEST.fullmatch(entry.name) or LEFT_OVER.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # another server deleted it
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def _limit(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 6):
        raise ScenarioError(f"{variable} = {text[:40]!r} cannot be used: allowed is a whole number from 0 to 999999.")
    return int(text)
