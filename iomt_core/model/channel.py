"""Communication model, eqs. (3)-(8): from positions to mean transmission rates.

One number describes a link: its *unit-SNR bandwidth* β = P_tr g σ² / N0 in Hz, the bandwidth at which the mean SNR is 1.
With x = b/β eq. (6) reads E[rate] = b/ln2 · e^x E1(x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from iomt_core.model.special import scaled_exp1
from iomt_core.scenario import Scenario

LN2 = math.log(2)
# Lower limit of β in Hz. On such a link even one bit takes 8 days, so every deadline is missed. The delays of weaker links would
# overflow single precision.
WEAKEST_LINK = 1e-6


def path_loss_db(distance: Tensor, s: Scenario) -> Tensor:
    """Path loss PL = PL0 + 10 η log10(d/d0) in dB, eq. (4); `distance` in m, at least d0."""
    return s.PL0 + 10 * s.eta * torch.log10(distance.clamp_min(s.d0) / s.d0)


def power_gain(distance: Tensor, s: Scenario) -> Tensor:
    """Power gain of a link without fading: 1/PL² on the paper's channel, eqs. (4) (5), or 10^(-PL/10) on the log-distance one."""
    loss = path_loss_db(distance, s)
    return loss.pow(-2) if s.channel == "paper" else torch.pow(10.0, -loss / 10)


def unit_snr_bandwidth(distance: Tensor, power: Tensor, s: Scenario) -> Tensor:
    """β = P_tr g σ² / N0 in Hz, eq. (5) at mean fading; `power` in W broadcasts against `distance` in m.

    Never below `WEAKEST_LINK`.
    """
    return (power * power_gain(distance, s) * (s.sigma2 / s.N0)).clamp_min_(WEAKEST_LINK)


def mean_rate(bandwidth: Tensor, beta: Tensor, max_ratio: float = math.inf) -> Tensor:
    """E[rate] in bit/s over Rayleigh fading, eq. (6).

    bandwidth: > 0, Hz; beta: unit-SNR bandwidth of the link, Hz, same shape; max_ratio: a known upper limit of b / β, which
    saves time.
    """
    return scaled_exp1(bandwidth / beta, max_ratio).mul_(bandwidth).mul_(1 / LN2)


def rate_quantile(quantile: Tensor, bandwidth: Tensor, beta: Tensor) -> Tensor:
    """Quantile of the instantaneous rate in bit/s: eq. (3) at |h|² = -σ² ln(1-q)."""
    return bandwidth * torch.log1p(-torch.log1p(-quantile) * beta / bandwidth) / LN2
