"""A metric of the same episodes on two sides: the mean difference and its 95 % interval (Student, paired)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from iomt_core.experiments.statistics import Interval, mean, mean_interval, standard_error
from iomt_core.metrics import Metric

# A relative difference below this is rounding: the order of a sum depends on the tensors' shape.
ROUNDING = 1e-9
Verdict = Literal["the same", "better", "worse", "not distinguishable"]


def percent(change: float) -> str:
    """A relative change with three significant digits: `+17.5 %`; `about 0` below 0.005 %."""
    return "about 0" if abs(change) < 5e-5 else f"{100 * change:+.3g} %"


@dataclass(frozen=True)
class Paired:
    """One metric on both sides, with one SI value for each episode; episodes in which it is undefined on a side are left out."""

    metric: Metric
    a: tuple[float, ...]
    b: tuple[float, ...]

    @classmethod
    def of(cls, metric: Metric, a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]]) -> Paired:
        """The metric of the same episodes from the sums of both sides, see `evaluation.Summary`."""
        values = zip(metric.per_episode(a), metric.per_episode(b), strict=True)
        pairs = [(x, y) for x, y in values if math.isfinite(x) and math.isfinite(y)]
        return cls(metric, tuple(x for x, _ in pairs), tuple(y for _, y in pairs))

    @cached_property
    def mean_a(self) -> float:
        """Mean over episodes of A."""
        return mean(self.a)

    @cached_property
    def mean_b(self) -> float:
        """Mean over episodes of B."""
        return mean(self.b)

    @cached_property
    def differences(self) -> list[float]:
        """B - A of each episode."""
        return [y - x for x, y in zip(self.a, self.b, strict=True)]

    @cached_property
    def difference(self) -> float:
        """Mean of B - A."""
        return mean(self.differences)

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval of the mean difference (Student, paired); `None` for fewer than two episodes."""
        return mean_interval(self.differences)

    @property
    def interval_text(self) -> str:
        """The interval of B - A in the unit of the metric: `+0.7229 to +0.8001 ms`; empty for fewer than two episodes."""
        if self.interval is None:
            return ""
        low, high = map(self.metric.show_difference, self.interval)
        unit = f" {self.metric.difference_unit}"
        return f"{low.removesuffix(unit) if high.endswith(unit) else low} to {high}"

    @cached_property
    def relative(self) -> float | None:
        """Mean difference relative to A's mean; `None` where that is 0."""
        return None if self._is_rounding(self.mean_a) else self.difference / abs(self.mean_a)

    @cached_property
    def relative_interval(self) -> Interval | None:
        """The interval relative to A's mean, which is taken as fixed."""
        if self.interval is None or self._is_rounding(self.mean_a):
            return None
        return [end / abs(self.mean_a) for end in self.interval]

    @cached_property
    def narrowing(self) -> float | None:
        """How many times as wide the interval would be if the two sides' episodes were independent; `None` if undefined."""
        if len(self.a) < 2 or self.same or not (width := standard_error(self.differences)):
            return None
        return math.hypot(standard_error(self.a), standard_error(self.b)) / width

    @cached_property
    def same(self) -> bool:
        """Whether A and B are equal in every episode up to rounding."""
        return all(self._is_rounding(x) for x in self.differences)

    @cached_property
    def excludes_zero(self) -> bool | None:
        """Whether the interval excludes 0; `None` where there is none."""
        if self.interval is None:
            return None
        low, high = self.interval
        return not self.same and (low > 0 or high < 0)

    @property
    def verdict(self) -> Verdict:
        """What B does to the metric, where the 95 % interval permits to say so."""
        if self.same:
            return "the same"
        if not self.excludes_zero:
            return "not distinguishable"
        return "worse" if (self.difference > 0) == (self.metric.better == "lower") else "better"

    @property
    def change_words(self) -> str:
        """The change as text: `+17.5 % (+15.2 to +19.9)`, of percentages `-0.52 percentage points`, `about 0`, `±0`."""
        if self.same:
            return "±0"
        difference = self.metric.show_difference(self.difference)
        if self.relative is None:
            return f"0 in A, {difference} in B"
        if self.metric.unit == "%":
            return difference
        return percent(self.relative) + (f" ({self._ends})" if self.relative_interval else "")

    @property
    def interval_words(self) -> str:
        """How sure the relative change is: `95 % interval +15.2 to +19.9 %, 10 episodes`."""
        if self.relative_interval is None:
            return "one episode, no interval" if len(self.a) == 1 else f"{len(self.a)} episodes"
        return f"95 % interval {self._ends} %, {len(self.a)} episodes"

    @property
    def _ends(self) -> str:
        return " to ".join(percent(end).removesuffix(" %") for end in self.relative_interval or ())

    def _is_rounding(self, value: float) -> bool:
        scale = max((abs(x) for x in (*self.a, *self.b)), default=0.0)
        # A gap is a ratio minus 1 and has the ratio's precision.
        return abs(value) <= ROUNDING * max(scale, -self.metric.offset)
