"""Utilisation of devices, and the shadow prices of their resources."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from iomt_core.charts.bars import Bars, panel, panels
from iomt_core.charts.style import device_colour
from iomt_core.model.allocation import device_index, per_device
from iomt_core.record import Record

FULL = 105  # %, end of the axis of utilisation


def used_shares(record: Record) -> tuple[Tensor, Tensor, Tensor]:
    """Utilisation of server CPUs (R, K), server bandwidths (R, K) and users' own CPUs (R, U), from 0 to 1."""
    k, snap = record.scenario.servers, record.snapshot
    device = device_index(record.action.choice, k)
    cpu, band = per_device(record.outcome.f, device, k), per_device(record.outcome.b, device, k)
    return cpu[:, :k] / snap.F_k, band[:, :k] / snap.B_k, cpu[:, k:] / snap.F_i


def utilisation(record: Record, row: int) -> dict[str, Any]:
    """Utilisation (%) of every device in one step, relative to the capacity that background load leaves."""
    cpu, band, own = ([100 * v for v in x[0].tolist()] for x in used_shares(record.select(slice(row, row + 1))))
    at_servers, at_users = (
        _server_bars(record, "server CPU", cpu, "server bandwidth", band),
        [_user_bars(record, "own CPU", own)],
    )
    return panels(
        panel(_servers(record), at_servers, "in use (%)", "servers: CPU, bandwidth (hatched)", " %", FULL),
        panel(_users(record), at_users, "in use (%)", "users' own CPUs", " %", FULL),
    )


def saved_per_ghz(record: Record, row: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """Weighted cost saved in one step by one more GHz of server CPU (K,), server bandwidth (K,) and users' own CPU (U,).

    `None` where there are no shadow prices or, as in a step without tasks, no cost to save.
    """
    prices, k, u = record.prices, record.scenario.servers, record.scenario.users
    if prices is None or float(record.totals[row]) == 0:
        return None
    return prices.cpu[row].expand(k) * 1e9, prices.bandwidth[row].expand(k) * 1e9, prices.own[row].expand(u) * 1e9


def price_bars(record: Record, row: int) -> dict[str, Any]:
    """Shadow prices of one step in % of its total cost: savings by 1 GHz more of a server, and by 10 MHz more of an own CPU."""
    saved = saved_per_ghz(record, row)
    if saved is None:
        return panels()
    percent = 100 / float(record.totals[row])
    cpu, band, own = ((x * percent * size).tolist() for x, size in zip(saved, (1, 1, 0.01), strict=True))
    at_servers = _server_bars(record, "one more GHz of CPU saves", cpu, "one more GHz of bandwidth saves", band)
    at_users = [_user_bars(record, "10 MHz more of own CPU save", own)]
    axis, unit = "cost saved (% of the step's)", " % of the step's cost"
    return panels(
        panel(_servers(record), at_servers, axis, "one more GHz of CPU, of bandwidth (hatched)", unit),
        panel(_users(record), at_users, axis, "10 MHz more of own CPU", unit),
    )


def _servers(record: Record) -> list[str]:
    return [f"S{n}" for n in record.scenario.server_numbers]


def _users(record: Record) -> list[str]:
    return [f"user {n}" for n in record.scenario.user_numbers]


def _server_bars(record: Record, cpu: str, cpus: list[float], band: str, bands: list[float]) -> list[Bars]:
    colours = [device_colour(n) for n in record.scenario.server_numbers]
    return [Bars(cpu, cpus, colours), Bars(band, bands, colours, hatched=True)]


def _user_bars(record: Record, name: str, values: list[float]) -> Bars:
    return Bars(name, values, [device_colour(0)] * record.scenario.users)
