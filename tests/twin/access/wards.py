"""A small ward's aggregates, and a gate with tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from iomt_core.twin.access import AGGREGATES, AuditLog, Gate, Grant, Identity
from iomt_core.twin.access.identity import KEY, issue_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.access.ledger import PrivateAggregates
from iomt_core.twin.access.privacy import QUERIES, SUMS

WAREHOUSE = "ward-1"
CLAMPS = dict.fromkeys(QUERIES, (0.0, 1.0))


@dataclass
class Source:
    """Users whose mean of every metric is the given number; None: nothing of the user can be read."""

    means: list[float | None] = field(default_factory=lambda: [0.5] * 8)
    recorded: int = 1

    @property
    def users(self) -> Sequence[int]:
        return range(1, len(self.means) + 1)

    @property
    def revision(self) -> int:
        return self.recorded

    def aggregates(self, at: int) -> pd.DataFrame:
        return pd.DataFrame(
            [sums(user, mean) for user, mean in zip(self.users, self.means, strict=True) if mean is not None]
        )


def sums(user: int, mean: float, tasks: int = 10) -> dict[str, float]:
    counts = ("tasks", "done", "weight")
    return {"user": user, **{name: tasks if name in counts else mean * tasks for name in SUMS}}


def token(identity: str, audience: str = WAREHOUSE, lifetime: float = 60.0) -> str:
    return issue_token(Identity.parse(identity), audience, lifetime, signing_key(KEY))


def gate(log: AuditLog) -> Gate:
    return Gate(log, signing_key(KEY).public_key())


def aggregates(log: AuditLog, source: Source | None = None, budget: float = 2.0) -> tuple[PrivateAggregates, Grant]:
    opened = gate(log)
    grant = opened.authorise(token("operator"), "query", AGGREGATES)
    return PrivateAggregates(source or Source(), opened, CLAMPS, budget), grant
