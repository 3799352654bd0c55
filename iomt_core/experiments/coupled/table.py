"""What the study found: a table of wards and policies, and differences with intervals, from the files of its runs.

A trained policy has a value for each training seed and each held-out episode; other policies have one for each episode. Seeds
and episodes are both samples, so the standard error of a mean difference is √(se² over seeds + se² over episodes), each of the
means over the other, and the 95 % interval uses Student's t with the smaller number of degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from iomt_core.experiments.coupled.runs import read_results
from iomt_core.experiments.coupled.wards import ARMS, FORMULAS, REFERENCES, WARDS
from iomt_core.experiments.run_files import REFERENCE, Results
from iomt_core.experiments.statistics import Interval, mean, mean_interval, standard_error
from iomt_core.metrics import METRICS
from iomt_core.paths import COUPLED_STEPS
from iomt_core.scenario.reference import markdown

NO_RESULTS = "`iomt coupled` has not been run yet."
OURS, RIVALS = "sae-mt-qmix", ("qmix", "vdn")


@dataclass(frozen=True)
class Difference:
    """A mean difference of gaps, a minus b; below 0 if a is better."""

    ward: str
    a: str
    b: str
    difference: float
    interval: Interval | None

    @property
    def verdict(self) -> str:
        """What the 95 % interval says of a."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "not distinguishable"
        return "better" if self.difference < 0 else "worse"


def values(results: Results, ward: str, policy: str) -> list[list[float]]:
    """The ward's metric for each training seed (one for policies without training) and episode; empty without results."""
    metric = WARDS[ward].metric
    if policy in REFERENCES:
        found = results.get((REFERENCE, ward, 0))
        return [list(found["policies"][policy][metric])] if found is not None else []
    seeds = sorted(seed for arm, place, seed in results if (arm, place) == (policy, ward))
    return [list(results[policy, ward, seed]["figures"][metric]) for seed in seeds]


def difference(results: Results, ward: str, a: str, b: str) -> Difference | None:
    """The difference of two policies on a ward, paired by episode, and by seed if both are trained; None without results."""
    first, second = values(results, ward, a), values(results, ward, b)
    if not first or not second:
        return None
    count = min(len(first), len(second)) if len(second) > 1 else len(first)
    rows = [[x - y for x, y in zip(first[n], second[n if len(second) > 1 else 0], strict=True)] for n in range(count)]
    return Difference(ward, a, b, mean([x for row in rows for x in row]), crossed_interval(rows))


def crossed_interval(rows: Sequence[Sequence[float]]) -> Interval | None:
    """95 % interval of the mean of values by seed and episode, over both; of one seed, over episodes. None for one value."""
    by_seed, by_episode = [mean(row) for row in rows], [mean(column) for column in zip(*rows, strict=True)]
    if len(by_episode) < 2:
        return None
    if len(by_seed) < 2:
        return mean_interval(by_episode)
    middle, fewest = mean(by_seed), min(by_seed, by_episode, key=len)
    error, own = math.hypot(standard_error(by_seed), standard_error(by_episode)), standard_error(fewest)
    narrow = mean_interval(fewest)
    assert narrow is not None
    factor = (narrow[1] - narrow[0]) / 2 / own if own else 0.0  # Student's t of the smaller number
    return [middle - factor * error, middle + factor * error]


def best_formula(results: Results, ward: str) -> str:
    """The decentralised formula with the lowest mean gap on the ward."""
    return min(FORMULAS, key=lambda name: mean([x for row in values(results, ward, name) for x in row] or [math.inf]))


def comparisons(results: Results) -> list[Difference]:
    """SAE-MT-QMIX against fixed-price response, the best formula, its start, separate steps, QMIX and VDN, on every ward."""
    found = []
    for ward in WARDS:
        rivals = dict.fromkeys(
            ("price-response-fixed", best_formula(results, ward), "start", "separate", *RIVALS, "unheard")
        )
        found += [one for rival in rivals if (one := difference(results, ward, OURS, rival)) is not None]
    return found


def gap_table(results: Results, labels: bool = True) -> pd.DataFrame:
    """Every policy on every ward as text: mean gap, with the 95 % interval over seeds of a trained one.

    labels: whether arms are named by their labels, otherwise by their names.
    """
    shown = {name: name for name in REFERENCES} | {arm.name: arm.label for arm in ARMS.values()}
    rows = []
    for name, label in shown.items():
        cells = {ward: _cell(values(results, ward, name), METRICS[WARDS[ward].metric].factor) for ward in WARDS}
        rows.append({"policy": label if labels else name, **cells})
    return pd.DataFrame(rows if results else [])


def comparison_table(results: Results) -> pd.DataFrame:
    """`comparisons` as text, in percentage points."""
    return pd.DataFrame(
        [
            {
                "ward": one.ward,
                "SAE-MT-QMIX against": one.b,
                "difference (95 % interval), points": f"{100 * one.difference:+.2f}{_ends(one.interval)}",
                "SAE-MT-QMIX is": one.verdict,
            }
            for one in comparisons(results)
        ]
    )


def price_table(results: Results) -> pd.DataFrame:
    """The mean price of a joule, 1/J: what SAE-MT-QMIX learned, mean over seeds, and the certificate's κ."""
    rows = []
    for ward in WARDS:
        known = results.get((REFERENCE, ward, 0))
        learned = [found["battery_price"] for (arm, place, _), found in results.items() if (arm, place) == (OURS, ward)]
        if known is not None and learned:
            rows.append(
                {"ward": ward, "learned": f"{mean(learned):,.0f}", "certificate": f"{known['battery_price']:,.0f}"}
            )
    return pd.DataFrame(rows)


def gaps_markdown(place: Path = COUPLED_STEPS) -> str:
    """`gap_table` of the results in a folder as Markdown."""
    return _markdown(gap_table(read_results(place)))


def comparison_markdown(place: Path = COUPLED_STEPS) -> str:
    """`comparison_table` of the results in a folder as Markdown."""
    return _markdown(comparison_table(read_results(place)))


def price_markdown(place: Path = COUPLED_STEPS) -> str:
    """`price_table` of the results in a folder as Markdown."""
    return _markdown(price_table(read_results(place)))


def _markdown(table: pd.DataFrame) -> str:
    return markdown([*map(str, table)], table.to_numpy().tolist()) if len(table) else NO_RESULTS


def _cell(rows: Sequence[Sequence[float]], factor: float) -> str:
    if not rows:
        return ""
    seeds = [factor * mean(row) for row in rows]
    half = (interval[1] - interval[0]) / 2 if (interval := mean_interval(seeds)) else None
    return f"{mean(seeds):.2f}" + (f" ± {half:.2f}" if half is not None else "")


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f" ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})"
