"""Cost or return of all policies side by side, with the certified bound as a line."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, PINNED_COLOUR, SHOWN_COLOUR
from iomt_core.experiments.evaluation import is_partial
from iomt_core.metrics import CONTEXT, METRICS

# Costs are cut off at this multiple of the bound, so that one bad policy does not flatten the others; the label has the value.
LONGEST = 3.2
ROOM = 1.04  # end of the axis of returns over their bound
ROW = 36  # px
LETTER = 6.2  # px, width of a letter at most on average
OTHER = "#9ecae1"
TITLES = {
    "cost": ("Cost of every policy", "cost (priority-weighted mean of the tasks)", "left"),
    "return": ("Return of every policy", "return (weighted sum of 1 - cost over the episode)", "right"),
}
PARTLY = {"shape": "/", "size": 6, "solidity": 0.35, "fillmode": "overlay", "fgcolor": "#ffffff"}


def policy_bars(
    results: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], shown: str, bound: float, by: str = "cost",
    pinned: Mapping[str, float] | None = None, subtitle: str = "", steps: int = 0,
) -> go.Figure:  # fmt: skip
    """Priority-weighted mean cost, or return, of every policy; a click on a bar sends the policy's name.

    results: summaries of `experiments.evaluation` by name; a policy of `labels` that has none is being computed. labels: what
    people read, by name; shown: the emphasised policy; bound: what no policy can beat, the line, NaN while it is being computed;
    by: "cost" or "return"; pinned: the same of the pinned scenario, by name; steps: of the whole episode. Bars of policies
    that played fewer steps, or skipped tasks, are hatched, because their cost leaves that out; their label says so.
    """
    names = list(labels)
    title, axis, side = TITLES[by]
    end = LONGEST * bound if by == "cost" else ROOM * bound
    is_bound = math.isfinite(bound)
    if not is_bound:
        end = (1 + ROOM) * max((results[name][by] for name in names if name in results), default=1.0)
    rows = [html.escape(labels[name], quote=False) for name in names]
    texts = [_text(results[name], by, end, steps) if name in results else "…" for name in names]
    lines = [row.replace(", ", ",<br>") for row in rows]
    known = [name in results for name in names]
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": by,
        "y": rows,
        "x": [float(f"{results[name][by]:.6g}") if there else None for name, there in zip(names, known, strict=True)],
        "customdata": names,
        "marker": {
            "color": [SHOWN_COLOUR if name == shown else OTHER for name in names],
            "pattern": {
                **PARTLY,
                "shape": ["/" if there and is_partial(results[name]) else "" for name, there in zip(names, known, strict=True)],
            },
        },
        "hovertext": [
            f"{row}<br>{_hover(results[name])}" if there else f"{row}: being computed"
            for row, name, there in zip(rows, names, known, strict=True)
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
                "hovertemplate": f"%{{y}}, pinned: {by} %{{x:.4f}}<extra></extra>",
            }
        )
    line = {
        "type": "line", "x0": bound, "x1": bound, "yref": "paper", "y0": 0, "y1": 1, "showlegend": True,
        "name": f"no policy can be {side} of this bound: {METRICS[by].show(bound)}",
        "line": {"color": BOUND_COLOUR, "width": 2, "dash": "dash"},
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
        "uirevision": by,
        "xaxis": {"title": {"text": axis}, "range": [0, end]},
        "yaxis": {"type": "category", "tickvals": rows, "ticktext": ticks, "autorange": "reversed", "showgrid": False},
        "shapes": [line] if is_bound else [],
        "annotations": values,
    }
    words = ", ".join(
        f"{labels[name]} {METRICS[by].number(results[name][by])}" if there else f"{labels[name]} being computed"
        for name, there in zip(names, known, strict=True)
    )
    line_words = f"certified bound {METRICS[by].number(bound)}" if is_bound else "the certified bound is being computed"
    return figure(data, layout, title, f"{title}: {words}; {line_words}.", subtitle)


def _hover(result: Mapping[str, Any]) -> str:
    if "gap" not in result:
        return f"cost {METRICS['cost'].show(result['cost'])}; the bound is being computed"
    parts = [
        f"cost {METRICS['cost'].show(result['cost'])}, at most {100 * result['gap']:.3g} % above the bound of its steps",
        f"return {METRICS['return'].show(result['return'])}, bound {CONTEXT['return_bound'].show(result['return_bound'])}",
        f"{result['steps']} steps",
    ]
    if result["skipped_share"]:
        parts.append(f"{CONTEXT['skipped_share'].show(result['skipped_share'])} of the tasks skipped")
    return "<br>".join(parts)


def _text(result: Mapping[str, Any], by: str, end: float, steps: int) -> str:
    """Value and gap at the end of a bar, and what was not done."""
    value = result[by]
    if "gap" not in result:  # the bound is being computed
        text = METRICS["return"].brief(value) if by == "return" else f"{value:.4f}"
    elif by == "return":
        gap = result["return_gap"]
        text = f"{METRICS['return'].brief(value)} " + (f"(gap {100 * gap:.3g} %)" if gap < 9.995 else "(gap > 999 %)")
    else:
        gap, arrow = result["gap"], "→ " if value > end else ""
        text = f"{arrow}{value:.4f} (+{100 * gap:.3g} %)" if gap < 9.995 else f"{arrow}{value:.4g} (× {gap + 1:.3g})"
    left_out = []
    if result["steps"] < steps:
        left_out.append(f"{result['steps']} of {steps} steps")
    if result["skipped_share"]:
        left_out.append(f"{100 * result['skipped_share']:.2g} % skipped")
    return "<br>".join([text, *([", ".join(left_out)] if left_out else [])])
