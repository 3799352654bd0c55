"""Devices: how busy they are, and what one more unit of them would be worth."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from torch import Tensor

from iomt_core.charts.style import device_colour, figure
from iomt_core.model.allocation import device_index, per_device
from iomt_core.twin.record import Record


def used_shares(record: Record) -> tuple[Tensor, Tensor, Tensor]:
    """Shares in use of server CPUs (R, K), server bandwidths (R, K) and users' own CPUs (R, U); 0 to 1."""
    k, snap = record.scenario.servers, record.snapshot
    device = device_index(record.action.choice, k)
    cpu, band = per_device(record.outcome.f, device, k), per_device(record.outcome.b, device, k)
    return cpu[:, :k] / snap.F_k, band[:, :k] / snap.B_k, cpu[:, k:] / snap.F_i


def utilisation(record: Record, row: int) -> go.Figure:
    """Used share (%) of every device in one step; what background load takes is not on offer and not counted."""
    cpu, band, own = (x[0].tolist() for x in used_shares(record.worlds(slice(row, row + 1))))
    k, u = len(cpu), len(own)
    servers, users = [f"S{n}" for n in range(1, k + 1)], [f"user {n}" for n in range(1, u + 1)]
    percent: dict[str, Any] = {"type": "bar", "hovertemplate": "%{x}: %{y:.1f} %<extra>%{fullData.name}</extra>"}
    colours = [device_colour(n) for n in range(1, k + 1)]
    data = [
        {**percent, "x": servers, "y": [100 * x for x in cpu], "name": "server CPU", "marker": {"color": colours}},
        {
            **percent, "x": servers, "y": [100 * x for x in band], "name": "server bandwidth",
            "marker": {"color": colours, "opacity": 0.6, "pattern": {"shape": "/"}},
        },
        {
            **percent, "x": users, "y": [100 * x for x in own], "name": "own CPU", "xaxis": "x2", "yaxis": "y2",
            "marker": {"color": device_colour(0)},
        },
    ]  # fmt: skip
    layout = {
        "height": 280,
        "barmode": "group",
        "xaxis": {"domain": [0, 0.44], "title": {"text": "servers: CPU, bandwidth (hatched)"}},
        "xaxis2": {"domain": [0.54, 1], "title": {"text": "users' own CPUs"}},
        "yaxis": {"range": [0, 105], "title": {"text": "in use (%)"}},
        "yaxis2": {"range": [0, 105], "anchor": "x2"},
        "showlegend": False,
        "margin": {"l": 52, "r": 8, "t": 8, "b": 44},
    }
    return figure(data, layout)


def price_bars(record: Record, row: int) -> go.Figure:
    """Shadow prices of one step: weighted cost saved by one more GHz, as share of the step's total (%)."""
    prices = record.prices
    if prices is None:
        return figure([], {"height": 280})
    total = float(record.totals[row])
    per = 1e9 / total * 100
    k, u = record.scenario.servers, record.scenario.users
    servers = [f"S{n}" for n in range(1, k + 1)]
    colours = [device_colour(n) for n in range(1, k + 1)]
    hover = "%{x}: one more %{fullData.name} saves %{y:.4g} % of the step's cost<extra></extra>"
    data = [
        {
            "type": "bar", "x": servers, "y": (prices.cpu[row] * per).tolist(), "name": "GHz of CPU", "hovertemplate": hover,
            "marker": {"color": colours},
        },
        {
            "type": "bar", "x": servers, "y": (prices.bandwidth[row] * per).tolist(), "name": "GHz of bandwidth",
            "hovertemplate": hover, "marker": {"color": colours, "opacity": 0.6, "pattern": {"shape": "/"}},
        },
        {
            "type": "bar", "x": [f"user {n}" for n in range(1, u + 1)], "xaxis": "x2", "yaxis": "y2",
            "y": (prices.own[row] * per / 100).tolist(), "name": "10 MHz of own CPU", "hovertemplate": hover,
            "marker": {"color": device_colour(0)},
        },
    ]  # fmt: skip
    layout = {
        "height": 280,
        "barmode": "group",
        "xaxis": {"domain": [0, 0.44], "title": {"text": "one more GHz of CPU, of bandwidth (hatched)"}},
        "xaxis2": {"domain": [0.56, 1], "title": {"text": "10 MHz more of own CPU"}},
        "yaxis": {"title": {"text": "cost saved (% of the step's)"}, "rangemode": "tozero"},
        "yaxis2": {"anchor": "x2", "rangemode": "tozero"},
        "showlegend": False,
        "margin": {"l": 56, "r": 8, "t": 8, "b": 44},
    }
    return figure(data, layout)
