"""Tables with the numbers that a chart shows, one row for each mark, units in the headings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import torch

from iomt_core.charts.devices import used_shares
from iomt_core.charts.tasks import slowest_first
from iomt_core.metrics import CONTEXT, METRICS, TASK
from iomt_core.model.channel import mean_rate, rate_quantile
from iomt_core.record import Record
from iomt_core.scenario import metadata

# Columns of `Why.alternatives` that are weighted costs, of the whole ward or in later steps.
LATER = {
    "energy_later": "its energy costs later", "ward_change": "ward's total changes by", "later_change": "and later by"
}  # fmt: skip
LATENCY = "latency (ms)"
QUANTILES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)


def ward_table(record: Record, row: int) -> pd.DataFrame:
    """Positions of users and servers in one step, and the number of tasks each computes."""
    one, s = record.select(slice(row, row + 1)), record.scenario
    users, servers = one.snapshot.users_xy[0].tolist(), one.snapshot.servers_xy[0].tolist()
    choice, active = one.action.choice[0], one.snapshot.active[0]
    local = ((choice == 0) & active).sum(-1).tolist()
    sent = [int(((choice == k) & active).sum()) for k in range(1, len(servers) + 1)]
    named = [
        *((s.device_label(n), *rest) for n, *rest in zip(s.server_numbers, servers, sent, strict=True)),
        *((s.user_label(n), *rest) for n, *rest in zip(s.user_numbers, users, local, strict=True)),
    ]
    table = pd.DataFrame(
        [
            {"device": name, "x (m)": round(x, 2), "y (m)": round(y, 2), "tasks computed here": n}
            for name, (x, y), n in named
        ]
    )
    differ = s.server_devices or s.user_devices or s.has_latency
    return pd.concat([table, _own_values(one)], axis=1) if differ else table


def _own_values(one: Record) -> pd.DataFrame:
    """What each server and then each user has; empty for what only the other kind has."""
    s, meta, snap = one.scenario, metadata(), one.snapshot
    servers, users = [None] * s.servers, [None] * s.users

    def shown(name: str, values: Iterable[float]) -> list[Any]:
        return [float(f"{value * meta[name].shown_factor:.6g}") for value in values]

    values = s.device_values
    found: dict[str, list[Any]] = {
        "CPU (GHz)": shown("F_k", values["F_k"]) + shown("F_i", values["F_i"]),
        "bandwidth (GHz)": shown("B_k", values["B_k"]) + users,
        "latency (ms)": shown("latency", values["latency"]) + users,
        "transmission power (W)": servers + shown("P_tr", snap.P_tr[0].tolist()),
        "battery (mJ)": servers + shown("Cap", values["Cap"]),
    }
    return pd.DataFrame(found)


def policy_table(
    results: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], by: str = "cost",
    pinned: Mapping[str, float] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Cost, return and certified gaps of every policy; arguments as for `comparison.policy_bars`."""
    rows = [
        {
            "policy": labels[name],
            "cost": round(result["cost"], 6),
            "bound of its steps": round(result.get("lower_bound", math.nan), 6),
            METRICS["gap"].heading: round(result.get("gap", math.nan) * METRICS["gap"].factor, 3),
            "return": float(f"{result['return']:.6g}"),
            METRICS["return_gap"].heading: round(result.get("return_gap", math.nan) * METRICS["return_gap"].factor, 3),
            "steps": result["steps"],
            CONTEXT["skipped_share"].heading: round(result["skipped_share"] * CONTEXT["skipped_share"].factor, 3),
            **({} if pinned is None else {f"pinned {by}": pinned.get(name)}),
        }
        for name, result in results.items()
    ]
    return pd.DataFrame(rows)


def delay_table(record: Record, row: int) -> pd.DataFrame:
    """The table of `tasks.delay_bars`; a skipped task has no delay."""
    table = slowest_first(record, row)
    return pd.DataFrame(
        {
            **{name: table[name] for name in ("user", "task", "kind", "device")},
            **{TASK[f"{name}_s"].heading: table[name].round(4) for name in ("delay_exe", "delay_tx", "delay")},
            **({LATENCY: table["latency"].round(4)} if "latency" in table else {}),
            TASK["deadline_s"].heading: (table["deadline_s"] * TASK["deadline_s"].factor).round(4),
            "late": table["deadline_missed"] & ~table["skipped"],
            "skipped": table["skipped"],
        }
    )


def task_table(table: pd.DataFrame) -> pd.DataFrame:
    """`Record.table` in the units people read, with headings that say them."""
    shown = {}
    for name, values in table.items():
        metric = TASK[str(name)]
        shown[metric.heading] = values if metric.factor == 1.0 else values * metric.factor
    return pd.DataFrame(shown)


