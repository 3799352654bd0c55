"""Whether the paper's claim holds in this lab's own training runs, computed from the manifest of the shipped policies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median as median_of
from typing import Any

import pandas as pd
from scipy import stats

from iomt_core.places import PRETRAINED

OURS = "paper-sae-mt-qmix"
FIGURES = {"cost": "weighted cost", "mean_delay_s": "delay", "mean_energy_j": "energy"}


def read_manifest(place: Path = PRETRAINED) -> dict[str, Any] | None:
    """The manifest of the shipped policies; None if it cannot be read."""
    try:
        found: dict[str, Any] = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def median(seeds: Sequence[Mapping[str, float]], figure: str) -> float:
    """Median of a figure over training seeds."""
    return median_of(seed[figure] for seed in seeds)


def claim_table(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """For each figure of the paper's claim: how SAE-MT-QMIX compares with the best learned baseline.

    Compared are means over training seeds, on the same held-out episodes. The interval is Welch's, at 95 %; where one of the
    two has a single seed there is none, and no verdict. Negative differences are in favour of SAE-MT-QMIX.
    """
    policies = {name: entry for name, entry in manifest["policies"].items() if entry["kind"] == "paper"}
    ours = policies.pop(OURS, None)
    columns = ("metric", "best baseline", "SAE-MT-QMIX's rank", "difference to it", "95 % interval", "verdict")
    if ours is None or not policies:
        return pd.DataFrame(columns=columns)
    rows = [(label, *_compared(figure, ours, list(policies.values()))) for figure, label in FIGURES.items()]
    return pd.DataFrame(rows, columns=columns)


def _compared(figure: str, ours: Mapping[str, Any], rest: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    mine = _values(ours, figure)
    best = min(rest, key=lambda entry: _mean(_values(entry, figure)))
    other = _values(best, figure)
    rank = 1 + sum(_mean(_values(entry, figure)) < _mean(mine) for entry in rest)
    scale = 100 / _mean(other)
    difference = f"{(_mean(mine) - _mean(other)) * scale:+.1f} %"
    if min(len(mine), len(other)) < 2:
        return best["label"], f"{rank} of {len(rest) + 1}", difference, "", "one seed: no verdict"
    low, high = stats.ttest_ind(mine, other, equal_var=False).confidence_interval()
    verdict = "better" if high < 0 else "worse" if low > 0 else "not distinguishable"
    interval = f"{low * scale:+.1f} to {high * scale:+.1f} %"
    return best["label"], f"{rank} of {len(rest) + 1}", difference, interval, verdict


def _values(entry: Mapping[str, Any], figure: str) -> list[float]:
    return [seed[figure] for seed in entry["seeds"].values()]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def comparison_table(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Every policy on the paper's ward, the lowest gap first: seeds, then the median over seeds of gap (%), weighted cost,
    delay (ms) and energy (µJ).
    """
    policies = [(name, None, [figures]) for name, figures in manifest["beside"].items()]
    for entry in manifest["policies"].values():
        label = entry["label"] if entry["kind"] == "paper" else f"{entry['label']}, general network"
        policies.append((label, len(entry["seeds"]), list(entry["seeds"].values())))
    rows = [(label, count, *(median(seeds, key) for key in ("gap", *FIGURES))) for label, count, seeds in policies]
    table = pd.DataFrame(rows, columns=["policy", "seeds", "gap", "cost", "delay", "energy"]).sort_values("gap")
    return pd.DataFrame(
        {
            "policy": table["policy"],
            "seeds": table["seeds"].astype("Int64"),
            "gap to the bound (%)": (table["gap"] * 100).round(2),
            "weighted cost": table["cost"].round(4),
            "delay (ms)": (table["delay"] * 1e3).round(3),
            "energy (µJ)": (table["energy"] * 1e6).round(2),
        }
    ).reset_index(drop=True)
