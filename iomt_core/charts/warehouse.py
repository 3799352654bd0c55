"""How full the tiers of a data warehouse are: records, bytes and age of each, beside their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, SERVER_COLOURS
from iomt_core.metrics import three_digits
from iomt_core.twin.warehouse.limits import MEGABYTE

# Value and limit of each panel: key in a tier of `checks.status`, key of the limit, title, factor.
PANELS = (
    ("rows", "", "records", 1.0),
    ("bytes", "limit_bytes", "size (MB)", 1 / MEGABYTE),
    ("age_steps", "limit_steps", "age (steps)", 1.0),
)
PANEL, ROOM, GAP = 130, 110, 0.11  # px: height of a panel, and of legend and axis; gap as a share of the height


def tier_bars(state: Mapping[str, Any], subtitle: str = "") -> go.Figure:
    """A panel each for records, size and age of the tiers, on logarithmic axes, with the limits as marks.

    state: of `twin.warehouse.checks.status`.
    """
    tiers: Mapping[str, Mapping[str, Any]] = state["tiers"]
    names = list(tiers)
    height = (1 - GAP * (len(PANELS) - 1)) / len(PANELS)
    layout: dict[str, Any] = {
        "height": PANEL * len(PANELS) + ROOM, "showlegend": True, "bargap": 0.45,
        "xaxis": {"type": "category", "anchor": f"y{len(PANELS)}", "showgrid": False},
    }  # fmt: skip
    data: list[dict[str, Any]] = []
    for n, (key, limit, title, factor) in enumerate(PANELS, 1):
        axis, top = "y" if n == 1 else f"y{n}", 1 - (n - 1) * (height + GAP)
        values = [tier[key] * factor for tier in tiers.values()]
        limits = [None if not limit or tier[limit] is None else tier[limit] * factor for tier in tiers.values()]
        ends = [value for value in (*values, *limits) if value]
        low, high = min(ends, default=1.0), max(ends, default=1.0)
        bottom, wide = low / 4, high > 1e4 * low
        layout[axis.replace("y", "yaxis")] = {
            "title": {"text": title}, "type": "log", "domain": [max(0.0, top - height), top], "nticks": 4,
            "range": [math.log10(bottom), math.log10(high) + 0.9], "tickformat": ",~g", "dtick": 2 if wide else 1,
        }  # fmt: skip
        data.append(
            {
                "type": "bar", "name": "stored", "legendgroup": "stored", "showlegend": n == 1, "x": names, "yaxis": axis,
                "y": [value or bottom for value in values], "text": [three_digits(value) for value in values],
                "textposition": "outside", "cliponaxis": False, "marker": {"color": SERVER_COLOURS[0]},
                "hovertext": [f"{name}: {three_digits(value)} {title}" for name, value in zip(names, values, strict=True)],
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        )  # fmt: skip
        if any(limits):
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": "limit", "legendgroup": "limit", "x": names, "y": limits,
                    "showlegend": key == "bytes", "yaxis": axis,
                    "marker": {"symbol": "line-ew-open", "size": 38, "color": BOUND_COLOUR, "line": {"width": 3}},
                    "hovertemplate": f"limit of %{{x}}: %{{y:.4g}} {title}<extra></extra>",
                }
            )  # fmt: skip
    title = "What each tier holds, and its limits"
    return figure(data, layout, title, f"{title}. {_words(tiers)}", subtitle)


def tier_table(state: Mapping[str, Any]) -> pd.DataFrame:
    """The table of `tier_bars`: a row for each tier; an empty limit means none."""
    rows = []
    for name, tier in state["tiers"].items():
        row: dict[str, Any] = {"tier": name, "records": tier["rows"], "segments": tier["segments"]}
        row |= {
            "size (MB)": _number(tier["bytes"], 1 / MEGABYTE),
            "limit (MB)": _number(tier["limit_bytes"], 1 / MEGABYTE),
        }
        row |= {"age (steps)": tier["age_steps"], "limit (steps)": _number(tier["limit_steps"])}
        rows.append({**row, "full": "yes" if tier["full"] else "no"})
    return pd.DataFrame(rows)


def _number(value: float | None, factor: float = 1.0) -> float | None:
    return None if value is None else float(f"{value * factor:.6g}")


def _words(tiers: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, tier in tiers.items():
        size = f"{three_digits(tier['bytes'] / MEGABYTE)} MB" + _of(tier["limit_bytes"], 1 / MEGABYTE)
        age = f"{tier['age_steps']:,} steps old" + _of(tier["limit_steps"])
        parts.append(f"{name}: {tier['rows']:,} records, {size}, {age}{', full' * tier['full']}")
    return "; ".join(parts) + "."


def _of(limit: float | None, factor: float = 1.0) -> str:
    return ", no limit" if limit is None else f" of at most {three_digits(limit * factor)}"
