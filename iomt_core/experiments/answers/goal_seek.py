"""How much is needed: the least or the most of a parameter at which a target holds for a policy.

Few whole numbers are all tried. Otherwise a grid is tried, and where the metric rises or falls steadily over it, the interval
that the target lies in is divided further, as in a bisection, for the mean and for both ends of its 95 % interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from iomt_core.experiments.answers.question import PolicyQuestion, metric_named, unavailable_notes
from iomt_core.experiments.answers.results import Evaluation, Results, paired
from iomt_core.experiments.sweeps.points import Point
from iomt_core.experiments.sweeps.spec import Axis, is_whole
from iomt_core.metrics import Metric
from iomt_core.scenario import Scenario, ScenarioError, check_known, set_elsewhere
from iomt_core.training.catalogue import policy_label

TARGETS = ("mean_delay_s", "delay_p95_s", "deadline_miss_share", "mean_energy_j", "cost", "ended_share")
GRID = 7  # values tried first where there are too many for all
ALL = 20  # so many whole numbers are all tried
FINEST = 1 / 100  # of the range, in its spacing: intervals are not divided further
ROUNDS = 8  # of dividing, at most
# A rise or fall between two neighbours counts against a steady curve if it is larger than this part of the curve's height.
NOTICEABLE = 0.02

Verdict = Literal["found", "at once", "never", "not steady", "unknown"]
Ends = Literal["mean", "low", "high"]


@dataclass(frozen=True)
class Probe:
    """A value that was tried: the metric there with its 95 % interval."""

    value: float  # of the axis, SI
    evaluation: Evaluation
    mean: float
    low: float
    high: float

    def holds(self, target: float, end: Ends = "mean") -> bool:
        """Whether the target holds: on average, or for that end of the interval."""
        return bool(getattr(self, end) <= target)


@dataclass(frozen=True)
class Finding:
    """The answer of a goal seek.

    verdict: "found"; "at once", the target holds already at the lowest (or highest) value; "never"; "not steady", it holds here
    and there; "unknown", the policy cannot decide anywhere.
    answer, neighbour: the least (or most) value at which it holds, and the next one tried, at which it does not. At once, the
    neighbour is the first value at which it no longer holds.
    certain: the first value from which on the whole interval holds; refuted: the last one at which none of it does.
    steady: whether the metric only rises or only falls over the values tried.
    """

    verdict: Verdict
    probes: tuple[Probe, ...]
    answer: Probe | None = None
    neighbour: Probe | None = None
    certain: Probe | None = None
    refuted: Probe | None = None
    steady: bool = True

    @property
    def is_certain(self) -> bool:
        """Whether the answer's interval holds as a whole and the neighbour's does not at all."""
        if self.answer is None or self.answer is not self.certain:
            return False
        return self.verdict == "at once" or self.neighbour is self.refuted


class GoalSeek(PolicyQuestion):
    """How much of a parameter is needed so that a metric is at most `target`? The axis has two values, the ends of the range."""

    name: ClassVar[str] = "goal-seek"
    title: ClassVar[str] = "How much do I need?"

    kind: Literal["goal-seek"] = "goal-seek"
    axis: Axis
    metric: str = "mean_delay_s"
    target: float  # SI
    seek: Literal["least", "most"] = "least"

    def _checks(self) -> Sequence[Callable[[], object]]:
        return (
            lambda: check_known("metric", self.metric, TARGETS),
            self._check_target, self._check_axis,
        )  # fmt: skip

    def _check_target(self) -> None:
        if not (math.isfinite(self.target) and self.target >= 0):
            raise ScenarioError(f"target = {self.target:g} cannot be used: allowed is 0 or more.")

    def _check_axis(self) -> None:
        name, decided = self.axis.parameter, set_elsewhere(self.scenario)
        if name in decided:
            raise ScenarioError(f"parameter = {name!r} cannot be varied: it is {decided[name]}.")
        if len(self.axis.values) != 2:
            raise ScenarioError(f"parameter = {self.axis.words!r}: allowed are two values, the ends of the range.")
        for value in self.grid:
            self.ward(value)

    @property
    def measured(self) -> Metric:
        """The metric of the target."""
        return metric_named(self.metric)

    @property
    def exhaustive(self) -> bool:
        """Whether all values of the range are tried."""
        low, high = self.axis.values
        return is_whole(self.axis.parameter) and high - low < ALL

    @cached_property
    def grid(self) -> tuple[float, ...]:
        """The values that are tried first."""
        low, high = self.axis.values
        if self.exhaustive:
            return tuple(float(v) for v in range(int(low), int(high) + 1))
        spaced = np.geomspace if self.axis.spacing == "logarithmic" else np.linspace
        inner = (self._rounded(float(v)) for v in spaced(low, high, GRID)[1:-1])
        return tuple(dict.fromkeys((low, *inner, high)))

    @property
    def count(self) -> int:
        """Number of points, at most: the grid, and usually three values a round."""
        return len(self.grid) + (0 if self.exhaustive else 3 * self._rounds)

    @property
    def _rounds(self) -> int:
        return math.ceil(math.log2(1 / (FINEST * (GRID - 1))))

    def ward(self, value: float) -> Scenario:
        """The ward with this value. Raises `ScenarioError`."""
        if value not in self._wards:
            self._wards[value] = self.scenario.changed(**self.axis.change(self.scenario, value))
        return self._wards[value]

    @cached_property
    def _wards(self) -> dict[float, Scenario]:
        """The wards that were made; an answer asks for the same ones many times."""
        return {}

    def points(self, results: Results) -> list[Point]:
        """The grid, and after it the values that divide the intervals of the target, round by round."""
        values = list(self.grid)
        for _ in range(0 if self.exhaustive else ROUNDS):
            probes = self.probes(results, values)
            if len(probes) < len(values) or not _is_steady(self._decided(probes), self.measured):
                break
            inner = {self._middle(*ends) for ends in self._intervals(self._decided(probes))}
            fresh = sorted(v for v in inner if v is not None and v not in values)
            if not fresh:
                break
            values = sorted([*values, *fresh])
        return [Point((value,), self.policy, self.ward(value)) for value in values]

    def probes(self, results: Results, values: Sequence[float]) -> list[Probe]:
        """The values of these that are known, ascending."""
        found = []
        for value in values:
            evaluation = results.of(self.ward(value), self.policy)
            if evaluation is not None:
                mean = evaluation.mean(self.measured)
                low, high = evaluation.interval(self.measured) or (mean, mean)
                found.append(Probe(value, evaluation, mean, low, high))
        return found

    def _decided(self, probes: Sequence[Probe]) -> list[Probe]:
        return [probe for probe in probes if not probe.evaluation.reason]

    def _intervals(self, probes: Sequence[Probe]) -> Iterator[tuple[float, float]]:
        """Neighbouring values between which the target begins to hold, or not: for the mean and both ends of its interval."""
        for a, b in itertools.pairwise(probes):
            for end in ("mean", "low", "high"):
                if a.holds(self.target, end) != b.holds(self.target, end):
                    yield a.value, b.value

    def _middle(self, low: float, high: float) -> float | None:
        """The value halfway in the axis's spacing; None if the interval is fine enough."""
        whole = is_whole(self.axis.parameter)
        if (whole and high - low <= 1) or (not whole and self._position(high) - self._position(low) <= FINEST):
            return None
        if self.axis.spacing == "logarithmic":
            return self._rounded(math.sqrt(low * high))
        return self._rounded((low + high) / 2)

    def _position(self, value: float) -> float:
        """Where a value lies in the range, from 0 to 1."""
        low, high = self.axis.values
        if self.axis.spacing == "logarithmic":
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def _rounded(self, value: float) -> float:
        return float(round(value)) if is_whole(self.axis.parameter) else float(f"{value:.4g}")

    def finding(self, results: Results) -> Finding:
        """The answer by what is known so far."""
        values = [point.values[0] for point in self.points(results)]
        probes = self.probes(results, values)
        decided = self._decided(probes)
        if not decided:
            return Finding("unknown", tuple(probes))
        steady = _is_steady(decided, self.measured)
        # In the order in which the target should come to hold.
        ordered = decided if self.seek == "least" else decided[::-1]
        holds = [probe.holds(self.target) for probe in ordered]
        if not any(holds):
            return Finding("never", tuple(probes), steady=steady)
        first = holds.index(True)
        certain = _holds_from(ordered, lambda probe: probe.holds(self.target, "high"))
        refuted = _holds_from(ordered[::-1], lambda probe: not probe.holds(self.target, "low"))
        switches = [n for n in range(1, len(holds)) if holds[n] != holds[n - 1]]
        # A curve that is not steady may cross the target between two values of a grid.
        if len(switches) > 1 or (not steady and not self.exhaustive):
            return Finding("not steady", tuple(probes), certain=certain, refuted=refuted, steady=steady)
        if first == 0:
            lost = ordered[switches[0]] if switches else None
            sure = ordered[0] if ordered[0].holds(self.target, "high") else None
            return Finding("at once", tuple(probes), ordered[0], lost, sure, None, steady)
        return Finding("found", tuple(probes), ordered[first], ordered[first - 1], certain, refuted, steady)

    def sentence(self, results: Results, metric: str = "cost") -> str:
        """The answer, and how certain it is."""
        found, goal = self.finding(results), self._goal()
        label = self.axis.meta.label or self.axis.parameter
        most = self.seek == "most"
        who = policy_label(self.policy)
        if found.verdict == "unknown":
            known = found.probes[0].evaluation.reason if found.probes else "no value was tried yet."
            return f"Not known: {who} cannot decide at any value in this range. {known}"
        if found.verdict == "never":
            best = min(self._decided(found.probes), key=lambda probe: probe.mean)
            return (
                f"The target cannot be met in this range: {goal} holds at none of the values tried. The best is "
                f"{self._amount(best)} at {label} = {self.value_words(best)}."
            )
        if found.verdict == "not steady":
            held = ", ".join(self.value_words(p) for p in self._decided(found.probes) if p.holds(self.target))
            word = "most" if most else "least"
            return (
                f"No single {word} value: the {self._label()} does not only rise or only fall with {label}. Of the values "
                f"tried, {goal} holds at {held}."
            )
        assert found.answer is not None
        here = f"{label} = {self.value_words(found.answer)}"
        if found.verdict == "at once":
            end = "highest" if most else "lowest"
            lost = f" It no longer holds at {self.value_words(found.neighbour)}." if found.neighbour else ""
            words = f"{goal} holds already at the {end} value tried, {here}: {self._amount(found.answer)}."
            return f"{words}{lost}{self._doubt(found)}"
        assert found.neighbour is not None
        about = "" if is_whole(self.axis.parameter) else "about "
        return (
            f"{label}: at {'most' if most else 'least'} {about}{self.value_words(found.answer)}. {self.measured.label} there: "
            f"{self._amount(found.answer)}; at {self.value_words(found.neighbour)}: {self._amount(found.neighbour)}. "
            f"Target: at most {self.measured.show(self.target)}.{self._doubt(found)}"
        )

    def _doubt(self, found: Finding) -> str:
        if found.is_certain:
            return ""
        if found.certain is None:
            where = "there" if found.verdict == "at once" else "at any value"
            return f" This is not certain: the whole 95 % interval does not meet the target {where}. More episodes may help."
        more, less = ("less", "more") if self.seek == "most" else ("more", "less")
        sure = f" This is not certain. The whole 95 % interval meets the target at {self.value_words(found.certain)} and {more}"
        return (
            f"{sure}."
            if found.refuted is None
            else f"{sure}, none of it at {self.value_words(found.refuted)} and {less}."
        )

    def notes(self, results: Results) -> list[str]:
        """Values where the policy cannot decide or does not do everything, networks, and a curve that is not steady."""
        found = self.finding(results)
        reasons = [(self.value_words(p), p.evaluation.reason) for p in found.probes if p.evaluation.reason]
        notes = list(unavailable_notes(reasons, f"Not available at {self.axis.meta.label}"))
        early = [self.value_words(p) for p in self._decided(found.probes) if not p.evaluation.complete]
        if early and self.metric != "ended_share":
            notes.append(
                f"A battery ended episodes early, or tasks were skipped, at {', '.join(early)}: what was not done does not count "
                "there."
            )
        if not found.steady and found.verdict in ("found", "at once"):
            notes.append(
                f"The {self._label()} does not only rise or only fall here, but all values of the range were tried."
            )
        if self.axis.parameter == "servers":
            notes.append("For every number the servers are laid out anew over the ward.")
        return [*notes, *filter(None, [self.axis.note(self.scenario)])]

    def table(self, results: Results) -> pd.DataFrame:
        """One row for each value tried: the metric, its interval, and whether the target holds."""
        rows = [
            {
                self.axis.parameter: int(p.value) if is_whole(self.axis.parameter) else p.value, "policy": self.policy,
                "network": p.evaluation.network, "reason": p.evaluation.reason, self.metric: p.mean,
                f"{self.metric}_low": p.low, f"{self.metric}_high": p.high, "target": self.target,
                "holds": None if p.evaluation.reason else p.holds(self.target), "episodes": self.episodes,
                "episode_seed": self.seed, "shares": self.shares, "scenario_digest": p.evaluation.scenario.digest,
            }
            for p in self.finding(results).probes
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _goal(self) -> str:
        return f"{self.measured.label} ≤ {self.measured.show(self.target)}"

    def _label(self) -> str:
        return self.measured.heading.partition(" (")[0]

    def value_words(self, probe: Probe) -> str:
        """The value of a probe with its unit."""
        return self.axis.meta.show(int(probe.value) if is_whole(self.axis.parameter) else probe.value)

    def _amount(self, probe: Probe) -> str:
        m = self.measured
        return f"{m.show(probe.mean)} (95 % interval {m.number(probe.low)} to {m.number(probe.high)})"


def _holds_from(ordered: Sequence[Probe], holds: Callable[[Probe], bool]) -> Probe | None:
    """The first probe from which on all hold; None if the last does not."""
    found = None
    for probe in reversed(ordered):
        if not holds(probe):
            break
        found = probe
    return found


def _is_steady(probes: Sequence[Probe], metric: Metric) -> bool:
    """Whether the metric only rises or only falls from neighbour to neighbour.

    A change counts if its paired 95 % interval excludes 0 and it is a noticeable part of the whole curve's height.
    """
    height = max((p.mean for p in probes), default=0.0) - min((p.mean for p in probes), default=0.0)
    signs = set()
    for a, b in itertools.pairwise(probes):
        pair = paired(metric, a.evaluation, b.evaluation)
        if pair.excludes_zero and abs(pair.difference) > NOTICEABLE * height:
            signs.add(pair.difference > 0)
    return len(signs) < 2


# The parameters that are usually asked about, and whether the least or the most of them.
USUAL: MappingProxyType[str, Literal["least", "most"]] = MappingProxyType(
    {
        "servers": "least", "B_k": "least", "F_k": "least", "F_i": "least", "Cap": "least", "users": "most", "tasks": "most",
        "D": "most", "C": "most", "background": "most", "area": "most",
    }
)  # fmt: skip


def usual_target(metric: Metric, s: Scenario) -> float:
    """A target to begin with, SI: half the deadline, no misses, the energy scale."""
    return {"s": s.T_max / 2, "J": s.E_ref, "": 0.5}.get(metric.si, 0.5) if metric.unit != "%" else 0.01
