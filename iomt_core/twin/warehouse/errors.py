"""Errors of the data warehouse, and the hook for an audit log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from iomt_core.scenario import ScenarioError

# Called with the name of an event and its facts, which never hold recorded values: what was done, to whose data, how much.
Audit = Callable[[str, Mapping[str, str | int]], None]


def no_audit(event: str, facts: Mapping[str, str | int]) -> None:
    """The hook of a warehouse without an audit log."""


class WarehouseError(ScenarioError):
    """A warehouse cannot be used as asked; the message says what to do."""


class KeyMissingError(WarehouseError):
    """The key of a user is not in the key folder, or not for this caller."""


class DiskFullError(WarehouseError):
    """A commit did not fit on the disk or into the configured size; nothing of it was kept."""


class DamagedError(WarehouseError):
    """Stored data were changed, swapped or truncated, or the key is wrong; names file, user and segment.

    segment: which segment, such as "segment 7 (tasks 513 to 1024)"; empty if the file as a whole is meant. log, sequence: log
    and number of the first record that cannot be trusted; "" and 0 if they are not known.
    """

    def __init__(
        self, file: Path, reason: str, user: int = 0, segment: str = "", sequence: int = 0, log: str = ""
    ) -> None:
        self.file, self.user, self.segment, self.reason = file, user, segment, reason
        self.sequence, self.log = sequence, log
        where = f"file {str(file)!r}" + f", user {user}" * bool(user) + f", {segment}" * bool(segment)
        super().__init__(f"{where}: {reason}")
