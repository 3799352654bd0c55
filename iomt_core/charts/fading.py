"""The distribution of a link's instantaneous rate under fading, with its expectation (6)."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from iomt_core.charts.figure import figure
from iomt_core.model.channel import mean_rate, rate_quantile

CURVE, MEAN = "#0072b2", "#d55e00"


def fading(bandwidth: float, beta: float, label: str) -> go.Figure:
    """Distribution of the rate (3) under Rayleigh fading, Gbit/s, as a density with its mean.

    bandwidth: Hz; beta: bandwidth at which the link's mean SNR is 1, Hz; label: of the link.
    """
    q = torch.linspace(0.001, 0.999, 400, dtype=torch.float64)
    b, link = torch.tensor(bandwidth, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
    rate = rate_quantile(q, b, link) / 1e9
    mean = float(mean_rate(b, link)) / 1e9
    density = torch.diff(q) / torch.diff(rate).clamp_min(1e-300)
    middle = (rate[1:] + rate[:-1]) / 2
    below = float((rate < mean).to(torch.float64).mean())
    curve = {
        "type": "scatter",
        "mode": "lines",
        "name": "density",
        "x": [float(f"{v:.6g}") for v in middle.tolist()],
        "y": [float(f"{v:.6g}") for v in density.tolist()],
        "fill": "tozeroy",
        "line": {"color": CURVE, "width": 2},
        "hovertemplate": "rate %{x:.4g} Gbit/s: density %{y:.4g} s/Gbit<extra></extra>",
    }
    line = {
        "type": "line", "x0": mean, "x1": mean, "yref": "paper", "y0": 0, "y1": 1, "showlegend": True,
        "name": f"mean rate {mean:.4g} Gbit/s; below it {below:.0%} of the time",
        "line": {"color": MEAN, "width": 2, "dash": "dash"},
    }  # fmt: skip
    layout = {
        "showlegend": True,
        "xaxis": {"title": {"text": "rate at one moment (Gbit/s)"}},
        "yaxis": {"title": {"text": "probability density (s/Gbit)"}, "rangemode": "tozero"},
        "shapes": [line],
    }
    words = f"Distribution of the rate under Rayleigh fading. {label}; {line['name']}."
    return figure([curve], layout, "How fading spreads a link's rate", words, label)
