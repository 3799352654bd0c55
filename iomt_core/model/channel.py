"""Communication model, eqs. (3)-(8): from places to mean transmission rates.

The channel enters everything below through one number a link, the *unit-SNR bandwidth*
β = P_tr g σ² / N0 in Hz: the bandwidth at which the mean SNR is 1. With x = b/β eq. (6) reads
E[rate] = b/ln2 · e^x E1(x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from iomt_core.model.special import scaled_exp1
from iomt_core.scenario import Scenario

LN2 = math.log(2)
# Hz. A weaker link counts as this weak: the smallest task takes 17 years on it, later than any deadline. Weaker links would
# have delays that single precision cannot express.
WEAKEST_LINK = 1e-6


def path_loss_db(distance: Tensor, s: Scenario) -> Tensor:
    """PL = PL0 + 10 η log10(d/d0) in dB, distance in m and floored at d0, eq. (4)."""
    return s.PL0 + 10 * s.eta * torch.log10(distance.clamp_min(s.d0) / s.d0)


def power_gain(distance: Tensor, s: Scenario) -> Tensor:
    """Power gain of a link without fading: 1/PL² as eqs. (4) (5) print it, or 10^(-PL/10) on the log-distance channel."""
    loss = path_loss_db(distance, s)
    return loss.pow(-2) if s.channel == "paper" else torch.pow(10.0, -loss / 10)


def unit_snr_bandwidth(distance: Tensor, power: Tensor, s: Scenario) -> Tensor:
    """β = P_tr g σ² / N0 in Hz, eq. (5) at mean fading; `power` in W broadcasts against `distance` in m.

    Never below `WEAKEST_LINK`.
    """
    return (power * power_gain(distance, s) * (s.sigma2 / s.N0)).clamp_min_(WEAKEST_LINK)


def mean_rate(bandwidth: Tensor, beta: Tensor, max_ratio: float = math.inf) -> Tensor:
    """E[rate] in bit/s of `bandwidth` Hz on a link of unit-SNR bandwidth `beta` Hz, eq. (6); bandwidth > 0.

    `max_ratio` is what b / β never exceeds, where that is known.
    """
    return scaled_exp1(bandwidth / beta, max_ratio).mul_(bandwidth).mul_(1 / LN2)


def fading_rates(bandwidth: Tensor, beta: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """`samples` instantaneous rates, eq. (3) under Rayleigh fading, bit/s; shape (samples, …). Their mean is eq. (6)."""
    power = torch.empty((samples, *beta.shape), dtype=beta.dtype).exponential_(generator=generator)
    return bandwidth * torch.log1p(power * beta / bandwidth) / LN2


def rate_quantile(quantile: Tensor, bandwidth: Tensor, beta: Tensor) -> Tensor:
    """The instantaneous rate that is not exceeded with this probability, bit/s: eq. (3) at |h|² = -σ² ln(1-q)."""
    return bandwidth * torch.log1p(-torch.log1p(-quantile) * beta / bandwidth) / LN2
