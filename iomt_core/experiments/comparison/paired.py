"""A figure of the same episodes on two sides: the mean difference, and how sure it is (Student, paired)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from scipy import stats

# A difference smaller than this part of the figures themselves is rounding: tensors of another shape add up otherwise.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Figure:
    """One of the figures compared: `above` over `below`, sums over an episode, less `less`; SI times `factor` is in `unit`."""

    name: str
    label: str
    unit: str
    factor: float
    above: str
    below: str
    meaning: str
    better: str  # "lower", "higher" or nothing where neither is
    less: float = 0.0


@dataclass(frozen=True)
class Paired:
    """One figure on both sides, an entry an episode, in SI; episodes in which it is undefined on a side are left out."""

    figure: Figure
    a: tuple[float, ...]
    b: tuple[float, ...]

    @cached_property
    def mean_a(self) -> float:
        """Mean over episodes of A."""
        return _mean(self.a)

    @cached_property
    def mean_b(self) -> float:
        """Mean over episodes of B."""
        return _mean(self.b)

    @cached_property
    def differences(self) -> list[float]:
        """B - A of each episode."""
        return [y - x for x, y in zip(self.a, self.b, strict=True)]

    @cached_property
    def difference(self) -> float:
        """Mean of B - A."""
        return _mean(self.differences)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean difference (Student, paired); nothing where there are fewer than two episodes."""
        found = self.differences
        if len(found) < 2:
            return None
        half = student(len(found) - 1) * float(stats.sem(found))
        return self.difference - half, self.difference + half

    @cached_property
    def relative(self) -> float | None:
        """Mean difference as part of A's mean; nothing where that is 0."""
        return None if self._nothing(self.mean_a) else self.difference / abs(self.mean_a)

    @cached_property
    def relative_interval(self) -> tuple[float, float] | None:
        """The interval as part of A's mean, which is taken as fixed."""
        if self.interval is None or self._nothing(self.mean_a):
            return None
        return self.interval[0] / abs(self.mean_a), self.interval[1] / abs(self.mean_a)

    @cached_property
    def narrowing(self) -> float | None:
        """How many times as wide the interval would be, were the two sides' episodes independent; nothing where undefined."""
        if len(self.a) < 2 or self.same or not (width := stats.sem(self.differences)):
            return None
        return math.hypot(float(stats.sem(self.a)), float(stats.sem(self.b))) / float(width)

    @cached_property
    def same(self) -> bool:
        """Whether A and B are equal in every episode, but for rounding."""
        return all(self._nothing(x) for x in self.differences)

    @cached_property
    def excludes_zero(self) -> bool | None:
        """Whether the interval leaves 0 out; nothing where there is none."""
        if self.interval is None:
            return None
        low, high = self.interval
        return not self.same and (low > 0 or high < 0)

    def _nothing(self, value: float) -> bool:
        scale = max((abs(x) for x in (*self.a, *self.b)), default=0.0)
        # A gap is a ratio less 1: it is as exact as the ratio.
        return abs(value) <= ROUNDING * max(scale, self.figure.less)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


@lru_cache(maxsize=64)
def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with so many degrees of freedom: half of a 95 % interval, in standard errors."""
    return float(stats.t.ppf(0.975, freedom))
