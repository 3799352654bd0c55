"""What a second and a joule of a task cost, and how much of each resource it takes at a given price.

Three one-dimensional convex problems, each with a closed or tabulated solution. A second of a task costs a = p α_T / T_max
and a joule costs g = p α_E / E_ref, plus the price κ of its user's battery if that is scarce; see `UnitCosts`.

    own CPU            min_f  a C/f + g k0 f² C + ν f
    server CPU         min_f  a C/f + λ f
    server bandwidth   min_b  (a + g P_tr) D / E[rate](b) + μ b        with E[rate] of eq. (6)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import exp1
from torch import Tensor

from iomt_core.model.batch import Batch, cached_tensors
from iomt_core.model.snapshot import Snapshot, deadlines
from iomt_core.scenario import Scenario

Array = npt.NDArray[np.float64]

LN2 = math.log(2)
LOG_LOW, LOG_HIGH, POINTS = -55.0, 115.0, 8192


@dataclass(frozen=True)
class UnitCosts(Batch):
    """What one second of delay and one joule of energy of each task cost, weighted by its priority."""

    second: Tensor  # (B, U, J) p α_T / T_max, 1/s, with the task's own deadline
    joule: Tensor  # (B, U, J) p α_E / E_ref + κ_i, 1/J

    @classmethod
    def of(cls, snapshot: Snapshot, s: Scenario, battery_price: Tensor | None = None) -> UnitCosts:
        """Unit costs in float64. battery_price: κ, (B, U) 1/J, what a joule of each user's battery is worth; 0 if not given."""
        weight = snapshot.weight.to(torch.float64)
        deadline = deadlines(snapshot, s)
        deadline = deadline.to(torch.float64) if isinstance(deadline, Tensor) else deadline
        joule = weight * (s.alpha_E / s.E_ref)
        return cls(
            weight * (s.alpha_T / deadline), joule if battery_price is None else joule + battery_price[:, :, None]
        )

    def only(self, active: Tensor) -> UnitCosts:
        """The same for the tasks of `active`, (B, U, J) bool; all others cost nothing."""
        return UnitCosts(self.second * active, self.joule * active)


class OwnCpuTasks:
    """Tasks on their users' own CPUs, where a task costs `delay`/f + `energy` f² at f cycle/s.

    delay: a C, energy: g k0 C, both of the same shape (…, J). least: the smallest f allowed, (…, J); 0 if not given.
    """

    def __init__(self, delay: Tensor, energy: Tensor, least: Tensor | None = None) -> None:
        self.delay, self.energy, self.least = delay, energy, least
        self.twice = 2 * energy / delay
        self._free = self.twice.pow(2 / 3)  # f^-2 at a price of 0

    def reshaped(self, change: Callable[[Tensor], Tensor]) -> OwnCpuTasks:
        """The tasks with each of their tensors changed: some of them, or with another shape."""
        part = copy.copy(self)
        part.delay, part.energy, part.twice, part._free = map(change, (self.delay, self.energy, self.twice, self._free))
        part.least = None if self.least is None else change(self.least)
        return part

    def frequency(self, price: Tensor, iterations: int = 2) -> Tensor:
        """The f in cycle/s that is cheapest at the price ν of the CPU; the f that solves a C/f² = ν + 2 g k0 C f.

        price: ν in 1/(cycle/s), broadcast with (…, J). Newton's method on a convex decreasing function, from a start at most
        6 % left of the root: it approaches the root from the left and never passes it. Two iterations leave a relative error of
        5e-5 in f, and of 2e-9 in the cost, which is flat at its minimum; three leave less than rounding.
        """
        y = price / self.delay
        f = (y + self._free).clamp_min(1e-30).rsqrt()
        for _ in range(iterations):  # in place, because small tensors are many and calls cost more than numbers
            inverse = f.reciprocal()
            benefit = inverse * inverse  # what a little more frequency saves
            slope = inverse.mul_(benefit).mul_(2).add_(self.twice)
            f.add_(benefit.sub_(y).sub_(self.twice * f).div_(slope))
        return f if self.least is None else torch.maximum(f, self.least)

    def cost(self, f: Tensor) -> Tensor:
        """Weighted cost at f cycle/s."""
        return self.delay / f + self.energy * f * f

    def response(self, f: Tensor) -> Tensor:
        """-df/dν at the cheapest f."""
        return (self.delay / f**3).add_(self.energy).mul_(2).reciprocal_()


