"""Audit records of what a data warehouse does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from iomt_core.twin.access.audit import AuditLog, Event

DONE = "done"
AUDIT_FOLDER = "access"  # of the audit log, in the warehouse's directory


def audit_hook(log: AuditLog, subject: str) -> Callable[[str, Mapping[str, str | int]], None]:
    """A hook for a warehouse, which calls it with the name of an event and its facts.

    subject: who uses the warehouse, for example `str(grant.identity)`. The record has the event as its action, and of the facts
    only `user` and `revision`, as in `warehouse/3@17`.
    """

    def record(event: str, facts: Mapping[str, str | int]) -> None:
        user = f"/{facts['user']}" if "user" in facts else ""
        revision = f"@{facts['revision']}" if "revision" in facts else ""
        log.append(Event(subject, event, f"warehouse{user}{revision}", DONE))

    return record
