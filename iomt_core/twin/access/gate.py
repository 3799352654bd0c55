"""The gate: checks a token and the table of permissions, and writes every decision to the audit log."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from iomt_core.twin.access.audit import LONGEST_FIELD, AuditLog, Event
from iomt_core.twin.access.errors import RefusedError, TokenError
from iomt_core.twin.access.identity import Identity, verify_token
from iomt_core.twin.access.table import TABLE, WORD, Permission, Resource, is_permitted, refusal

UNKNOWN = "unknown"  # the subject where a token was not accepted: what it says about itself is not believed
GRANTED = "granted"
PERIOD = 60.0  # seconds for which tokens that are not accepted are counted, after the first of them was recorded


@dataclass(frozen=True)
class Grant:
    """A permission that was checked once, for a session or batch; it ends when its token does."""

    identity: Identity
    action: str
    resource: Resource
    expires: float  # seconds since 1970


class Gate:
    """Decides for one warehouse who may do what. Several threads may use it.

    Every decision about a known identity is a record. Of the tokens that are not accepted, the first of a minute is, and then the
    number of the others: whoever has no valid token must not be able to fill the disk.

    log: its audit log; tokens must be for the log's identifier. key: with which tokens are verified. table: what is permitted.
    """

    def __init__(self, log: AuditLog, key: Ed25519PublicKey, table: Collection[Permission] = TABLE) -> None:
        self.log, self._key, self._table = log, key, table
        self._lock = threading.Lock()
        self._since, self._uncounted = (
            -math.inf,
            0,
        )  # when the last token was refused with a record, and how many since without

    def authorise(self, token: str, action: str, resource: Resource) -> Grant:
        """Checks token and table, for a whole session or batch, and records the decision.

        Raises `TokenError` or `RefusedError`, and `AuditError` if the decision cannot be recorded.
        """
        try:
            verified = verify_token(token, self.log.identifier, self._key)
        except TokenError as error:
            self._refuse_unknown(_event(UNKNOWN, action, resource, f"refused: {error}"))
            raise
        if not is_permitted(verified.identity, action, resource, self._table):
            raise self._refused(verified.identity, action, resource)
        self._record(str(verified.identity), action, resource, GRANTED)
        return Grant(verified.identity, action, resource, verified.expires)

    def require(self, grant: Grant, action: str, resource: Resource) -> None:
        """Checks that a grant covers this action and has not ended; only refusals are recorded. Raises as `authorise` does."""
        if grant.action != action or grant.resource != resource:
            raise self._refused(grant.identity, action, resource)
        if time.time() >= grant.expires:
            self._record(str(grant.identity), action, resource, "refused: the token has expired")
            raise TokenError("the token has expired during the session: ask for a new one.")

    def absent(self, grant: Grant, reason: str) -> RefusedError:
        """The error for an object that is not there, for somebody who may know it: with the reason, and recorded."""
        self._record(str(grant.identity), grant.action, grant.resource, "absent")
        return RefusedError(f"{grant.resource} is not there: {reason}")

    def _refused(self, identity: Identity, action: str, resource: Resource) -> RefusedError:
        self._record(str(identity), action, resource, "refused: not permitted")
        return refusal(identity, action, resource, self._table)

    def count_refused(self) -> None:
        """Records how many tokens were not accepted, unless a minute has to pass before. Raises `AuditError`."""
        self._refuse_unknown()

    def close(self) -> None:
        """Records how many tokens were not accepted since the last record. Raises `AuditError`."""
        self._since = -math.inf
        self._refuse_unknown()

    def _refuse_unknown(self, *refused: Event) -> None:
        with self._lock:
            if time.monotonic() - self._since < PERIOD:
                self._uncounted += len(refused)
                return
            events = list(refused)
            if self._uncounted:
                outcome = f"refused: {self._uncounted} more tokens"
                events.insert(0, Event(UNKNOWN, "show", "tokens", outcome))
            if events:
                self.log.append(*events)
                self._since, self._uncounted = time.monotonic(), 0

    def _record(self, subject: str, action: str, resource: Resource, outcome: str) -> None:
        self.log.append(_event(subject, action, resource, outcome))


def _event(subject: str, action: str, resource: Resource, outcome: str) -> Event:
    known = action if WORD.fullmatch(action) else UNKNOWN  # what strangers write does not get into the log
    return Event(subject, known, str(resource), outcome[:LONGEST_FIELD])
