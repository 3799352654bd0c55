"""Means over the users of a ward with differential privacy (OpenDP's Laplace mechanism).

The privacy unit is a whole user. Every user contributes one number, the mean over all of the user's own tasks, clamped to a range
that does not depend on data; so it does not matter how many tasks a user has. Answers are ε-differentially private with respect
to replacing everything recorded of one user by anything else, or by nothing. The number of users is public. A user of whom
nothing can be read, for example one who was forgotten, counts as the middle of the range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol

import pandas as pd

from iomt_core.metrics import METRICS, Metric
from iomt_core.scenario import Scenario, ScenarioError

REPLACED_USER = 2  # distance of data sets that differ in one user, as OpenDP counts: one row removed, one added
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Query:
    """A question: the mean over users of the ratio of two sums over each user's own tasks.

    metric: whose label and unit the answer has. numerator, denominator: columns of `AggregateSource.aggregates`.
    """

    metric: Metric
    numerator: str
    denominator: str


QUERIES: Mapping[str, Query] = MappingProxyType(
    {
        "mean-delay": Query(METRICS["mean_delay_s"], "delay_s", "done"),
        "mean-energy": Query(METRICS["mean_energy_j"], "energy_j", "done"),
        "mean-cost": Query(METRICS["cost"], "weighted_cost", "weight"),
        "miss-share": Query(METRICS["deadline_miss_share"], "misses", "tasks"),
        "local-share": Query(METRICS["local_share"], "local", "tasks"),
    }
)
SUMS = tuple(sorted({name for query in QUERIES.values() for name in (query.numerator, query.denominator)}))


class AggregateSource(Protocol):
    """What queries need of a data warehouse."""

    @property
    def users(self) -> Sequence[int]:
        """All users of the ward, by their numbers, forgotten ones too; public."""

    @property
    def revision(self) -> int:
        """The latest revision; public. It does not change while nothing is recorded or forgotten."""

    def aggregates(self, at: int) -> pd.DataFrame:
        """One row for each user of whom something can be read at this revision: `user` and the columns `SUMS`."""


def task_sums(table: pd.DataFrame) -> pd.DataFrame:
    """The sums of each user, as `AggregateSource.aggregates` has them, of a table of tasks (`Record.table`)."""
    done = ~table["skipped"]  # a skipped task has no delay and takes no energy
    columns = {
        "weighted_cost": table["cost"] * table["weight"],
        "delay_s": table["delay_s"].where(done, 0.0),
        "done": done,
        "energy_j": table["energy_j"].where(done, 0.0),
        "local": (table["choice"] == 0) & done,
        "misses": table["deadline_missed"],
        "tasks": pd.Series(1, index=table.index),
        "weight": table["weight"],
    }
    return pd.DataFrame(columns).astype(float).groupby(table["user"]).sum().reset_index()


def clamps(s: Scenario) -> Mapping[str, tuple[float, float]]:
    """The range to which a user's mean is clamped, in SI units: up to T_max, E_ref, a cost of 1, all tasks."""
    upper = {"mean-delay": float(s.T_max), "mean-energy": float(s.E_ref)}
    return MappingProxyType({name: (0.0, upper.get(name, 1.0)) for name in QUERIES})


def user_means(sums: pd.DataFrame, users: Sequence[int], query: Query, middle: float) -> list[float]:
    """One number a user: the mean over the user's own tasks; `middle` where there are none.

    Raises `ValueError` unless `sums` has at most one row for each of `users`, and none for anybody else.
    """
    if sums["user"].duplicated().any() or not set(sums["user"]) <= set(users):
        raise ValueError("aggregates have one row a user, and only users of the ward")
    columns = sums[["user", query.numerator, query.denominator]].itertuples(index=False)
    means = {int(user): total / count if count else math.nan for user, total, count in columns}
    return [middle if math.isnan(means.get(user, math.nan)) else means[user] for user in users]


@dataclass(frozen=True)
class Mechanism:
    """A mean with noise.

    low, high: the clamp. users: how many. epsilon: the privacy loss, certified by OpenDP. scale: of the Laplace noise.
    """

    low: float
    high: float
    users: int
    epsilon: float
    scale: float
    measurement: Any

    def release(self, values: Sequence[float]) -> float:
        """The mean of the clamped values, with noise. It can lie outside the clamp; cutting it there would bias means of answers.

        values: (users,). Raises `ValueError` for another number of values.
        """
        if len(values) != self.users:
            raise ValueError(f"{len(values)} values for {self.users} users")
        return float(self.measurement([float(value) for value in values]))


def margin(scale: float) -> float:
    """Laplace noise of this scale stays below this with a probability of `CONFIDENCE`."""
    return scale * math.log(1 / (1 - CONFIDENCE))


@lru_cache(maxsize=64)
def mechanism(low: float, high: float, users: int, epsilon: float) -> Mechanism:
    """The mechanism with the least noise for this ε. Raises `ScenarioError` if there is no user."""
    if users < 1:
        raise ScenarioError("the warehouse has no users: there is nothing to ask.")
    dp: Any = import_module("opendp.prelude")  # takes a third of a second, and only queries need it
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False), size=users), dp.symmetric_distance()

    def measurement(scale: float) -> Any:
        return space >> dp.t.then_clamp((low, high)) >> dp.t.then_mean() >> dp.m.then_laplace(scale)

    sensitivity = (high - low) / users
    bounds = (sensitivity / epsilon / 2, sensitivity / epsilon * 2)
    scale = float(dp.binary_search_param(measurement, d_in=REPLACED_USER, d_out=epsilon, bounds=bounds))
    return Mechanism(low, high, users, epsilon, scale, measurement(scale))