def alternatives_table(frame: pd.DataFrame, everything: bool = False) -> pd.DataFrame:
    """The alternatives of one task, `Why.alternatives`, in the units people read; with `everything` also its resources."""
    held = (
        ("cpu_share_requested", "cpu_hz", "bandwidth_share_requested", "bandwidth_hz", "distance_m")
        if everything
        else ()
    )
    table = pd.DataFrame({"": ["➜" if chosen else "" for chosen in frame["chosen"]], "device": frame["device"]})
    for name in ("delay_s", "deadline_s", "energy_j", "cost", "energy_later", "ward_change", "later_change", *held):
        heading, factor = (LATER[name], 1.0) if name in LATER else _shown(name)
        table[heading] = (frame[name] * factor).round(4)
        if name == "deadline_s":
            table["late"] = frame["deadline_missed"] & ~frame["skipped"]
            if (frame["latency_s"] > 0).any():
                table[LATENCY] = (frame["latency_s"] * TASK["delay_s"].factor).round(4)
    if everything:
        for name in ("CPU", "bandwidth"):
            table[f"{name} price (per GHz)"] = (frame[f"{name.lower()}_price"] * 1e9).round(4)
    return table


def _shown(name: str) -> tuple[str, float]:
    return TASK[name].heading, TASK[name].factor


def changes_table(table: pd.DataFrame) -> pd.DataFrame:
    """`comparison.decisions.changed_decisions` in the units people read: a metric's A, B and B - A next to each other."""
    shown = table[["step", "user", "task", "priority"]].copy()
    shown["A: device"], shown["B: device"] = table["device_a"], table["device_b"]
    for name in ("delay_s", "energy_j", "cost", "data_bits", "cycles"):
        heading, factor = _shown(name)
        for column, end in ((f"A: {heading}", "a"), (f"B: {heading}", "b"), (f"B - A: {heading}", "change")):
            if f"{name}_{end}" in table:
                shown[column] = table[f"{name}_{end}"] * factor
        if name == "cost":
            shown["weight in B"], shown["B - A: weight × cost"] = table["weight"], table["weighted_change"]
    shown["A: late"], shown["B: late"] = table["deadline_missed_a"], table["deadline_missed_b"]
    return shown


def kind_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean cost, deadline and misses of each kind, of a table of tasks; skipped tasks count as misses."""
    deadline = TASK["deadline_s"]
    groups = table.groupby("kind", observed=True).agg(
        tasks=("cost", "size"), cost=("cost", "mean"), deadline=("deadline_s", "first"),
        missed=("deadline_missed", "sum"), skipped=("skipped", "sum"),
    ).reset_index()  # fmt: skip
    groups["deadline"] *= deadline.factor
    groups["share"] = (100 * groups["missed"] / groups["tasks"]).round(3)
    names = {
        "cost": "mean task cost", "deadline": deadline.heading, "missed": "late or skipped", "skipped": "skipped",
        "share": "late or skipped (%)",
    }  # fmt: skip
    return groups.rename(columns=names)


def utilisation_table(record: Record, row: int) -> pd.DataFrame:
    """Utilisation of every device's CPU and bandwidth in one step."""
    cpu, band, own = (x[0].tolist() for x in used_shares(record.select(slice(row, row + 1))))
    rows = [
        {
            "device": record.scenario.device_label(n),
            "CPU in use (%)": round(100 * c, 2),
            "bandwidth in use (%)": round(100 * b, 2),
        }
        for n, c, b in zip(record.scenario.server_numbers, cpu, band, strict=True)
    ]
    named = zip(record.scenario.user_numbers, own, strict=True)
    users = [{"device": record.scenario.user_label(n), "CPU in use (%)": round(100 * c, 2)} for n, c in named]
    return pd.DataFrame([*rows, *users])


def fading_table(bandwidth: float, beta: float) -> pd.DataFrame:
    """Quantiles of the rate (3) under Rayleigh fading and its expectation (6); arguments as for `fading.fading`."""
    b, link = torch.tensor(bandwidth, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
    rates = (rate_quantile(torch.tensor(QUANTILES, dtype=torch.float64), b, link) / 1e9).tolist()
    rows = [
        {"rate": f"below this {q:.0%} of the time", "Gbit/s": round(r, 6)}
        for q, r in zip(QUANTILES, rates, strict=True)
    ]
    return pd.DataFrame([*rows, {"rate": "expected (6)", "Gbit/s": round(float(mean_rate(b, link)) / 1e9, 6)}])
