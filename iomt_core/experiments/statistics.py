"""Means with 95 % intervals, by Student's t.

Not from `scipy.stats`, whose import takes 0.4 s: every command and every worker would wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from scipy import special

Interval = list[float]  # low and high end; a list, as JSON has it


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of no values."""
    return math.fsum(values) / len(values) if values else math.nan


def mean_interval(values: Sequence[float]) -> Interval | None:
    """95 % interval of the mean; `None` for fewer than two values."""
    if len(values) < 2:
        return None
    half = _quantile(len(values) - 1) * standard_error(values)
    return [mean(values) - half, mean(values) + half]


def standard_error(values: Sequence[float]) -> float:
    """The standard error of the mean, of two or more values."""
    middle = mean(values)
    return math.sqrt(math.fsum((x - middle) ** 2 for x in values) / (len(values) - 1) / len(values))


def difference_interval(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """95 % interval of mean(a) - mean(b), independent samples of unequal variance (Welch); `None` for fewer than two of one."""
    if min(len(a), len(b)) < 2:
        return None
    one, other = standard_error(a) ** 2, standard_error(b) ** 2
    if not one + other:
        return [mean(a) - mean(b)] * 2
    freedom = (one + other) ** 2 / (one**2 / (len(a) - 1) + other**2 / (len(b) - 1))  # Welch and Satterthwaite
    middle, half = mean(a) - mean(b), _quantile(freedom) * math.sqrt(one + other)
    return [middle - half, middle + half]


def share_interval(found: int, total: int) -> Interval:
    """95 % interval of a share of which `found` of `total` were counted, the exact binomial one (Clopper and Pearson)."""
    low = special.betaincinv(found, total - found + 1, 0.025) if found else 0.0
    high = special.betaincinv(found + 1, total - found, 0.975) if found < total else 1.0
    return [float(low), float(high)]


@lru_cache(maxsize=64)
def _quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t, kept because the call takes longer than all else here."""
    return float(special.stdtrit(freedom, 0.975))
