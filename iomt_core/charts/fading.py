"""The fading view: the instantaneous rate of a link as a distribution, beside its expectation (6)."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from iomt_core.charts.style import figure
from iomt_core.model.channel import mean_rate, rate_quantile


def fading(bandwidth: float, beta: float, label: str) -> go.Figure:
    """Distribution of the rate (3) under Rayleigh fading, Gbit/s, for `bandwidth` Hz on a link of unit-SNR bandwidth `beta`."""
    q = torch.linspace(0.001, 0.999, 400, dtype=torch.float64)
    b, link = torch.tensor(bandwidth, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
    rate = rate_quantile(q, b, link) / 1e9
    mean = float(mean_rate(b, link)) / 1e9
    density = torch.diff(q) / torch.diff(rate).clamp_min(1e-300)
    middle = (rate[1:] + rate[:-1]) / 2
    below = float((rate < mean).to(torch.float64).mean())
    data = [
        {
            "type": "scatter", "x": middle.tolist(), "y": density.tolist(), "fill": "tozeroy", "mode": "lines",
            "name": "instantaneous rate (3)", "line": {"color": "#56b4e9"},
            "hovertemplate": "%{x:.4g} Gbit/s<extra></extra>",
        }
    ]  # fmt: skip
    layout = {
        "height": 280,
        "title": {"text": label, "font": {"size": 13}},
        "xaxis": {"title": {"text": "rate (Gbit/s)"}},
        "yaxis": {"title": {"text": "probability density (s/Gbit)"}, "rangemode": "tozero"},
        "shapes": [
            {"type": "line", "x0": mean, "x1": mean, "y0": 0, "y1": 1, "yref": "paper",
             "line": {"color": "#d55e00", "width": 2, "dash": "dash"}}
        ],
        "annotations": [
            {"x": mean, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False,
             "text": f"expected (6): {mean:.4g} Gbit/s; below it {below:.0%} of the time"}
        ],
        "showlegend": False,
    }  # fmt: skip
    return figure(data, layout)
