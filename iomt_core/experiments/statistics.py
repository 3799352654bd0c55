"""Means and differences with 95 % intervals, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from scipy import stats

Interval = list[float]  # low and high end; a list, as JSON has it


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of no values."""
    return math.fsum(values) / len(values) if values else math.nan


def mean_interval(values: Sequence[float]) -> Interval | None:
    """95 % interval of the mean; `None` for fewer than two values."""
    if len(values) < 2:
        return None
    half = _quantile(len(values) - 1) * float(stats.sem(values))
    return [mean(values) - half, mean(values) + half]


def difference_interval(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """95 % interval of mean(a) - mean(b), independent samples of unequal variance (Welch); `None` for fewer than two of one."""
    if min(len(a), len(b)) < 2:
        return None
    found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return [float(found.low), float(found.high)]


@lru_cache(maxsize=64)
def _quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t, kept because the call takes longer than all else here."""
    return float(stats.t.ppf(0.975, freedom))
