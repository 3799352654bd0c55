"""The charts' table twins: the numbers that a chart shows, one row a mark, units in the headings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from iomt_core.charts.devices import saved_per_ghz, used_shares
from iomt_core.model.channel import mean_rate, rate_quantile
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record

QUANTILES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)


def ward_table(record: Record, row: int) -> pd.DataFrame:
    """Where users and servers stand in one step, and how many tasks each computes."""
    one = record.worlds(slice(row, row + 1))
    users, servers = one.snapshot.users_xy[0].tolist(), one.snapshot.servers_xy[0].tolist()
    choice, active = one.action.choice[0], one.snapshot.active[0]
    local = ((choice == 0) & active).sum(-1).tolist()
    sent = [int(((choice == k) & active).sum()) for k in range(1, len(servers) + 1)]
    named = [
        *((f"server {n}", place, count) for n, (place, count) in enumerate(zip(servers, sent, strict=True), 1)),
        *((f"user {n}", place, count) for n, (place, count) in enumerate(zip(users, local, strict=True), 1)),
    ]
    return pd.DataFrame(
        [
            {"device": name, "x (m)": round(x, 2), "y (m)": round(y, 2), "tasks computed here": n}
            for name, (x, y), n in named
        ]
    )


def policy_table(results: Mapping[str, Mapping[str, Any]], pinned: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Cost and certified gap of every policy, by label; `results` and `pinned` as `comparison.policy_bars` takes them."""
    rows = [
        {
            "policy": label,
            "cost": round(result["cost"], 6),
            "bound of its steps": round(result["lower_bound"], 6),
            "gap (%)": round(100 * result["gap"], 3),
            "steps": result["steps"],
            **({} if pinned is None else {"pinned cost": pinned.get(label)}),
        }
        for label, result in results.items()
    ]
    return pd.DataFrame(rows)


def delay_table(drawn: Mapping[str, Any]) -> pd.DataFrame:
    """What `tasks.delay_bars` made."""
    rows = [
        {
            "user": task["id"][1],
            "task": task["id"][2],
            "device": task["device"],
            "execution (ms)": task["exe"],
            "transmission (ms)": task["tx"],
            "delay (ms)": round(task["exe"] + task["tx"], 4),
            "late": task["missed"],
        }
        for task in drawn["tasks"]
    ]
    return pd.DataFrame(rows)


def kind_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean cost and number of tasks of each kind, of a step's table."""
    groups = table.groupby("kind", observed=True).agg(cost=("cost", "mean"), tasks=("cost", "size")).reset_index()
    return groups.rename(columns={"cost": "mean task cost"})


def utilisation_table(record: Record, row: int) -> pd.DataFrame:
    """Used share of every device's CPU and bandwidth in one step."""
    cpu, band, own = (x[0].tolist() for x in used_shares(record.worlds(slice(row, row + 1))))
    rows = [
        {"device": device_name(n), "CPU in use (%)": round(100 * c, 2), "bandwidth in use (%)": round(100 * b, 2)}
        for n, (c, b) in enumerate(zip(cpu, band, strict=True), 1)
    ]
    users = [{"device": f"user {n}", "CPU in use (%)": round(100 * c, 2)} for n, c in enumerate(own, 1)]
    return pd.DataFrame([*rows, *users])


def price_table(record: Record, row: int) -> pd.DataFrame:
    """Shadow prices of one step: weighted cost saved by one more GHz, and as share of the step's total."""
    saved, total = saved_per_ghz(record, row), float(record.totals[row])
    if saved is None:
        return pd.DataFrame(columns=["resource", "cost saved (per GHz)", "cost saved (% of the step's, per GHz)"])
    resources = ("CPU of server", "bandwidth of server", "own CPU of user")
    named = [
        (f"{resource} {n}", price)
        for resource, prices in zip(resources, saved, strict=True)
        for n, price in enumerate(prices.tolist(), 1)
    ]
    return pd.DataFrame(
        [
            {
                "resource": name,
                "cost saved (per GHz)": round(price, 6),
                "cost saved (% of the step's, per GHz)": round(100 * price / total, 4),
            }
            for name, price in named
        ]
    )


def fading_table(bandwidth: float, beta: float) -> pd.DataFrame:
    """Quantiles of the rate (3) under Rayleigh fading and its expectation (6); arguments as `fading.fading` takes them."""
    b, link = torch.tensor(bandwidth, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
    rates = (rate_quantile(torch.tensor(QUANTILES, dtype=torch.float64), b, link) / 1e9).tolist()
    rows = [
        {"rate": f"below this {q:.0%} of the time", "Gbit/s": round(r, 6)}
        for q, r in zip(QUANTILES, rates, strict=True)
    ]
    return pd.DataFrame([*rows, {"rate": "expected (6)", "Gbit/s": round(float(mean_rate(b, link)) / 1e9, 6)}])
