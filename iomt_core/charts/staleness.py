"""What a stale twin costs over its interval, delay or noise, and how old and how wrong it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import PINNED_COLOUR, SHOWN_COLOUR
from iomt_core.experiments.comparison.paired import ROUNDING, Paired
from iomt_core.experiments.staleness import AXES, Axis, StalenessCost
from iomt_core.metrics import METRICS, STALENESS
from iomt_core.twin.mapping.synchronisation import FIELD_GROUPS, Synchronisation

SHOWN = (("cost", SHOWN_COLOUR, "solid", "circle"), ("return", PINNED_COLOUR, "dash", "diamond-open"))
LEAST_SPAN = 0.05  # %, of the vertical axis on each side


def axis_value(settings: Synchronisation, axis: Axis) -> float:
    """The value of the setting on the axis: steps, or noise in percent."""
    return 100 * settings.noise if axis == "noise" else getattr(settings, axis)


def staleness_curve(costs: Sequence[StalenessCost], axis: Axis, now: Synchronisation, subtitle: str = "") -> go.Figure:
    """Change of cost and return against a fresh twin, in percent, with paired 95 % intervals; a line at the settings `now`."""
    costs = sorted(costs, key=lambda cost: axis_value(cost.settings, axis))
    x = [axis_value(cost.settings, axis) for cost in costs]
    data: list[dict[str, Any]] = []
    largest = LEAST_SPAN
    for name, colour, dash, symbol in SHOWN:
        ends = [_percent(cost.pairs[name]) for cost in costs]
        largest = max([largest, *(abs(value) for triple in ends if triple for value in triple)])
        middle = [end and end[0] for end in ends]
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": METRICS[name].label, "x": x, "y": middle,
                "line": {"color": colour, "dash": dash, "width": 2}, "marker": {"symbol": symbol, "size": 8},
                "error_y": {
                    "type": "data", "symmetric": False, "thickness": 1.2,
                    "array": [end and end[2] - end[0] for end in ends],
                    "arrayminus": [end and end[0] - end[1] for end in ends],
                },
                "customdata": [cost.pairs[name].change_words for cost in costs],
                "hovertemplate": f"{METRICS[name].label}: %{{customdata}}<extra></extra>",
            }
        )  # fmt: skip
    place = axis_value(now, axis)
    layout = {
        "height": 340, "hovermode": "x unified", "uirevision": axis, "showlegend": True,
        "xaxis": {"title": {"text": AXES[axis]}, "tickvals": x},
        "yaxis": {"title": {"text": "change (%)"}, "range": [-1.1 * largest, 1.1 * largest]},
        "shapes": [
            {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "yref": "paper",
             "line": {"color": "#8a8f98", "width": 1.5, "dash": "dot"}},
        ],
    }  # fmt: skip
    title = f"Change against a fresh twin, over the {AXES[axis].partition(' (')[0]}"
    words = "; ".join(
        f"{cost.settings.words}: cost {cost.pairs['cost'].change_words}, return {cost.pairs['return'].change_words}"
        for cost in costs
    )
    return figure(data, layout, title, f"{title}, with 95 % intervals. {words}.", subtitle)


def _percent(pair: Paired) -> tuple[float, float, float] | None:
    """Relative change and both ends of its interval in percent; None where there is none."""
    if pair.same:
        return 0.0, 0.0, 0.0
    if pair.relative is None:
        return None
    low, high = pair.relative_interval or (pair.relative, pair.relative)
    return tuple(0.0 if abs(v) < ROUNDING else float(f"{100 * v:.6g}") for v in (pair.relative, low, high))  # type: ignore[return-value]


def cost_table(costs: Sequence[StalenessCost]) -> pd.DataFrame:
    """The settings, how old and wrong the twin is, and what that changes, as text with units."""
    rows = []
    for cost in costs:
        settings, noted = cost.settings, {group: FIELD_GROUPS[group].errors[-1] for group in cost.settings.groups}
        row = {
            "interval": f"{settings.interval}",
            "delay": f"{settings.delay}",
            "noise": f"{100 * settings.noise:.3g} %",
        }
        row["age (steps)"] = STALENESS["age_steps"].number(cost.staleness["age_steps"])
        row |= {STALENESS[name].label.lower(): STALENESS[name].show(cost.staleness[name]) for name in noted.values()}
        row |= {f"change of {METRICS[name].label.lower()}": cost.pairs[name].change_words for name, *_ in SHOWN}
        rows.append({**row, "verdict": f"{cost.verdict} ({cost.by})"})
    return pd.DataFrame(rows)


def group_table(staleness: Mapping[str, float], settings: Synchronisation) -> pd.DataFrame:
    """Staleness and error of each group of fields, as text with units.

    staleness: means over steps, by name in `STALENESS`.
    """
    rows = []
    for name, group in FIELD_GROUPS.items():
        late = name in settings.groups
        steps, seconds = (staleness[key] if late else 0.0 for key in ("age_steps", "age_s"))
        errors = [STALENESS[key].show(staleness[key] if late else 0.0) for key in group.errors]
        links = " in position, ".join(errors) + " in rates" if len(errors) > 1 else errors[0]
        rows.append((group.label, STALENESS["age_steps"].show(steps), STALENESS["age_s"].show(seconds), links))
    return pd.DataFrame(rows, columns=["group of fields", "age", "age in time", "error"])
