"""Policies side by side, with the certified bound as a line: what the drawing shows, as plain JSON-ready values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iomt_core.charts.axes import ticks

# Bars end at this multiple of the bound, so that one absurd policy does not flatten the others; their text says the value.
LONGEST = 3.2


def policy_bars(
    results: Mapping[str, Mapping[str, Any]], best: str, selected: str, pinned: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Priority-weighted mean cost a policy, by label; `results` are the summaries of `experiments.evaluation`.

    The line is the bound over the steps that `best` played. A policy whose battery ran empty played fewer: its gap is to
    the bound of its own steps, and its text says how many they were. `pinned` are the costs of the pinned scenario.
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
