"""The distribution of a link's instantaneous rate under fading, with its expectation (6)."""

from __future__ import annotations

from typing import Any

import torch

from iomt_core.charts.axes import marks
from iomt_core.model.channel import mean_rate, rate_quantile


def fading(bandwidth: float, beta: float, label: str) -> dict[str, Any]:
    """Distribution of the rate (3) under Rayleigh fading, Gbit/s.

    bandwidth: Hz; beta: bandwidth at which the link's mean SNR is 1, Hz; label: of the link.
    """
    q = torch.linspace(0.001, 0.999, 400, dtype=torch.float64)
    b, link = torch.tensor(bandwidth, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
    rate = rate_quantile(q, b, link) / 1e9
    mean = float(mean_rate(b, link)) / 1e9
    density = torch.diff(q) / torch.diff(rate).clamp_min(1e-300)
    middle = (rate[1:] + rate[:-1]) / 2
    below = float((rate < mean).to(torch.float64).mean())
    most, end = float(density.max()), float(middle[-1])
    words = f"Dashed: expected rate (6), {mean:.4g} Gbit/s; it is below that {below:.0%} of the time"
    return {
        "title": label,
        "x": [float(f"{v:.6g}") for v in middle.tolist()],
        "y": [float(f"{v:.6g}") for v in density.tolist()],
        "high": 1.05 * most,
        "x_ticks": marks(float(middle[0]), end),
        "y_ticks": marks(0.0, 1.05 * most),
        "x_axis": "instantaneous rate (3) (Gbit/s)",
        "y_axis": "probability density (s/Gbit)",
        "mark": mean,
        "mark_text": words,
        "text": f"Distribution of the rate under Rayleigh fading. {label}; {words}.",
    }
