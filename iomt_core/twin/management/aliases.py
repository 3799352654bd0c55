"""Aliases of model versions, such as `champion`: everywhere, or for one scenario. Their changes are a log that only grows.

The log is an `AuditLog`: a chain of hashes with signed checkpoints outside of it, so that a changed, shortened or rewritten log
is found, and every change is one durable transaction. What an alias means now follows from the log alone.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from iomt_core.scenario import Scenario, ScenarioError, os_errors
from iomt_core.training.versions import SHORT, models_root
from iomt_core.twin.access.audit import RECORDS, AuditLog, Event
from iomt_core.twin.access.errors import AuditError
from iomt_core.twin.access.verification import Verification, verify_log
from iomt_core.twin.key_files import write_key_file

CHAMPION = "champion"  # the usual alias
ALIAS = re.compile(r"[a-z][a-z0-9-]{0,29}")
EVERYWHERE = "everywhere"
LOG, IDENTITY = "aliases", "identity"  # in the folder of the registry
LONGEST_WHY, LONGEST_WHO, LONGEST_NAME = 120, 60, 40  # characters
DIGITS = 16  # of a scenario's digest in the log
PROMOTE, ROLL_BACK, NOTHING = "promote", "rollback", "none"
RECORD = re.compile(r"([a-z][a-z0-9-]*)@(.+)=([0-9a-f]{64})")
OUTCOME = re.compile(rf"([0-9a-f]{{{SHORT}}}|{NOTHING}) (.+)")


@dataclass(frozen=True)
class Change:
    """A record of the log.

    action: "promote" or "rollback". scope: "everywhere", or name and digest of a scenario, "paper:76be9f9e73ffe889". before:
    first digits of the version that the alias meant, "" if it meant none. after: full hash of the version that it means since.
    """

    sequence: int
    time: datetime
    who: str
    action: str
    alias: str
    scope: str
    before: str
    after: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "time": self.time.isoformat(timespec="seconds")}


def scope_of(s: Scenario | None) -> str:
    """The scope of a scenario's aliases: equal scenarios have the same digest. None: everywhere."""
    if s is None:
        return EVERYWHERE
    name = "".join(letter if letter.isprintable() else " " for letter in s.name)[:LONGEST_NAME].strip() or "scenario"
    return f"{name}:{s.digest[:DIGITS]}"


def scope_key(scope: str) -> str:
    """What two names of the same scope have in common."""
    return scope.rpartition(":")[2]


def checked_alias(alias: str) -> str:
    """Returns the alias. Raises `ScenarioError` if it is not one."""
    if not ALIAS.fullmatch(alias):
        raise ScenarioError(
            f"alias = {alias[:60]!r} cannot be used: allowed are 1 to 30 of a-z, 0-9 and -, a letter first."
        )
    return alias


def changes() -> tuple[Change, ...]:
    """All changes, the earliest first. Raises `AuditError` if the log was changed or cannot be read."""
    with _open(create=False) as log:
        if log is None:
            return ()
        found = verify_log(log.path.parent, log.identifier)
        if not found.valid:
            raise AuditError(f"the log of aliases {str(log.path)!r} is not what was written. {found.text()}")
        with log.transaction() as transaction:
            return _changes(transaction.execute)


def verification() -> Verification | None:
    """The check of the log's hashes and signed checkpoints; None if there is no log yet."""
    identity = _identity(create=False)
    return verify_log(models_root() / LOG, identity) if identity else None


def history(found: Sequence[Change]) -> dict[tuple[str, str], list[str]]:
    """The versions that each alias has meant, by alias and `scope_key`; the last one is what it means now.

    A promotion adds a version, a rollback removes the last one.
    """
    result: dict[tuple[str, str], list[str]] = {}
    for one in found:
        versions = result.setdefault((one.alias, scope_key(one.scope)), [])
        if one.action == ROLL_BACK:
            versions.pop()
        else:
            versions.append(one.after)
    return result


def current(alias: str, s: Scenario | None) -> str | None:
    """The version that an alias means in a scenario: its own one, otherwise the one for everywhere; None if there is none."""
    known = history(changes())
    for scope in dict.fromkeys((scope_of(s), EVERYWHERE)):
        if versions := known.get((alias, scope_key(scope))):
            return versions[-1]
    return None


def point(alias: str, version: str, who: str, why: str, s: Scenario | None = None) -> Change:
    """Lets an alias mean a version. On return the change is on disk and signed. Raises `ScenarioError`."""

    def next_version(versions: list[str]) -> str:
        if versions and versions[-1] == version:
            raise ScenarioError(f"alias = {alias!r} means version {version[:SHORT]} already.")
        return version

    return _append(PROMOTE, alias, who, why, s, next_version)


def roll_back(alias: str, who: str, why: str, s: Scenario | None = None) -> Change:
    """Lets an alias mean again what it meant before. Nothing is removed: this is a change too. Raises `ScenarioError`."""

    def previous(versions: list[str]) -> str:
        if len(versions) < 2:
            where = "everywhere" if s is None else f"in the scenario {s.name!r}"
            raise ScenarioError(f"alias = {alias!r} has no earlier version {where}: nothing can be rolled back.")
        return versions[-2]

    return _append(ROLL_BACK, alias, who, why, s, previous)


def _append(
    action: str, alias: str, who: str, why: str, s: Scenario | None, choose: Callable[[list[str]], str]
) -> Change:
    checked_alias(alias)
    who, why = _one_line("who", who, LONGEST_WHO), _one_line("reason", why, LONGEST_WHY)
    scope = scope_of(s)
    with _open(create=True) as log:
        assert log is not None
        with log.transaction(durable=True) as transaction:  # no other process can change the alias in between
            versions = history(_changes(transaction.execute)).get((alias, scope_key(scope)), [])
            after = choose(versions)
            before = versions[-1][:SHORT] if versions else NOTHING
            transaction.append(Event(who, action, f"{alias}@{scope}={after}", f"{before} {why}"))
            return _changes(transaction.execute)[-1]


def _changes(execute: Callable[[str], Any]) -> tuple[Change, ...]:
    found = []
    for sequence, time_ns, who, action, target, outcome, _, _ in execute(RECORDS):
        named, reasons = RECORD.fullmatch(target), OUTCOME.fullmatch(outcome)
        if named is None or reasons is None:
            raise AuditError(f"the log of aliases has a record {sequence} that is none of an alias.")
        before = "" if reasons[1] == NOTHING else reasons[1]
        moment = datetime.fromtimestamp(time_ns / 1e9, UTC)
        found.append(Change(sequence, moment, who, action, named[1], named[2], before, named[3], reasons[2]))
    return tuple(found)


def _one_line(name: str, text: str, longest: int) -> str:
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if not words or len(words) > longest:
        raise ScenarioError(f"{name} = {words[:60]!r} cannot be used: allowed are 1 to {longest} characters.")
    return words


@contextmanager
def _open(create: bool) -> Iterator[AuditLog | None]:
    """The log; None if there is none and none is to be made."""
    identity = _identity(create)
    if identity is None:
        yield None
        return
    with AuditLog(models_root() / LOG, identity) as log:
        yield log


def _identity(create: bool) -> str | None:
    """The identifier of this registry's log; None if there is no log and none is to be made."""
    path = models_root() / IDENTITY
    with os_errors(f"file {str(path)!r} cannot be used"):
        if create and not path.exists():
            write_key_file(path, f"models-{uuid.uuid4().hex}".encode(), replace=False)
        with contextlib.suppress(FileNotFoundError):
            return path.read_text(encoding="ascii", errors="replace").strip()
    return None
