"""The evaluations that an answer is made of: metrics of a policy on a ward, with one value for each episode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.statistics import Interval, mean_interval, share_interval
from iomt_core.metrics import Metric
from iomt_core.scenario import Scenario

Key = tuple[str, str]  # a scenario's digest, and a policy


@dataclass(frozen=True)
class Evaluation:
    """A policy on a ward; `reason` says why it cannot decide there, and is empty if it can."""

    scenario: Scenario
    policy: str
    network: str  # which one decided; empty for policies without networks
    reason: str
    sums: Mapping[str, Sequence[float]]  # one value for each episode, see `evaluation.Summary`

    def mean(self, metric: Metric) -> float:
        """The metric over all episodes; NaN if the policy cannot decide."""
        return math.nan if self.reason else metric.aggregate({name: math.fsum(x) for name, x in self.sums.items()})

    def interval(self, metric: Metric) -> Interval | None:
        """95 % interval of the metric over episodes (Student); None for fewer than two.

        Of the share of episodes that ended early it is the exact binomial one (Clopper and Pearson), because 5 of 5 episodes
        without an end do not prove that there is none. No interval of these metrics, all 0 or more, reaches below 0.
        """
        if self.reason:
            return None
        values = [x for x in metric.per_episode(self.sums) if math.isfinite(x)]
        if metric.numerator == "ended":
            return share_interval(round(math.fsum(values)), len(values))
        interval = mean_interval(values)
        return interval and [max(0.0, interval[0]), interval[1]]

    @property
    def complete(self) -> bool:
        """Whether the policy decided and did everything: no battery ended an episode early, and no task was skipped."""
        return not self.reason and not any(self.sums["ended"]) and not any(self.sums.get("skipped", ()))


@dataclass(frozen=True)
class Results:
    """Results of points, as `points.compute` returns them, by scenario and policy."""

    found: Mapping[Key, Mapping[str, Any]]

    def of(self, s: Scenario, policy: str) -> Evaluation | None:
        """The evaluation of a policy on a ward; None if it is not known yet."""
        result = self.found.get((s.digest, policy))
        if result is None:
            return None
        return Evaluation(s, policy, result.get("network") or "", result.get("reason") or "", result.get("sums") or {})


def paired(metric: Metric, a: Evaluation, b: Evaluation) -> Paired:
    """A metric of the same episodes in two evaluations; both policies decided."""
    return Paired.of(metric, a.sums, b.sums)
