"""Policies side by side, with the certified bound as a line."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from iomt_core.charts.style import BOUND_COLOUR, PINNED_COLOUR, figure

# Bars end at this multiple of the bound, so that one absurd policy does not flatten the others; their text says the value.
LONGEST = 3.2


def policy_bars(
    costs: Mapping[str, float], bound: float, selected: str, pinned: Mapping[str, float] | None = None
) -> go.Figure:
    """Priority-weighted mean cost a policy; `costs` by label, best first at the top; `pinned` costs as diamonds."""
    labels = list(costs)
    end = LONGEST * bound
    shown = [min(value, end) for value in costs.values()]
    gaps = [value / bound - 1 for value in costs.values()]
    text = [
        f"{value:.3f} (+{gap:.1%})" if gap < 10 else f"{value:.3g} (×{gap + 1:.3g})"
        for value, gap in zip(costs.values(), gaps, strict=True)
    ]
    data: list[dict[str, object]] = [
        {
            "type": "bar",
            "orientation": "h",
            "y": labels,
            "x": shown,
            "text": [f"{t} …" if v > end else t for t, v in zip(text, costs.values(), strict=True)],
            "textposition": "auto",
            "marker": {
                "color": ["#0072b2" if label == selected else "#9ecae1" for label in labels],
                "pattern": {"shape": ["" if label == selected else "/" for label in labels], "fgopacity": 0.25},
            },
            "customdata": list(costs.values()),
            "hovertemplate": "%{y}: cost %{customdata:.4f}<extra></extra>",
            "name": "cost",
            "showlegend": False,
        }
    ]
    if pinned:
        marker = {"symbol": "diamond-open", "size": 10, "color": PINNED_COLOUR, "line": {"width": 2}}
        data.append(
            {
                "type": "scatter", "mode": "markers", "y": list(pinned), "x": [min(v, end) for v in pinned.values()],
                "marker": marker, "name": "pinned", "hovertemplate": "%{y}, pinned: %{x:.4f}<extra></extra>",
            }
        )  # fmt: skip
    layout = {
        "height": 330,
        "title": {"text": "Cost of every policy, and the bound", "font": {"size": 14}},
        "xaxis": {"title": {"text": "priority-weighted mean task cost"}, "range": [0, end * 1.02]},
        "yaxis": {"autorange": "reversed", "automargin": True},
        "showlegend": bool(pinned),
        "shapes": [
            {"type": "line", "x0": bound, "x1": bound, "y0": 0, "y1": 1, "yref": "paper",
             "line": {"color": BOUND_COLOUR, "width": 2, "dash": "dash"}}
        ],
        "annotations": [
            {"x": bound, "y": 1.0, "yref": "paper", "text": f"bound {bound:.4f}", "showarrow": False, "yanchor": "bottom",
             "font": {"color": BOUND_COLOUR}}
        ],
    }  # fmt: skip
    return figure(data, layout)
