"""The scaled exponential integral e^x E1(x), which torch has no function for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EULER = 0.5772156649015329
SPLIT = 2.0
_SERIES_TERMS = {torch.float32: 14, torch.float64: 25}
_FRACTION_TERMS = {torch.float32: 12, torch.float64: 40}


def scaled_exp1(x: Tensor) -> Tensor:
    """e^x E1(x) for x > 0, elementwise; dimensionless.

    E1 alone underflows and e^x alone overflows where x is large, their product decays like 1/x. Up to `SPLIT` the power
    series (Abramowitz and Stegun 5.1.11), above it the continued fraction (5.1.22, even part). Relative error below
    1e-12 in float64 and 5e-6 in float32 for x from 1e-12 to 1e6. Terms are counted by dtype, not by the data, so that
    an element's value does not depend on its batch.
    """
    large = x > SPLIT
    if not bool(large.any()):
        return _series(x)
    if bool(large.all()):
        return _fraction(x)
    return torch.where(large, _fraction(x.clamp_min(SPLIT)), _series(x.clamp_max(SPLIT)))


def _series(x: Tensor) -> Tensor:
    """e^x (-γ - ln x + Σ_{n≥1} (-1)^{n+1} x^n / (n n!)), by Horner's rule."""
    terms = _SERIES_TERMS[x.dtype]
    coefficients = [(-1) ** (n + 1) / (n * math.factorial(n)) for n in range(1, terms + 1)]
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total.mul_(x).add_(coefficient)
    return total.mul_(x).sub_(EULER).sub_(torch.log(x)).mul_(torch.exp(x))


def _fraction(x: Tensor) -> Tensor:
    """1 / (x + 1 - 1² / (x + 3 - 2² / (x + 5 - …))), from the last term upwards."""
    terms = _FRACTION_TERMS[x.dtype]
    tail = x + (2 * terms + 1)
    for n in range(terms, 0, -1):
        tail = (x + (2 * n - 1)) - (n * n) / tail
    return tail.reciprocal_()
