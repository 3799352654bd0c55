"""Verifies an audit log: every hash of the chain, and the signed checkpoints."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from iomt_core.twin.access.audit import BODY, BUSY_TIMEOUT, FILE, RECORDS, first_hash
from iomt_core.twin.access.checkpoints import Checkpoint, Checkpoints


@dataclass(frozen=True)
class Verification:
    """The result.

    records: how many were read. head: hash of the last one. checkpoints: how many agree. unsigned: records after the last
    checkpoint, which only the chain protects. first_bad: sequence number of the first record that is wrong or missing; None if
    there is none. reason: what is wrong with it.
    """

    records: int
    head: bytes
    checkpoints: int
    unsigned: int
    first_bad: int | None = None
    reason: str = ""

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.reason

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with `valid`."""
        return {**asdict(self), "head": self.head.hex(), "valid": self.valid}

    def text(self) -> str:
        """The result as a sentence."""
        if self.valid:
            return (
                f"Valid: {self.records:,} records, {self.checkpoints:,} signed checkpoints, {self.unsigned:,} records after the "
                f"last one; head {self.head.hex()}"
            )
        where = f"first bad record {self.first_bad}: " if self.first_bad is not None else ""
        return f"Invalid, {where}{self.reason}."


def verify_log(folder: Path, identifier: str, keys: Path | None = None) -> Verification:
    """Verifies the audit log in a folder, also while others write to it.

    identifier, keys: as in `AuditLog`. What is wrong with the log is in the result. Raises `AuditError` or `KeyFileError` if the
    keys or checkpoints cannot be read.
    """
    known = Checkpoints(identifier, keys)
    signed = known.all()  # before the log is read, which may be extended meanwhile
    forged = [checkpoint.size for checkpoint in signed if not known.is_valid(checkpoint)]
    checkpoints = [checkpoint for checkpoint in signed if checkpoint.size not in forged]
    chain = _Chain(identifier, checkpoints)
    reason = _read(chain, folder / FILE, identifier)
    first_bad = chain.size + 1 if reason else None
    if chain.differ or not reason:  # a checkpoint shows an error that lies before a break of the chain
        first_bad, reason = chain.compare_with_checkpoints()
    if not reason and forged:
        reason = f"the checkpoint at record {forged[0]} is not signed with the key of this folder"
    if not reason and not checkpoints:
        reason = "no checkpoint of this log was found in the folder of the keys"
    unsigned = chain.size - max((checkpoint.size for checkpoint in checkpoints), default=0)
    return Verification(chain.size, chain.head, len(chain.agreed), max(0, unsigned), first_bad, reason)


def _read(chain: _Chain, path: Path, identifier: str) -> str:
    """Reads the log into `chain`. Returns what is wrong with it, "" if nothing is."""
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=BUSY_TIMEOUT, uri=True)
        ) as connection:
            if connection.execute("SELECT identifier FROM log").fetchall() != [(identifier,)]:
                return "the log belongs to another warehouse"
            return chain.read(connection)
    except sqlite3.Error as error:
        return f"the log cannot be read: {error}" if path.exists() else "the log is missing"


class _Chain:
    """Reads a log and keeps the good part's size and head."""

    def __init__(self, identifier: str, checkpoints: list[Checkpoint]) -> None:
        self.size, self.head = 0, first_hash(identifier)
        self.checkpoints = checkpoints
        self.agreed: set[int] = set()  # sizes at which log and checkpoint agree
        self.differ: set[int] = set()

    def read(self, connection: sqlite3.Connection) -> str:
        """Reads all records. Returns what is wrong with the record after the last good one, "" if nothing is."""
        signed: dict[int, set[bytes]] = {}
        for checkpoint in self.checkpoints:
            signed.setdefault(checkpoint.size, set()).add(checkpoint.head)
        self._compare(signed.get(0), 0)
        head, size = self.head, 0
        try:
            for row in connection.execute(RECORDS):
                if row[0] != size + 1:
                    return f"record {size + 1} is missing"
                if (head := sha256(head + (BODY % row[:-1]).encode()).digest()) != row[-1]:  # `chained`, written out
                    return f"record {size + 1} was changed, or the one before was: its hash does not match"
                self.head, self.size = head, (size := size + 1)
                if size in signed:
                    self._compare(signed[size], size)
        except (TypeError, ValueError):
            return f"record {size + 1} has a field of a wrong type"
        return ""

    def _compare(self, heads: set[bytes] | None, size: int) -> None:
        if heads:
            (self.agreed if heads == {self.head} else self.differ).add(size)

    def compare_with_checkpoints(self) -> tuple[int | None, str]:
        """The first record that disagrees with a checkpoint, and how; the chain itself is valid."""
        if self.differ:
            bad = min(self.differ)
            first = max((size for size in self.agreed if size < bad), default=0) + 1
            return first, f"records {first} to {bad} were written again: they differ from the checkpoint at {bad}"
        largest = max((c.size for c in self.checkpoints), default=0)
        if largest > self.size:
            return self.size + 1, f"records {self.size + 1} to {largest} are missing: they were there at a checkpoint"
        return None, ""
