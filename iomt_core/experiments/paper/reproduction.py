"""Whether the paper's claim holds in this lab's own runs: read off the manifest, never written down by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from iomt_core.training.catalogue import PRETRAINED

OURS = "paper-sae-mt-qmix"
FIGURES = {"cost": "weighted cost", "mean_delay_s": "delay", "mean_energy_j": "energy"}
SURE = 0.05  # two-sided; seeds are few, so little is sure


def read_manifest(place: Path = PRETRAINED) -> dict[str, Any] | None:
    """The shipped policies' manifest; nothing where none can be read."""
    try:
        found: dict[str, Any] = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def findings(manifest: Mapping[str, Any]) -> list[str]:
    """A sentence a figure: whether SAE-MT-QMIX is lower than every learned baseline, and where it is not.

    Compared are means over training seeds on the same held-out episodes, by Welch's t-test; with fewer than two seeds a
    side nothing is called sure.
    """
    policies = {name: entry for name, entry in manifest["policies"].items() if entry["kind"] == "paper"}
    if OURS not in policies:
        return []
    ours, rest = policies[OURS], [entry for name, entry in policies.items() if name != OURS]
    return [_sentence(figure, words, ours, rest) for figure, words in FIGURES.items() if rest]


def _sentence(figure: str, words: str, ours: Mapping[str, Any], rest: list[Mapping[str, Any]]) -> str:
    mine = _values(ours, figure)
    better = [entry["label"] for entry in rest if _mean(_values(entry, figure)) < _mean(mine)]
    unsure = [entry["label"] for entry in rest if not _sure(mine, _values(entry, figure))]
    text = f"Lowest {words} of all learned policies: {'yes' if not better else 'no, ahead are ' + ', '.join(better)}."
    if unsure:
        text += f" Within what chance between seeds can do: the differences to {', '.join(unsure)}."
    return text


def _values(entry: Mapping[str, Any], figure: str) -> list[float]:
    return [seed[figure] for seed in entry["seeds"].values()]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _sure(a: list[float], b: list[float]) -> bool:
    if min(len(a), len(b)) < 2:
        return False
    return bool(stats.ttest_ind(a, b, equal_var=False).pvalue < SURE)


def comparison_table(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Every policy on the paper's ward: seeds, gap (%), delay (ms), energy (µJ), weighted cost; the lowest gap first."""
    rows = []
    for entry in manifest["policies"].values():
        label = entry["label"] if entry["kind"] == "paper" else f"{entry['label']}, one network for any ward"
        figures = {name: entry["mean"][name]["mean"] for name in ("gap", *FIGURES)}
        rows.append((label, len(entry["seeds"]), *figures.values()))
    rows += [(name, None, *(f[key] for key in ("gap", *FIGURES))) for name, f in manifest["beside"].items()]
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
