"""The results of the shipped policies, and whether the paper's claim holds in them: computed from the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from iomt_core.experiments.statistics import Interval, difference_interval, mean, mean_interval
from iomt_core.metrics import METRICS, Metric
from iomt_core.paths import PRETRAINED
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.reference import markdown
from iomt_core.training.manifest import read_manifest

OURS = "paper-sae-mt-qmix"
SHOWN = ("gap", "cost", "mean_delay_s", "mean_energy_j")
CLAIMED = ("cost", "mean_delay_s", "mean_energy_j")  # the paper claims the lowest of these for its algorithm
ENOUGH_SEEDS = 5  # fewer are listed one by one: an interval from three seeds says next to nothing


@dataclass(frozen=True)
class Verdict:
    """SAE-MT-QMIX against the best of the other learned policies, in one metric; `difference` is SAE-MT-QMIX less the other."""

    metric: Metric
    best: str
    rank: int
    policies: int
    rival: str
    difference: float
    interval: Interval | None

    @property
    def words(self) -> Literal["better", "worse", "not distinguishable"]:
        """What the 95 % interval says; all metrics of the claim are better when lower."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "not distinguishable"
        return "better" if self.difference < 0 else "worse"


def verdicts(manifest: Mapping[str, Any]) -> list[Verdict]:
    """Whether SAE-MT-QMIX beats every other policy trained on the paper's ward, one verdict for each metric.

    Compared are means over training seeds on the same held-out episodes, with Welch's 95 % interval of the difference.
    """
    policies = {name: entry for name, entry in manifest["policies"].items() if entry["kind"] == "paper"}
    ours = policies.pop(OURS, None)
    if ours is None or not policies:
        return []
    found = []
    for metric in (METRICS[name] for name in CLAIMED):
        mine = _of_seeds(ours, metric)
        others = {entry["label"]: _of_seeds(entry, metric) for entry in policies.values()}
        rival = min(others, key=lambda label: mean(others[label]))
        rank = 1 + sum(mean(values) < mean(mine) for values in others.values())
        difference, interval = mean(mine) - mean(others[rival]), difference_interval(mine, others[rival])
        best = ours["label"] if rank == 1 else rival
        found.append(Verdict(metric, best, rank, len(others) + 1, rival, difference, interval))
    return found


def verdict_table(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """`verdicts` as text, one row for each metric."""
    rows = [
        {
            "metric": found.metric.label,
            "best policy": found.best,
            "rank of SAE-MT-QMIX": f"{found.rank} of {found.policies}",
            "compared with": found.rival,
            "difference (95 % interval)": _with_interval(
                found.metric.show_difference(found.difference), found.interval, found.metric, "+"
            ),
            "verdict": found.words,
        }
        for found in verdicts(manifest)
    ]
    return pd.DataFrame(rows)


def results(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Every policy on the paper's ward as text: number of seeds and metrics, the lowest mean gap first.

    A metric of a trained policy is its mean over seeds with the 95 % interval (Student), or the list of its seeds' values where
    there are fewer than five.
    """
    rows: list[tuple[float, dict[str, str]]] = []
    for entry in manifest["policies"].values():
        label = f"{entry['label']}, {entry['kind']} network"
        cells = {METRICS[name].label: seeds_text(METRICS[name], _of_seeds(entry, METRICS[name])) for name in SHOWN}
        gap = mean(_of_seeds(entry, METRICS["gap"]))
        rows.append((gap, {"policy": label, "seeds": str(len(entry["seeds"])), **cells}))
    for name, values in manifest["references"].items():
        cells = {METRICS[key].label: METRICS[key].show(values[key]) for key in SHOWN}
        rows.append((values["gap"], {"policy": name, "seeds": "", **cells}))
    return pd.DataFrame([row for _, row in sorted(rows, key=lambda row: row[0])])


def results_table(place: Path = PRETRAINED) -> str:
    """`results` as Markdown, trained policies in bold. Raises `ScenarioError` without a manifest."""
    table = results(_manifest(place))
    table["policy"] = [
        f"**{name}**" if seeds else name for name, seeds in zip(table["policy"], table["seeds"], strict=True)
    ]
    return markdown([*map(str, table)], table.to_numpy().tolist())


def range_table(place: Path = PRETRAINED) -> str:
    """Gaps on random scenarios of the general networks' range, as Markdown. Raises `ScenarioError` without a manifest."""
    manifest = _manifest(place)
    network = manifest["policies"]["general-sae-mt-qmix"]["range"]
    known = {"general network": network["trained"], **manifest["references_range"]}
    columns, names = ("mean", "median", "worst"), ("optimum", "general network", "price-response", "greedy")
    rows = [[name, *(f"{100 * known[name][one]:,.2f} %" for one in columns)] for name in names]
    more, error = (100 * network["trained_minus_price-response"][one] for one in ("gap", "gap_standard_error"))
    words = (
        f"The general network's mean gap minus that of price response: {more:+.2f} points (standard error {error:.2f})."
    )
    return f"{markdown(['policy', *columns], rows)}\n\n{words}"


def claim_table(place: Path = PRETRAINED) -> str:
    """`verdict_table` as Markdown. Raises `ScenarioError` without a manifest."""
    table = verdict_table(_manifest(place))
    return markdown([*map(str, table)], table.to_numpy().tolist())


def seeds_text(metric: Metric, values: Sequence[float]) -> str:
    """Values of several training seeds: mean with 95 % interval, or of fewer than five seeds the values, the lowest first."""
    if len(values) < ENOUGH_SEEDS:
        return f"{', '.join(metric.number(x) for x in sorted(values))} {metric.unit}".strip()
    return _with_interval(metric.show(mean(values)), mean_interval(values), metric)


def _with_interval(text: str, interval: Interval | None, metric: Metric, sign: Literal["", "+"] = "") -> str:
    return text if interval is None else f"{text} ({' to '.join(metric.number(x, sign) for x in interval)})"


def _of_seeds(entry: Mapping[str, Any], metric: Metric) -> list[float]:
    return [seed[metric.name] for seed in entry["seeds"].values()]


def _manifest(place: Path) -> dict[str, Any]:
    manifest = read_manifest(place)
    if manifest is None:
        path = place / "manifest.json"
        raise ScenarioError(f"manifest = {str(path)!r} cannot be read: allowed is what `make pretrained` writes.")
    return manifest
