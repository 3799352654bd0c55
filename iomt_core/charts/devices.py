"""Devices: how busy they are, and what one more unit of them would be worth."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from iomt_core.charts.bars import Bars, panel, panels
from iomt_core.charts.style import device_colour
from iomt_core.model.allocation import device_index, per_device
from iomt_core.record import Record

FULL = 105  # %, where the axis of what is in use ends


def used_shares(record: Record) -> tuple[Tensor, Tensor, Tensor]:
    """Shares in use of server CPUs (R, K), server bandwidths (R, K) and users' own CPUs (R, U); 0 to 1."""
    k, snap = record.scenario.servers, record.snapshot
    device = device_index(record.action.choice, k)
    cpu, band = per_device(record.outcome.f, device, k), per_device(record.outcome.b, device, k)
    return cpu[:, :k] / snap.F_k, band[:, :k] / snap.B_k, cpu[:, k:] / snap.F_i


def utilisation(record: Record, row: int) -> dict[str, Any]:
    """Used share (%) of every device in one step; what background load takes is not on offer and not counted."""
    cpu, band, own = ([100 * v for v in x[0].tolist()] for x in used_shares(record.worlds(slice(row, row + 1))))
    at_servers, at_users = _pairs(record, "server CPU", cpu, "server bandwidth", band), [_own(record, "own CPU", own)]
    return panels(
        panel(_servers(record), at_servers, "in use (%)", "servers: CPU, bandwidth (hatched)", " %", FULL),
        panel(_users(record), at_users, "in use (%)", "users' own CPUs", " %", FULL),
    )


def saved_per_ghz(record: Record, row: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """Weighted cost saved in one step by one more GHz of server CPU (K,), server bandwidth (K,) and users' own CPU (U,).

    `None` where there are no shadow prices, or nothing to save as in a step without tasks.
    """
    prices, k, u = record.prices, record.scenario.servers, record.scenario.users
    if prices is None or float(record.totals[row]) == 0:
        return None
    return prices.cpu[row].expand(k) * 1e9, prices.bandwidth[row].expand(k) * 1e9, prices.own[row].expand(u) * 1e9


def price_bars(record: Record, row: int) -> dict[str, Any]:
    """Shadow prices of one step as shares of its total (%): what one more GHz of a server saves, and 10 MHz of a user's own."""
    saved = saved_per_ghz(record, row)
    if saved is None:
        return panels()
    percent = 100 / float(record.totals[row])
    cpu, band, own = ((x * percent * size).tolist() for x, size in zip(saved, (1, 1, 0.01), strict=True))
    at_servers = _pairs(record, "one more GHz of CPU saves", cpu, "one more GHz of bandwidth saves", band)
    at_users = [_own(record, "10 MHz more of own CPU save", own)]
    axis, unit = "cost saved (% of the step's)", " % of the step's cost"
    return panels(
        panel(_servers(record), at_servers, axis, "one more GHz of CPU, of bandwidth (hatched)", unit),
        panel(_users(record), at_users, axis, "10 MHz more of own CPU", unit),
    )


def _servers(record: Record) -> list[str]:
    return [f"S{n}" for n in range(1, record.scenario.servers + 1)]


def _users(record: Record) -> list[str]:
    return [f"user {n}" for n in range(1, record.scenario.users + 1)]


def _pairs(record: Record, cpu: str, cpus: list[float], band: str, bands: list[float]) -> list[Bars]:
    colours = [device_colour(n) for n in range(1, record.scenario.servers + 1)]
    return [Bars(cpu, cpus, colours), Bars(band, bands, colours, hatched=True)]


def _own(record: Record, name: str, values: list[float]) -> Bars:
    return Bars(name, values, [device_colour(0)] * record.scenario.users)
