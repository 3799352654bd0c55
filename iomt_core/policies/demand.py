"""What one task would take of each resource at a given price, and what that costs it.

Three one-dimensional convex problems, each with a closed or tabulated solution. A = α_T/T_max turns seconds into cost,
G = α_E/E_ref joules; w is the task's weight.

    own CPU            min_f  w C (A/f + G k0 f²) + ν f
    server CPU         min_f  w A C/f + λ f
    server bandwidth   min_b  w (A + G P_tr) D / E[rate](b) + μ b        with E[rate] of eq. (6)
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import exp1
from torch import Tensor

from iomt_core.model.batch import cached_tensors
from iomt_core.scenario import Scenario

Array = npt.NDArray[np.float64]

LN2 = math.log(2)
LOG_LOW, LOG_HIGH, POINTS = -55.0, 115.0, 8192


def delay_price(s: Scenario) -> float:
    """A = α_T / T_max: cost of a second."""
    return s.alpha_T / s.T_max


def energy_price(s: Scenario) -> float:
    """G = α_E / E_ref: cost of a joule."""
    return s.alpha_E / s.E_ref


def own_frequency(y: Tensor, s: Scenario, iterations: int = 2) -> Tensor:
    """The f that solves A/f² = y + 2 G k0 f, in cycle/s: what a local task wants where own CPU costs y = ν/(w C).

    Newton's method on a convex falling function, from a point at most 6 % left of the root: it rises to the root and never
    passes it. Two steps leave 5e-5 of f, and as the cost is flat at its minimum, 2e-9 of the cost; three leave less than
    rounding does.
    """
    A, g = delay_price(s), energy_price(s) * s.k0
    free = math.inf if g == 0 else (A / (2 * g)) ** (1 / 3)
    f = (y / A + free**-2).clamp_min(1e-30).rsqrt()
    if g == 0:
        return f
    for _ in range(iterations):
        inverse = 1 / f
        fall = A * inverse * inverse
        f = f + (fall - y - 2 * g * f) / (2 * fall * inverse + 2 * g)
    return f


def own_curvature(f: Tensor, s: Scenario) -> Tensor:
    """-dy/df at f: how fast `own_frequency` answers to its price."""
    return 2 * delay_price(s) / f**3 + 2 * energy_price(s) * s.k0


def _gain_above_one(x: Array) -> Array:
    """(1 + x) e^x E1(x) - 1, by its asymptotic series where the difference would cancel."""
    near, far = np.minimum(x, 60.0), np.maximum(x, 60.0)
    series = sum((-1) ** (n + 1) * n * math.factorial(n) / far ** (n + 1) for n in range(1, 14))
    exact: Array = (1 + near) * np.exp(near) * exp1(near) - 1
    return np.where(x < 60, exact, series)


def _product(x: Array) -> Array:
    """x e^x E1(x), which tends to 1."""
    near, far = np.minimum(x, 60.0), np.maximum(x, 60.0)
    series = 1 + sum((-1) ** n * math.factorial(n) / far**n for n in range(1, 14))
    exact: Array = near * np.exp(near) * exp1(near)
    return np.where(x < 60, exact, series)


class BandwidthTable:
    """V(y) = min_x 1/(x h(x)) + y x with h(x) = e^x E1(x), and the x that attains it.

    Every bandwidth problem is this one: with x = b/β and y = μ β²/(W ln2) it costs W ln2/β · V(y). log V is stored over
    log y with its exact slope y x/V and read by cubic Hermite interpolation, to 1e-11 relative. Above the table log V goes
    on along its tangent, which lies below it, for log V is convex in log y; below the table V is 1 to 2e-12.
    """

    def __init__(self) -> None:
        log_y = np.linspace(LOG_LOW, LOG_HIGH, POINTS)
        low, high = np.full(POINTS, math.log(1e-27)), np.full(POINTS, math.log(1e13))
        for _ in range(80):  # bisection: y falls in x
            middle = (low + high) / 2
            x = np.exp(middle)
            too_small = np.log(_gain_above_one(x)) - 2 * np.log(_product(x)) > log_y
            low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
        x, y = np.exp((low + high) / 2), np.exp(log_y)
        value = 1 / _product(x) + y * x
        self.step = log_y[1] - log_y[0]
        table = np.stack([np.log(value), self.step * y * x / value])
        self._value, self._slope = torch.from_numpy(table[0].copy()), torch.from_numpy(table[1].copy())

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """V and x at y; float64 inside, any shape."""
        place = (torch.log(y.to(torch.float64)) - LOG_LOW).mul_(1 / self.step)
        beyond = (place - (POINTS - 1)).clamp_min_(0.0)
        place.clamp_(0, POINTS - 1.001)
        index = place.to(torch.int64)
        t = place - index
        value, slope = self._value.to(y.device), self._slope.to(y.device)
        v0, v1, m0, m1 = value[index], value[index + 1], slope[index], slope[index + 1]
        # Cubic Hermite in Horner's form, and its derivative.
        c2, c3 = 3 * (v1 - v0) - 2 * m0 - m1, 2 * (v0 - v1) + m0 + m1
        log_value = v0 + t * (m0 + t * (c2 + t * c3))
        elasticity = (m0 + t * (2 * c2 + 3 * t * c3)) / self.step
        best = torch.exp(log_value.addcmul_(beyond, m1))
        return best.to(y.dtype), (best * elasticity / y).to(y.dtype)


@cached_tensors
def bandwidth_table() -> BandwidthTable:
    """The one table, made at first use (40 ms)."""
    return BandwidthTable()
