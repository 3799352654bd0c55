"""Answers to queries, paid from the privacy budget of a warehouse.

A query's debit, its answer and its audit record are committed in one transaction of the audit log, and signed, before the answer
leaves. If the process ends in between, the budget is debited, and asking again gives the same answer without another debit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from iomt_core.metrics import Metric
from iomt_core.scenario import ScenarioError, check_known
from iomt_core.scenario.errors import shortened
from iomt_core.twin.access.audit import AuditLog, Event
from iomt_core.twin.access.errors import BudgetSpentError
from iomt_core.twin.access.gate import GRANTED, Gate, Grant
from iomt_core.twin.access.privacy import QUERIES, AggregateSource, margin, mechanism, user_means
from iomt_core.twin.access.table import AGGREGATES

# `budget <> 0` lets SQLite use the index of these few records.
GRANTS = "SELECT sequence FROM record WHERE budget <> 0 AND budget > 0 LIMIT 1"
MICRO = 1_000_000  # budgets are whole millionths of ε, which add up exactly
SMALLEST, LARGEST = 0.001, 10.0  # ε of a query
LARGEST_BUDGET = 1e6  # ε
BUDGET = 10.0  # ε of a warehouse, unless another one is chosen
OWNER = "owner"  # who has the keys; grants budgets
NAMED = "named:"  # begins requests that were named by who asks
REQUEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (
    request TEXT PRIMARY KEY, sequence INTEGER NOT NULL REFERENCES record, query TEXT NOT NULL, epsilon INTEGER NOT NULL,
    low REAL NOT NULL, high REAL NOT NULL, users INTEGER NOT NULL, scale REAL NOT NULL, value REAL NOT NULL
) STRICT
"""
ANSWER = "query, epsilon, low, high, users, scale, value, request"


@dataclass(frozen=True)
class Answer:
    """An answer with noise, in SI units.

    query: a name of `QUERIES`. margin: the noise stays below it with a probability of 95 %. low, high: the range to which each
    user's mean was clamped. users: over how many users. budget_left: ε. repeated: given before, and not paid again.
    """

    query: str
    value: float
    margin: float
    epsilon: float
    low: float
    high: float
    users: int
    request: str
    budget_left: float
    repeated: bool

    @property
    def metric(self) -> Metric:
        """The metric of which this is the mean over users."""
        return QUERIES[self.query].metric

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the name of the metric."""
        return {**asdict(self), "metric": self.metric.name}

    def text(self) -> str:
        """The answer as a sentence, with units."""
        paid = "already paid" if self.repeated else f"ε = {self.epsilon:g} paid"
        return (
            f"{self.metric.label}: {self.metric.brief(self.value)} ± {self.metric.brief(self.margin)} of noise (95 %), "
            f"mean over {self.users} users; {paid}, ε = {self.budget_left:g} left."
        )


class PrivateAggregates:
    """Queries of a warehouse with differential privacy and a budget.

    source: where the sums of each user come from. gate: of the same warehouse; its audit log holds the budget. clamps: the range
    of each query, see `privacy.clamps`. budget: ε that is granted if none was granted before. Raises `AuditError`.
    """

    def __init__(
        self, source: AggregateSource, gate: Gate, clamps: Mapping[str, tuple[float, float]], budget: float = BUDGET
    ) -> None:
        self._source, self._gate, self._clamps = source, gate, clamps
        with gate.log.transaction() as transaction:
            transaction.execute(SCHEMA)
            first = transaction.execute(GRANTS).fetchone() is None
            if first:
                transaction.append(_budget_granted(budget))
        if first:
            gate.log.checkpoint()

    def grant_budget(self, epsilon: float) -> None:
        """Adds to the budget; the owner of the warehouse decides this. Raises `ScenarioError` or `AuditError`."""
        self._gate.log.append(_budget_granted(epsilon), durable=True)

    @property
    def budget_left(self) -> float:
        """ε that is left."""
        return self._gate.log.balance() / MICRO

    def query(self, grant: Grant, name: str, epsilon: float, request: str = "") -> Answer:
        """Answers a query of `QUERIES` with this ε.

        grant: for the action `query` on `AGGREGATES`. request: names the question; the same request gets the same answer
        and is paid once. By default it is query, ε and the warehouse's revision: asking again before more is recorded is free.

        Raises `BudgetSpentError`; `RefusedError` or `TokenError` for another grant; `ScenarioError` for another query or ε;
        `AuditError` if the answer cannot be recorded.
        """
        self._gate.require(grant, "query", AGGREGATES)
        check_known("query", name, tuple(QUERIES))
        price = _micro("epsilon", epsilon, LARGEST)
        if request and not REQUEST.fullmatch(request):
            raise ScenarioError(f"request = {shortened(request)}: allowed are up to 64 letters, digits and . _ -")
        revision = self._source.revision
        request = NAMED + request if request else f"{name}:{price}:{revision}"
        users, (low, high) = list(self._source.users), self._clamps[name]
        noise = mechanism(low, high, len(users), price / MICRO)
        log, subject, what = self._gate.log, str(grant.identity), f"aggregates/{name}"
        # Read before the transaction, for which other writers wait.
        sums = self._source.aggregates(revision)
        values = user_means(sums, users, QUERIES[name], (low + high) / 2)
        with log.transaction(durable=True) as transaction:
            balance = transaction.balance()
            known = transaction.execute(f"SELECT {ANSWER} FROM answer WHERE request = ?", (request,)).fetchone()
            if known is not None:
                if known[:2] != (name, price):
                    raise ScenarioError(
                        f"request = {request.removeprefix(NAMED)!r} was another query: choose another name."
                    )
                transaction.append(Event(subject, "query", what, "repeated"))
                return _answer(known, balance, repeated=True)
            if price <= balance:
                sequence = transaction.append(Event(subject, "query", what, GRANTED, -price))
                row = (name, price, low, high, len(users), noise.scale, noise.release(values), request)
                transaction.execute(f"INSERT INTO answer ({ANSWER}, sequence) VALUES (?{', ?' * 8})", (*row, sequence))
                return _answer(row, balance - price, repeated=False)  # after the commit and its checkpoint
            transaction.append(Event(subject, "query", what, "refused: budget"))
        raise BudgetSpentError(
            f"the privacy budget is too small: the query costs ε = {price / MICRO:g}, and ε = {balance / MICRO:g} is left."
        )


def budget_left(log: AuditLog, budget: float = BUDGET) -> float:
    """ε that is left in a log; `budget`, which a first query would grant, if nothing was granted yet."""
    with log.transaction() as transaction:
        granted = transaction.execute(GRANTS).fetchone() is not None
        return transaction.balance() / MICRO if granted else budget


def _answer(row: Sequence[Any], balance: int, repeated: bool) -> Answer:
    name, price, low, high, users, scale, value, request = row
    return Answer(
        name,
        value,
        margin(scale),
        price / MICRO,
        low,
        high,
        users,
        request.removeprefix(NAMED),
        balance / MICRO,
        repeated,
    )


def _budget_granted(epsilon: float) -> Event:
    return Event(OWNER, "grant", "budget", GRANTED, _micro("budget", epsilon, LARGEST_BUDGET))


def _micro(name: str, epsilon: float, largest: float) -> int:
    """ε in millionths. Raises `ScenarioError` if it is out of range."""
    if not SMALLEST <= epsilon <= largest:  # NaN neither
        raise ScenarioError(f"{name} = {epsilon:g} is out of range: allowed is {SMALLEST:g} to {largest:g}.")
    return round(epsilon * MICRO)
