"""The cost of all policies side by side, with the certified bound as a line."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, PINNED_COLOUR, SHOWN_COLOUR

# Bars are cut off at this multiple of the bound, so that one bad policy does not flatten the others; the label has the value.
LONGEST = 3.2
ROW = 36  # px
LETTER = 6.2  # px, width of a letter at most on average
OTHER = "#9ecae1"


def policy_bars(
    results: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], best: str, shown: str,
    pinned: Mapping[str, float] | None = None, subtitle: str = "",
) -> go.Figure:  # fmt: skip
    """Priority-weighted mean cost of every policy, by name; a click on a bar sends the policy's name.

    results: summaries of `experiments.evaluation` by name; labels: what people read, by name; shown: the emphasised policy;
    pinned: costs of the pinned scenario by name. The line is the bound over the steps that `best` played. Where a battery ran
    empty a policy played fewer steps: its gap refers to the bound of its own steps, and its label says how many they were.
    """
    bound, names = float(results[best]["lower_bound"]), list(results)
    most = max(result["steps"] for result in results.values())
    end = LONGEST * bound
    rows = [html.escape(labels[name], quote=False) for name in names]
    texts = [_text(results[name], most, end) for name in names]
    lines = [row.replace(", ", ",<br>") for row in rows]
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "cost",
        "y": rows,
        "x": [float(f"{results[name]['cost']:.6g}") for name in names],
        "customdata": names,
        "marker": {"color": [SHOWN_COLOUR if name == shown else OTHER for name in names]},
        "hovertext": [
            f"{row}<br>cost {results[name]['cost']:.4f}, at most {100 * results[name]['gap']:.3g} % above the best possible<br>"
            f"{results[name]['steps']} steps"
            for row, name in zip(rows, names, strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "showlegend": False,
    }  # fmt: skip
    data: list[dict[str, Any]] = [bars]
    if pinned:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "pinned",
                "y": [row for row, name in zip(rows, names, strict=True) if name in pinned],
                "x": [float(f"{pinned[name]:.6g}") for name in names if name in pinned],
                "marker": {"symbol": "diamond-open", "size": 12, "color": PINNED_COLOUR, "line": {"width": 2.5}},
                "hovertemplate": "%{y}, pinned: cost %{x:.4f}<extra></extra>",
            }
        )
    line = {
        "type": "line", "x0": bound, "x1": bound, "yref": "paper", "y0": 0, "y1": 1, "showlegend": True,
        "name": f"no policy can be left of this bound: {bound:.4f}", "line": {"color": BOUND_COLOUR, "width": 2, "dash": "dash"},
    }  # fmt: skip
    # The values stand right of the plot, where neither the bound nor a pinned mark crosses them.
    values = [
        {"xref": "paper", "x": 1, "xanchor": "left", "y": row, "text": f"<b>{text}</b>" if name == shown else text,
         "showarrow": False, "align": "left", "font": {"size": 12}}
        for name, row, text in zip(names, rows, texts, strict=True)
    ]  # fmt: skip
    ticks = [f"<b>{row}</b>" if name == shown else row for row, name in zip(lines, names, strict=True)]
    layout = {
        "height": ROW * len(rows) + 110,
        "margin": {
            "l": 12,
            "r": 16 + LETTER * max(len(line) for text in texts for line in text.split("<br>")),
            "t": 28,
            "b": 44,
        },
        "showlegend": True,
        "xaxis": {"title": {"text": "cost (priority-weighted mean of the tasks)"}, "range": [0, end]},
        "yaxis": {"type": "category", "tickvals": rows, "ticktext": ticks, "autorange": "reversed", "showgrid": False},
        "shapes": [line],
        "annotations": values,
    }
    words = ", ".join(f"{labels[name]} {results[name]['cost']:.4g}" for name in names)
    return figure(
        data, layout, "Cost of every policy", f"Cost of every policy: {words}; certified lower bound {bound:.4g}.", subtitle
    )  # fmt: skip


def _text(result: Mapping[str, Any], most: int, end: float) -> str:
    """Cost and gap at the end of a bar."""
    cost, gap = result["cost"], result["gap"]
    arrow = "→ " if cost > end else ""
    text = f"{arrow}{cost:.4f} (+{100 * gap:.3g} %)" if gap < 9.995 else f"{arrow}{cost:.4g} (× {gap + 1:.3g})"
    if result["steps"] < most:
        text += f"<br>{result['steps']} steps only"
    return text