def _rate_slope(x: Array) -> Array:
    """(1 + x) e^x E1(x) - 1, the derivative of `_rate_factor`; by its asymptotic series where the difference would cancel."""
    near, far = np.minimum(x, 60.0), np.maximum(x, 60.0)
    series = sum((-1) ** (n + 1) * n * math.factorial(n) / far ** (n + 1) for n in range(1, 14))
    exact: Array = (1 + near) * np.exp(near) * exp1(near) - 1
    return np.where(x < 60, exact, series)


def _rate_factor(x: Array) -> Array:
    """x e^x E1(x), the rate of eq. (6) relative to its limit for infinite bandwidth."""
    near, far = np.minimum(x, 60.0), np.maximum(x, 60.0)
    series = 1 + sum((-1) ** n * math.factorial(n) / far**n for n in range(1, 14))
    exact: Array = near * np.exp(near) * exp1(near)
    return np.where(x < 60, exact, series)


class BandwidthTable:
    """V(y) = min over x of 1/(x h(x)) + y x, with h(x) = e^x E1(x), and the x that attains the minimum.

    Every bandwidth problem has this form: with x = b/β, y = μ β²/(W ln2) and W = (a + g P_tr) D its cost is W ln2/β · V(y).
    The table holds log V and its exact slope y x/V over log y. Cubic Hermite interpolation has a relative error of 1e-11.
    Above the table log V continues along its tangent, which never exceeds log V, because log V is convex in log y. Below the
    table V is 1 to within 2e-12.
    """

    def __init__(self) -> None:
        log_y = np.linspace(LOG_LOW, LOG_HIGH, POINTS)
        low, high = np.full(POINTS, math.log(1e-27)), np.full(POINTS, math.log(1e13))
        for _ in range(80):  # bisection; y decreases in x
            middle = (low + high) / 2
            x = np.exp(middle)
            too_small = np.log(_rate_slope(x)) - 2 * np.log(_rate_factor(x)) > log_y
            low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
        x, y = np.exp((low + high) / 2), np.exp(log_y)
        value = 1 / _rate_factor(x) + y * x
        self.step = log_y[1] - log_y[0]
        log_value, slope = np.log(value), self.step * y * x / value
        self.last_slope = float(slope[-1])
        # Cubic Hermite interpolation from point n to n + 1 is v0 + t (m0 + t (c2 + t c3)).
        v0, v1, m0, m1 = log_value[:-1], log_value[1:], slope[:-1], slope[1:]
        cubic = v0, m0, 3 * (v1 - v0) - 2 * m0 - m1, 2 * (v0 - v1) + m0 + m1
        self._cubic = [torch.from_numpy(coefficient.copy()) for coefficient in cubic]

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """V(y) and the minimising x for y of any shape; computed in float64."""
        position = torch.log(y.to(torch.float64)).sub_(LOG_LOW).mul_(1 / self.step)
        beyond = (position - (POINTS - 1)).clamp_min_(0.0)
        position.clamp_(0, POINTS - 1.001)
        index = position.to(torch.int64)
        t, flat = position.sub_(index), index.flatten()
        # `index_select` takes a third of the time of `x[index]`.
        v0, m0, c2, c3 = (x.to(y.device).index_select(0, flat).view(y.shape) for x in self._cubic)
        elasticity = (3 * t).mul_(c3).add_(2 * c2).mul_(t).add_(m0).div_(self.step)
        log_value = c3.mul_(t).add_(c2).mul_(t).add_(m0).mul_(t).add_(v0)
        best = log_value.add_(beyond, alpha=self.last_slope).exp_()
        return best.to(y.dtype), elasticity.mul_(best).div_(y).to(y.dtype)


@cached_tensors
def bandwidth_table() -> BandwidthTable:
    """The table, made at the first call in 40 ms."""
    return BandwidthTable()
