"""Policies side by side, with the certified bound as a line: the data of the drawing as JSON-ready values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iomt_core.charts.axes import ticks

# Bars are cut off at this multiple of the bound, so that one bad policy does not flatten the others; the label has the value.
LONGEST = 3.2


def policy_bars(
    results: Mapping[str, Mapping[str, Any]], best: str, selected: str, pinned: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Priority-weighted mean cost of every policy, by label.

    results: summaries of `experiments.evaluation` by label; pinned: costs of the pinned scenario by label. The line is the bound
    over the steps that `best` played. Where a battery ran empty a policy played fewer steps: its gap refers to the bound of
    its own steps, and its label says how many they were.
    """
    bound = results[best]["lower_bound"]
    most = max(result["steps"] for result in results.values())
    end = LONGEST * bound
    rows = []
    for label, result in results.items():
        cost, gap = result["cost"], result["gap"]
        text = f"{cost:.4f} (+{gap:.1%})" if gap < 10 else f"{cost:.4g} (× {gap + 1:.3g})"
        if result["steps"] < most:
            text += f", only {result['steps']} steps"
        rows.append(
            {
                "label": label,
                "value": float(f"{cost:.6g}"),
                "text": f"{text} →" if cost > end else text,
                "selected": label == selected,
                "pinned": None if pinned is None or label not in pinned else float(f"{pinned[label]:.6g}"),
            }
        )
    words = ", ".join(f"{row['label']} {row['value']:.4g}" for row in rows)
    return {
        "rows": rows,
        "bound": bound,
        "bound_text": f"bound {bound:.4f}",
        "end": end,
        "ticks": ticks(end),
        "axis": "cost (priority-weighted mean)",
        "text": f"Cost of every policy: {words}; certified lower bound {bound:.4g}.",
    }
