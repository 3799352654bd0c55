"""Utilisation of devices."""

from __future__ import annotations

import plotly.graph_objects as go
from torch import Tensor

from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.style import device_colour
from iomt_core.model.allocation import device_index, per_device
from iomt_core.model.outcome import SMALLEST_GRANT
from iomt_core.record import Record
from iomt_core.scenario import Scenario, metadata

FULL = 105  # %, end of the axis of utilisation


def used_shares(record: Record) -> tuple[Tensor, Tensor, Tensor]:
    """Utilisation of server CPUs (R, K), server bandwidths (R, K) and users' own CPUs (R, U), from 0 to 1."""
    k, snap = record.scenario.servers, record.snapshot
    device = device_index(record.action.choice, k)
    cpu, band = per_device(record.outcome.f, device, k), per_device(record.outcome.b, device, k)
    return cpu[:, :k] / snap.F_k, band[:, :k] / snap.B_k, cpu[:, k:] / snap.F_i.clamp_min(SMALLEST_GRANT)


def own_values(s: Scenario) -> list[str]:
    """What each server has, as the end of a tooltip; "" where servers do not differ and have no latency."""
    if not (s.has_own_servers or s.has_latency):
        return [""] * s.servers
    rows = zip(*(s.device_values[name] for name in ("F_k", "B_k", "latency")), strict=True)
    meta = metadata()
    return [
        f"; {meta['F_k'].show(F)} CPU, {meta['B_k'].show(B)} bandwidth, {meta['latency'].show(L)} latency"
        for F, B, L in rows
    ]


def utilisation(record: Record, row: int, subtitle: str = "") -> tuple[go.Figure, go.Figure]:
    """Utilisation (%) of the servers' CPU and bandwidth and of the own CPUs in one step.

    It is relative to the capacity that background load leaves.
    """
    cpu, band, own = ([100 * v for v in x[0].tolist()] for x in used_shares(record.select(slice(row, row + 1))))
    servers = _servers(record, "CPU", cpu, "bandwidth", band), "Servers: CPU and bandwidth in use", "server"
    users = _users(record, "own CPU", own), "Own CPUs in use", "user"
    return _pair(servers, users, "in use (%)", "%", subtitle, FULL)


Part = tuple[tuple[list[str], list[Bars]], str, str]  # groups and series, title, what the groups are


def _pair(
    servers: Part, users: Part, axis: str, unit: str, subtitle: str, end: float | None = None
) -> tuple[go.Figure, go.Figure]:
    """A figure of the servers and one of the users."""
    (a, title_a, who_a), (b, title_b, who_b) = servers, users
    return (
        grouped_bars(*a, title_a, axis, who_a, subtitle, unit, end),
        grouped_bars(*b, title_b, axis, who_b, subtitle, unit, end),
    )


def _servers(
    record: Record, cpu: str, cpus: list[float], band: str, bands: list[float]
) -> tuple[list[str], list[Bars]]:
    numbers = record.scenario.server_numbers
    colours = [device_colour(n) for n in numbers]
    return [f"S{n}" for n in numbers], [Bars(cpu, cpus, colours), Bars(band, bands, colours, hatched=True)]


def _users(record: Record, name: str, values: list[float]) -> tuple[list[str], list[Bars]]:
    numbers = record.scenario.user_numbers
    return [str(n) for n in numbers], [Bars(name, values, [device_colour(0)] * len(numbers))]
