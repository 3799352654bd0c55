"""Round numbers for axes."""

from __future__ import annotations

import math


def ticks(end: float) -> list[float]:
    """About five round numbers from 0 to at most `end`."""
    if not 0 < end < math.inf:
        return [0]
    power = 10.0 ** math.floor(math.log10(end / 4))
    step = next(m * power for m in (1, 2, 5, 10) if end / (m * power) <= 6)
    return [float(f"{n * step:.6g}") for n in range(int(end / step) + 1)]


def marks(low: float, high: float) -> list[float]:
    """About five round numbers from `low` to `high`, including 0 if it lies between."""
    positive = ticks(high - low)
    if len(positive) < 2:
        return positive
    step = positive[1]
    digits = 2 - math.floor(math.log10(step))
    return [round(n * step, digits) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
