"""The scaled exponential integral e^x E1(x), which torch does not have."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EULER = 0.5772156649015329
SPLIT = 2.0
# Up to this x the given number of terms of the series is exact to rounding; most links of most wards are below it.
_NEAR_ZERO = {torch.float32: (2.0**-14, 1), torch.float64: (2.0**-14, 3)}
_SERIES_TERMS = {torch.float32: 14, torch.float64: 25}
_FRACTION_TERMS = {torch.float32: 12, torch.float64: 40}


def short_series(upper: float, dtype: torch.dtype) -> bool:
    """Whether the shortest series is accurate for every x up to `upper`."""
    return upper <= _NEAR_ZERO[dtype][0]


def scaled_exp1(x: Tensor, upper: float = math.inf) -> Tensor:
    """e^x E1(x) for x > 0, elementwise; dimensionless.

    upper: a known upper limit of x, which saves time.

    For large x, E1 underflows and e^x overflows, while their product decays like 1/x. The power series is used up to `SPLIT`
    (Abramowitz and Stegun 5.1.11), the continued fraction above it (5.1.22, even part). The relative error is below 1e-12 in
    float64 and 5e-6 in float32 for x from 1e-12 to 1e6. The value of an element never depends on the others: the batch only
    decides which formulas are evaluated at all.
    """
    if x.numel() == 0:
        return torch.empty_like(x)
    small, few_terms = _NEAR_ZERO[x.dtype]
    if short_series(upper, x.dtype):
        return _series(x, few_terms)
    if torch.compiler.is_compiling():  # a compiled kernel evaluates all formulas faster than it could branch
        middle = _series(x.clamp(small, SPLIT), _SERIES_TERMS[x.dtype])
        value = torch.where(x <= small, _series(x, few_terms), middle)
        return torch.where(x > SPLIT, _fraction(x.clamp_min(SPLIT)), value)
    largest = float(x.amax())
    if largest <= small:
        return _series(x, few_terms)
    smallest = float(x.amin())
    if smallest > SPLIT:
        return _fraction(x)
    value = _series(x.clamp(small, SPLIT), _SERIES_TERMS[x.dtype])
    if smallest <= small:
        value = torch.where(x <= small, _series(x, few_terms), value)
    if largest > SPLIT:
        value = torch.where(x > SPLIT, _fraction(x.clamp_min(SPLIT)), value)
    return value


def _series(x: Tensor, terms: int) -> Tensor:
    """e^x (-γ - ln x + Σ_{n≥1} (-1)^{n+1} x^n / (n n!)), by Horner's rule; with one term e^x is 1 + x."""
    if terms == 1:
        total = (x - EULER).sub_(torch.log(x))
        return total.addcmul_(total, x)
    coefficients = [(-1) ** (n + 1) / (n * math.factorial(n)) for n in range(terms, 0, -1)]
    total = x * coefficients[0]
    for coefficient in coefficients[1:]:
        total.add_(coefficient).mul_(x)
    series: Tensor = total.sub_(EULER).sub_(torch.log(x)).mul_(torch.exp(x))
    return series


def _fraction(x: Tensor) -> Tensor:
    """1 / (x + 1 - 1² / (x + 3 - 2² / (x + 5 - …))), from the last term to the first."""
    terms = _FRACTION_TERMS[x.dtype]
    tail = x + (2 * terms + 1)
    for n in range(terms, 0, -1):
        tail = (x + (2 * n - 1)) - (n * n) / tail
    return tail.reciprocal_()
