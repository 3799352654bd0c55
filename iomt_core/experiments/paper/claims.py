"""What the paper claims in Figures 4 to 13 and Table III, in our words, and whether the runs bear it out.

An estimate has one value for each training seed: a mean over the wards of a figure, of differences within that seed on the same
held-out episodes. The verdict is what the 95 % interval over seeds (Student) says about the claimed sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from iomt_core.experiments.paper.figure_runs import FIGURES_KEPT, Plan, read_results, read_table_iii
from iomt_core.experiments.paper.figures import AGENT_ARMS, ARMS, CENTRE, FIGURES, REFERENCES, TABLE_III, Figure, Ward
from iomt_core.experiments.run_files import REFERENCE, Results
from iomt_core.experiments.statistics import Interval, mean, mean_interval
from iomt_core.metrics import METRICS
from iomt_core.paths import PAPER_FIGURES
from iomt_core.scenario.reference import markdown

Words = Literal["holds", "does not hold", "cannot be told", "not yet run"]
SETTLED = 0.05  # a curve is level where it stays this close to its end, as part of its whole rise
LAST = 3  # evaluations whose mean is the end of a curve
PRINTED_WITHIN = 0.10  # of the paper's count of parameters
LITTLE = 0.05  # of a network's size

SeedValue = Callable[[Results, int], float | None]


@dataclass(frozen=True)
class Claim:
    """One claim.

    words: the claim; quantity: what the estimate is; seed_value: the estimate of one seed, None where its runs are missing;
    claimed: side of `threshold` on which the estimate is if the claim holds; needed: arms and wards that it is about.
    """

    figure: str
    words: str
    quantity: str
    seed_value: SeedValue
    claimed: Literal["below", "above"]
    needed: Collection[tuple[str, Ward]]
    threshold: float = 0.0
    unit: str = "%"
    factor: float = 100.0
    least_episodes: int = 0  # shorter runs cannot bear the claim out


@dataclass(frozen=True)
class Verdict:
    """A claim and what was found: `seeds` has the estimate of each seed, in the displayed unit."""

    figure: str
    words: str
    quantity: str
    unit: str
    seeds: Sequence[float]
    interval: Interval | None
    verdict: Words
    runs: int = 0
    needed: int = 0
    estimate: float = math.nan

    @property
    def estimate_words(self) -> str:
        """The estimate with its interval: `-3.2 % (-4.1 to -2.3)`; empty where nothing has run."""
        if math.isnan(self.estimate):
            return ""
        sign: Literal["", "+"] = "+" if self.unit == "%" and self.interval is not None else ""
        text = f"{_number(self.estimate, sign)} {self.unit}"
        return text if self.interval is None else f"{text} ({' to '.join(_number(x, sign) for x in self.interval)})"


def verdict(claim: Claim, results: Results, seeds: int) -> Verdict:
    """What the results say about a claim; `seeds`: planned training seeds of each run."""
    values = [found for n in range(seeds) if (found := claim.seed_value(results, n)) is not None]
    shown = [value * claim.factor for value in values]
    interval = mean_interval(values)
    words: Words = "cannot be told"
    if not values:
        words = "not yet run"
    elif interval is not None:
        low, high = interval
        if high < claim.threshold or low > claim.threshold:
            words = "holds" if (high < claim.threshold) == (claim.claimed == "below") else "does not hold"
        if words == "holds" and any(results[key]["episodes"] < claim.least_episodes for key in _runs(claim, results)):
            words = "cannot be told"
    runs = sum(seed < seeds for _, _, seed in _runs(claim, results))
    return Verdict(
        claim.figure, claim.words, claim.quantity, claim.unit, shown, mean_interval(shown), words, runs,
        len(claim.needed) * seeds, mean(shown),
    )  # fmt: skip


def _runs(claim: Claim, results: Results) -> list[tuple[str, Ward, int]]:
    """The results that a claim is about."""
    return [key for key in results if key[:2] in claim.needed]


def verdicts(results: Results, sizes: Mapping[str, Mapping[str, int]], seeds: int, figure: str = "") -> list[Verdict]:
    """All verdicts, or those of one figure; `sizes`: the rows of Table III."""
    found = [verdict(claim, results, seeds) for claim in CLAIMS if figure in ("", claim.figure)]
    return [*found, *(_sizes_verdicts(sizes) if figure in ("", TABLE_III) else ())]


def verdict_table(found: Sequence[Verdict]) -> pd.DataFrame:
    """Verdicts as text, one row each."""
    return pd.DataFrame(
        [
            {
                "figure": FIGURES[one.figure].label, "the paper's claim": one.words,
                "found here": f"{one.quantity}: {one.estimate_words}" if one.estimate_words else "",
                "seeds": len(one.seeds) or "", "verdict": one.verdict,
            }
            for one in found
        ],
        columns=["figure", "the paper's claim", "found here", "seeds", "verdict"],
    )  # fmt: skip


def verdict_markdown(found: Sequence[Verdict]) -> str:
    """`verdict_table` as Markdown."""
    table = verdict_table(found)
    return markdown([*map(str, table)], [[str(cell) for cell in row] for row in table.to_numpy().tolist()])


def paper_claims_table(place: Path = PAPER_FIGURES) -> str:
    """The verdicts on all claims by the results in a folder, as Markdown. Raises `ScenarioError`."""
    return verdict_markdown(verdicts(read_results(place), read_table_iii(place), Plan.of(place).seeds))


def run_table(results: Results) -> pd.DataFrame:
    """Every run and policy without training as a row, SI units: arm, ward, seed, all metrics, times, recipe."""
    rows = []
    for (arm, ward, seed), found in sorted(results.items()):
        of_policy = found["policies"] if arm == REFERENCE else {arm: found["figures"]}
        for policy, figures in of_policy.items():
            rows.append(
                {
                    "policy": policy, **vars(ward), "seed": seed if arm != REFERENCE else None,
                    **{name: figures.get(name) for name in FIGURES_KEPT},
                    **{name: found.get(name) for name in ("episodes", "seconds", "core_seconds", "recipe", "code")},
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def figure_table(figure: Figure, results: Results) -> pd.DataFrame:
    """The curves of a figure over an axis: a row for each policy and value, means over seeds, with 95 % intervals, SI units.

    Its columns are those of `sweeps.run.results_table` that a chart of curves needs.
    """
    known: dict[tuple[str, Ward], list[Mapping[str, Any]]] = {}
    for (arm, ward, _), found in sorted(results.items()):
        known.setdefault((arm, ward), []).append(found)
    rows = []
    for policy, arm in [*((name, name) for name in figure.arms), *((name, REFERENCE) for name in REFERENCES)]:
        for value, ward in figure.wards.items():
            mine = known.get((arm, ward), [])
            seeds = [found["policies"].get(policy, {}) if arm == REFERENCE else found["figures"] for found in mine]
            if not any(seeds):
                continue
            row: dict[str, Any] = {figure.parameter: value, "policy": policy, "seeds": len(seeds)}
            for name in FIGURES_KEPT:
                values = [float(one.get(name, math.nan)) for one in seeds]
                low, high = mean_interval(values) or (math.nan, math.nan)
                row |= {name: mean(values), f"{name}_low": low, f"{name}_high": high}
            rows.append({**row, "episodes": len(seeds)})
    names = [name + end for name in FIGURES_KEPT for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[figure.parameter, "policy", "seeds", *names, "episodes"])


def level_from(curve: Mapping[str, Sequence[float]], name: str = "return") -> float:
    """The episode from which a curve stays within `SETTLED` of its whole rise around its end."""
    x, y = curve["episodes"], curve[name]
    end = mean(y[-LAST:])
    near = SETTLED * abs(end - y[0])
    outside = [n for n, value in enumerate(y) if abs(value - end) > near]
    return float(x[min(outside[-1] + 1, len(x) - 1)]) if outside else float(x[0])


def _lower(figure: str, arm: str, other: str, metric: str, words: str = "") -> Claim:
    """`arm` has a lower metric than `other`: the relative difference, mean over the wards where both are trained."""
    shown = FIGURES[figure]
    wards = [ward for ward in shown.wards_of(ARMS[arm]) if ward in shown.wards_of(ARMS[other])]

    def seed_value(results: Results, seed: int) -> float | None:
        pairs = [(_value(results, arm, w, seed, metric), _value(results, other, w, seed, metric)) for w in wards]
        known = [a / b - 1 for a, b in pairs if a is not None and b]
        return mean(known) if known else None

    what = METRICS[metric].label.lower()
    claim = words or f"{ARMS[arm].label} has a lower {what} than {ARMS[other].label}."
    return Claim(
        figure, claim, f"{what}, difference", seed_value, "below", [(a, w) for a in (arm, other) for w in wards]
    )


def _grows(figure: str, arm: str, metric: str, claimed: Literal["below", "above"], words: str) -> Claim:
    """A metric at the end of the axis, relative to its beginning."""
    wards = tuple(FIGURES[figure].wards.values())
    first, last = wards[0], wards[-1]

    def seed_value(results: Results, seed: int) -> float | None:
        a, b = (_value(results, arm, ward, seed, metric) for ward in (first, last))
        return b / a - 1 if a and b is not None else None

    quantity = f"{METRICS[metric].label.lower()}, from one end of the axis to the other"
    return Claim(figure, words, quantity, seed_value, claimed, [(arm, first), (arm, last)])


def _falls_behind(figure: str, arm: str, other: str, metric: str, words: str) -> Claim:
    """The ratio of the metric of `arm` to that of `other` grows along the axis."""
    wards = tuple(FIGURES[figure].wards.values())
    first, last = wards[0], wards[-1]

    def seed_value(results: Results, seed: int) -> float | None:
        a, b, c, d = (_value(results, name, ward, seed, metric) for ward in (first, last) for name in (arm, other))
        return (c / d) / (a / b) - 1 if a and b and c is not None and d else None

    quantity = f"{METRICS[metric].label.lower()} relative to {ARMS[other].label}, from one end of the axis to the other"
    return Claim(figure, words, quantity, seed_value, "above", [(a, w) for a in (arm, other) for w in (first, last)])


def _rises(figure: str, arm: str) -> Claim:
    def seed_value(results: Results, seed: int) -> float | None:
        found = results.get((arm, CENTRE, seed))
        y = found["held_out"]["return"] if found is not None else None
        return mean(y[-LAST:]) / y[0] - 1 if y else None

    words = f"The reward of {ARMS[arm].label} rises with training."
    return Claim(figure, words, "return on held-out episodes, end against start", seed_value, "above", [(arm, CENTRE)])


def _level_by(figure: str, arm: str, episodes: int) -> Claim:
    def seed_value(results: Results, seed: int) -> float | None:
        found = results.get((arm, CENTRE, seed))
        return level_from(found["held_out"]) if found is not None else None

    words = f"The reward of {ARMS[arm].label} is level after about {episodes:,} iterations (episodes, here)."
    return Claim(
        figure, words, "level from", seed_value, "below", [(arm, CENTRE)], float(episodes), "episodes", 1.0, episodes
    )


def _level_later(figure: str, arm: str, other: str) -> Claim:
    def seed_value(results: Results, seed: int) -> float | None:
        a, b = results.get((arm, CENTRE, seed)), results.get((other, CENTRE, seed))
        return level_from(a["held_out"]) - level_from(b["held_out"]) if a is not None and b is not None else None

    words = f"{ARMS[arm].label} takes longer to become level than {ARMS[other].label}."
    needed = [(arm, CENTRE), (other, CENTRE)]
    return Claim(figure, words, "difference", seed_value, "above", needed, 0.0, "episodes", 1.0)


def _value(results: Results, arm: str, ward: Ward, seed: int, metric: str) -> float | None:
    found = results.get((arm, ward, seed))
    return None if found is None else found["figures"].get(metric)


def _sizes_verdicts(sizes: Mapping[str, Mapping[str, int]]) -> list[Verdict]:
    """The claims of Table III: counts, which have no interval."""
    agents = ("PA-DDPG", "MT-PDQN", "MT-MP-DQN", "MPMT-DQN")
    if not all(name in sizes for name in agents):
        return [Verdict(TABLE_III, "Sizes of the networks", "", "", (), None, "not yet run")]
    counts = {name: sizes[name]["parameters"] for name in agents}
    flops = {name: sizes[name]["flops"] for name in agents}
    off = max(abs(row["parameters"] / row["paper_parameters"] - 1) for row in sizes.values())
    more, more_flops = counts["MPMT-DQN"] / counts["MT-MP-DQN"] - 1, flops["MPMT-DQN"] / flops["MT-MP-DQN"] - 1

    def found(words: str, quantity: str, value: float, holds: bool) -> Verdict:
        return Verdict(
            TABLE_III, words, quantity, "%", (), None, "holds" if holds else "does not hold", estimate=100 * value
        )

    return [
        found(
            "Parameters of each network, as printed; here within 10 %.", "largest difference", off,
            off <= PRINTED_WITHIN,
        ),
        found("PA-DDPG has the fewest parameters and FLOPs of the four.", "parameters, less than MPMT-DQN",
              1 - counts["PA-DDPG"] / counts["MPMT-DQN"],
              all(min(numbers, key=numbers.__getitem__) == "PA-DDPG" for numbers in (counts, flops))),
        found("MPMT-DQN needs little more than MT-MP-DQN (printed: 1.1 and 1.7 % more); here at most 5 %.",
              "parameters or FLOPs, more", max(more, more_flops),
              min(more, more_flops) > 0 and max(more, more_flops) < LITTLE),
    ]  # fmt: skip


def _number(value: float, sign: Literal["", "+"] = "") -> str:
    return f"{value:{sign},.0f}" if abs(value) >= 100 else f"{value:{sign}.1f}"


def _of_agents(figure: str, metric: str) -> list[Claim]:
    """Claims about MPMT-DQN, section VI-B."""
    ours, printed = "mpmt-dqn", "mpmt-dqn-paper"
    claims = [_lower(figure, ours, other, metric) for other in AGENT_ARMS[1:4]]
    claims.append(_lower(figure, printed, "mt-mp-dqn", metric))
    return claims


def _of_teams(figure: str, metric: str) -> list[Claim]:
    """Claims about SAE-MT-QMIX, section VI-C."""
    ours, printed = "sae-mt-qmix", "sae-mt-qmix-paper"
    claims = [_lower(figure, ours, other, metric) for other in ("qmix", "mpmt-dqn", "ma-pa-ddpg")]
    claims += [_lower(figure, "qmix", "mpmt-dqn", metric), _lower(figure, printed, "qmix", metric)]
    return claims


def _claims() -> list[Claim]:
    delay, energy = "mean_delay_s", "mean_energy_j"
    claims = [
        _rises("figure-4", "mpmt-dqn"), _level_by("figure-4", "mpmt-dqn", 1500),
        _rises("figure-5", "sae-mt-qmix"), _level_by("figure-5", "sae-mt-qmix", 2000),
        _level_later("figure-5", "sae-mt-qmix", "mpmt-dqn"),
    ]  # fmt: skip
    for figure, metric in (("figure-6", delay), ("figure-7", energy)):
        claims += _of_agents(figure, metric)
        claims += [_lower(figure, "pa-ddpg", other, metric) for other in ("mt-pdqn", "mt-mp-dqn")]
        words = "PA-DDPG falls behind MPMT-DQN as tasks become more."
        claims.append(_falls_behind(figure, "pa-ddpg", "mpmt-dqn", metric, words))
    for figure, metric in (("figure-8", delay), ("figure-9", energy)):
        claims += _of_agents(figure, metric)
        what = METRICS[metric].label.lower()
        claims.append(_grows(figure, "mpmt-dqn", metric, "below", f"With more servers the {what} of MPMT-DQN falls."))
    for figure, metric in (("figure-10", delay), ("figure-11", energy)):
        claims += _of_teams(figure, metric)
        what = METRICS[metric].label.lower()
        claims.append(
            _grows(figure, "sae-mt-qmix", metric, "above", f"With more users the {what} of SAE-MT-QMIX rises.")
        )
        words = "MA-PA-DDPG falls behind SAE-MT-QMIX as users become more."
        claims.append(_falls_behind(figure, "ma-pa-ddpg", "sae-mt-qmix", metric, words))
    for figure, metric in (("figure-12", delay), ("figure-13", energy)):
        claims += _of_teams(figure, metric)
        what = METRICS[metric].label.lower()
        claims.append(
            _grows(figure, "sae-mt-qmix", metric, "below", f"With more servers the {what} of SAE-MT-QMIX falls.")
        )
    claims.append(
        _grows("figure-12", "sae-mt-qmix", "local_share", "below", "With more servers more tasks are offloaded.")
    )
    # What every algorithm here is trained on: delay and energy can be traded against each other.
    for figure, others in (("figure-6", AGENT_ARMS[1:4]), ("figure-10", ("qmix", "mpmt-dqn", "ma-pa-ddpg"))):
        ours = "mpmt-dqn" if figure == "figure-6" else "sae-mt-qmix"
        for other in others:
            words = f"Beyond the paper, delay and energy together: {ARMS[ours].label} has a lower cost than {ARMS[other].label}."
            claims.append(_lower(figure, ours, other, "cost", words))
    return sorted(claims, key=lambda claim: int(claim.figure.partition("-")[2]))


CLAIMS = tuple(_claims())
