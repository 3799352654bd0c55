"""Signed checkpoints of an audit log: its size and last hash at some moment, signed with Ed25519.

They are kept outside the log's folder. A chain of hashes shows a changed record only if the records after it were not hashed
again; with the checkpoints, a log that was shortened or written again completely is found too.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from iomt_core.paths import keys_folder
from iomt_core.twin.access.errors import AuditError
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.key_files import make_private_folder, write_key_file

KEY = "audit"  # name of the signing key
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Checkpoint:
    """The log had `size` records and this hash at its head. time_ns: since 1970."""

    log: str
    size: int
    head: bytes
    time_ns: int
    signature: bytes = b""

    @property
    def message(self) -> bytes:
        """What is signed."""
        return f"iomt audit checkpoint\n{self.log}\n{self.size}\n{self.head.hex()}\n{self.time_ns}".encode()

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Whether the signature is valid."""
        try:
            key.verify(self.signature, self.message)
        except InvalidSignature:
            return False
        return True

    def line(self) -> bytes:
        """A line of the file."""
        fields = {
            "log": self.log, "size": self.size, "head": self.head.hex(), "time_ns": self.time_ns,
            "signature": self.signature.hex(),
        }  # fmt: skip
        return json.dumps(fields).encode() + b"\n"


class Checkpoints:
    """The checkpoints of one log, in a file that only grows.

    log: identifier of the log. keys: folder of the keys, default `keys_folder()`; the file is in its folder `checkpoints`. Raises
    `AuditError` for an identifier that is no file name, `KeyFileError` if there is no usable key.
    """

    def __init__(self, log: str, keys: Path | None = None) -> None:
        if not IDENTIFIER.fullmatch(log):
            raise AuditError("the identifier of a log has letters, digits, _ and - only, at most 64.")
        folder = keys or keys_folder()
        self.log, self.path = log, folder / "checkpoints" / f"{log}.jsonl"
        self._key = signing_key(KEY, folder)
        self.public_key = self._key.public_key()
        make_private_folder(self.path.parent)

    def sign(self, size: int, head: bytes) -> Checkpoint:
        """Adds a checkpoint to the file; it survives a power loss. Raises `AuditError`."""
        unsigned = Checkpoint(self.log, size, head, time.time_ns())
        signed = Checkpoint(self.log, size, head, unsigned.time_ns, self._key.sign(unsigned.message))
        try:
            if not self.path.exists():
                write_key_file(self.path, b"", replace=False)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                # One call for the whole line: lines of two processes never mix. The first newline ends a line that a power
                # loss may have cut.
                line = b"\n" + signed.line()
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise AuditError(f"the checkpoint of the audit log cannot be written: {error.strerror}.") from None
        return signed

    def all(self) -> list[Checkpoint]:
        """All checkpoints by size, the signatures not verified. Raises `AuditError` if the file cannot be read."""
        try:
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        except OSError as error:
            raise AuditError(f"the checkpoints {self.path} cannot be read: {error.strerror}.") from None
        return sorted(_parse(lines), key=lambda checkpoint: checkpoint.size)

    def last(self) -> Checkpoint | None:
        """The checkpoint with the largest size, None if there is none. Raises `AuditError` if its signature is invalid."""
        found = self.all()
        if not found:
            return None
        if not self.is_valid(found[-1]):
            raise AuditError(f"the last checkpoint in {self.path} is not signed with the key of this folder.")
        return found[-1]

    def is_valid(self, checkpoint: Checkpoint) -> bool:
        """Whether it belongs to this log and is signed with this folder's key."""
        return checkpoint.log == self.log and checkpoint.is_signed_by(self.public_key)


def _parse(lines: list[bytes]) -> Iterator[Checkpoint]:
    """The complete lines; one that a power loss cut is left out."""
    for line in lines:
        try:
            fields = json.loads(line)
            yield Checkpoint(
                str(fields["log"]), int(fields["size"]), bytes.fromhex(fields["head"]), int(fields["time_ns"]),
                bytes.fromhex(fields["signature"]),
            )  # fmt: skip
        except (ValueError, TypeError, KeyError):
            continue
