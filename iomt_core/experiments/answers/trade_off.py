"""What the trade-off is: delay against energy as the weight of delay, α_T, moves from 0 to 1, with α_E = 1 - α_T.

Both axes are priority-weighted means, Σ p T / Σ p and Σ p E / Σ p, because these are what the certified bound is about: in
every step Σ p cost = α_T Σ p T / T_max + α_E Σ p E / E_ref ≥ bound. Summed over the steps of whole episodes, each α gives a
line that no policy can be below, whatever weights it was made for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

import pandas as pd

from iomt_core.experiments.answers.question import Question, unavailable_notes
from iomt_core.experiments.answers.results import Evaluation, Results
from iomt_core.experiments.sweeps.points import Point
from iomt_core.experiments.sweeps.spec import MOST_POLICIES
from iomt_core.metrics import ANSWERS, CONTEXT
from iomt_core.scenario import Scenario, ScenarioError, metadata
from iomt_core.training.catalogue import policy_label

DELAY, ENERGY = ANSWERS["weighted_delay_s"], ANSWERS["weighted_energy_j"]
LEAST = metadata()["alpha_T"].low or 0.01  # with α_T = 0 the best would be to never finish
FEWEST, MOST = 2, 41  # weights
USUAL = (LEAST, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Choice:
    """A policy at one weight: the priority-weighted means of delay and energy, and whether another choice beats both."""

    alpha_T: float
    evaluation: Evaluation
    delay: float  # s
    energy: float  # J
    dominated: bool = False


@dataclass(frozen=True)
class SupportLine:
    """All (delay, energy) that any policy can have satisfy alpha_T delay / T_max + (1 - alpha_T) energy / E_ref ≥ bound."""

    alpha_T: float
    bound: float
    T_max: float
    E_ref: float

    def energy(self, delay: float) -> float:
        """The least energy at this delay; minus infinity where α_T = 1 says nothing about energy."""
        rest = self.bound - self.alpha_T * delay / self.T_max
        if self.alpha_T == 1:
            return math.inf if rest > 1e-12 * self.bound else -math.inf
        return self.E_ref * rest / (1 - self.alpha_T)

    def slack(self, delay: float, energy: float) -> float:
        """How far a point lies above the line, in units of the cost; negative below it."""
        return self.alpha_T * delay / self.T_max + (1 - self.alpha_T) * energy / self.E_ref - self.bound


class TradeOff(Question):
    """What does less delay cost in energy, for several policies? weights: the values of α_T, ascending."""

    name: ClassVar[str] = "trade-off"
    title: ClassVar[str] = "What is the trade-off?"

    kind: Literal["trade-off"] = "trade-off"
    compared: tuple[str, ...]
    weights: tuple[float, ...] = USUAL

    def _checks(self) -> Sequence[Callable[[], object]]:
        return self._check_policies, self._check_weights

    def _check_policies(self) -> None:
        if not 1 <= len(self.compared) <= MOST_POLICIES or len(set(self.compared)) < len(self.compared):
            raise ScenarioError(f"policies: allowed are 1 to {MOST_POLICIES} different ones.")

    def _check_weights(self) -> None:
        weights = self.weights
        if not FEWEST <= len(weights) <= MOST or any(b <= a for a, b in itertools.pairwise(weights)):
            raise ScenarioError(f"weights: {len(weights)} of them; allowed are {FEWEST} to {MOST}, ascending.")
        if not LEAST <= weights[0] < weights[-1] <= 1:
            raise ScenarioError(
                f"weights = {weights[0]:g} to {weights[-1]:g} are out of range: allowed is {LEAST:g} to 1, because with "
                "α_T = 0 the best would be to never finish."
            )

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that are compared."""
        return self.compared

    def with_policies(self, names: Sequence[str]) -> Self:
        """The same question about these policies."""
        return self.model_copy(update={"compared": tuple(dict.fromkeys(names))})

    @property
    def count(self) -> int:
        """Every policy at every weight."""
        return len(self.compared) * len(self.weights)

    def ward(self, alpha_T: float) -> Scenario:
        """The ward with this weight of delay."""
        if alpha_T not in self._wards:
            self._wards[alpha_T] = self.scenario.changed(alpha_T=alpha_T, alpha_E=float(f"{1 - alpha_T:.12g}"))
        return self._wards[alpha_T]

    @cached_property
    def _wards(self) -> dict[float, Scenario]:
        """The wards that were made; an answer asks for the same ones after every point."""
        return {}

    def points(self, results: Results) -> list[Point]:
        """Every policy at every weight, weight by weight."""
        return [Point((alpha,), policy, self.ward(alpha)) for alpha in self.weights for policy in self.compared]

    def evaluations(self, results: Results) -> list[tuple[float, Evaluation]]:
        """What is known so far, policy by policy: the weight and the evaluation."""
        found = ((a, results.of(self.ward(a), policy)) for policy in self.compared for a in self.weights)
        return [(alpha, evaluation) for alpha, evaluation in found if evaluation is not None]

    def choices(self, results: Results) -> list[Choice]:
        """The choices that can be compared: all tasks of all episodes were done."""
        found = [(a, e, e.mean(DELAY), e.mean(ENERGY)) for a, e in self.evaluations(results) if e.complete]
        means = [(delay, energy) for _, _, delay, energy in found]
        return [Choice(*one, dominated=is_dominated(mean, means)) for one, mean in zip(found, means, strict=True)]

    def front(self, results: Results) -> list[Choice]:
        """The choices that none beats in both delay and energy, by delay."""
        return sorted((c for c in self.choices(results) if not c.dominated), key=lambda c: (c.delay, c.energy))

    def bound(self, results: Results) -> list[SupportLine]:
        """A line for each weight at which some policy did all tasks: the certificates are about what was done."""
        lines = {}
        for alpha, evaluation in self.evaluations(results):
            if evaluation.complete and alpha not in lines:
                least = evaluation.mean(CONTEXT["lower_bound"])
                lines[alpha] = SupportLine(alpha, least, self.scenario.T_max, self.scenario.E_ref)
        return [lines[alpha] for alpha in sorted(lines)]

    def sentence(self, results: Results, metric: str = "cost") -> str:
        """What the front costs from end to end, and who is on it."""
        front = self.front(results)
        if not front:
            return "Not known: no policy decided all tasks of its episodes."
        fast, frugal = front[0], front[-1]
        if len(front) == 1 or fast.delay == frugal.delay:
            name = self._who(fast)
            return f"There is no trade-off here: {name} at α_T = {fast.alpha_T:g} has both the least delay and the least energy."
        saving = fast.energy - frugal.energy
        half = next(c for c in front if fast.energy - c.energy >= saving / 2)
        counts = [(policy, sum(c.evaluation.policy == policy for c in front)) for policy in self.compared]
        who = ", ".join(f"{policy_label(p)} ({n})" for p, n in counts if n)
        return (
            f"Energy can fall from {ENERGY.show(fast.energy)} to {ENERGY.show(frugal.energy)} while delay rises from "
            f"{DELAY.show(fast.delay)} to {DELAY.show(frugal.delay)}. At least half of that saving costs "
            f"{DELAY.show(half.delay - fast.delay)} more delay ({self._who(half)}, α_T = {half.alpha_T:g}). On the front: {who}."
        )

    def notes(self, results: Results) -> list[str]:
        """Where a policy cannot decide or a battery ends episodes; policies that do not heed the weights; networks."""
        known = self.evaluations(results)
        reasons = [(f"{e.policy} at α_T = {a:g}", e.reason) for a, e in known if e.reason]
        notes = list(unavailable_notes(reasons))
        early = [f"{e.policy} at α_T = {a:g}" for a, e in known if not e.reason and not e.complete]
        if early:
            notes.append(
                "Not drawn, because a battery ended episodes early, or tasks were skipped, and what was done cannot be compared: "
                f"{', '.join(early[:6])}"
                f"{f' and {len(early) - 6} more' if len(early) > 6 else ''}."
            )
        lines, choices = self.bound(results), self.choices(results)
        missing = [f"{a:g}" for a in self.weights if a not in {line.alpha_T for line in lines}]
        if missing and len(known) == self.count:
            notes.append(f"No line of the bound at α_T = {', '.join(missing)}: no policy did all tasks there.")
        same = [
            policy_label(policy)
            for policy in self.compared
            if len({(c.delay, c.energy) for c in choices if c.evaluation.policy == policy}) == 1
        ]
        if same and len(known) == self.count:
            notes.append(f"The same decisions at every weight: {', '.join(same)}.")
        return notes

    def table(self, results: Results) -> pd.DataFrame:
        """One row for each policy and weight: both means with 95 % intervals, and the bound of the cost at this weight."""
        beaten = {(c.alpha_T, c.evaluation.policy): c.dominated for c in self.choices(results)}
        bounds = {line.alpha_T: line.bound for line in self.bound(results)}
        rows = []
        for alpha, evaluation in self.evaluations(results):
            row = {
                "alpha_T": alpha, "alpha_E": float(f"{1 - alpha:.12g}"), "policy": evaluation.policy,
                "network": evaluation.network, "reason": evaluation.reason,
            }  # fmt: skip
            for metric in (DELAY, ENERGY):
                low, high = evaluation.interval(metric) or (math.nan, math.nan)
                row |= {metric.name: evaluation.mean(metric), f"{metric.name}_low": low, f"{metric.name}_high": high}
            row |= {
                "dominated": beaten.get((alpha, evaluation.policy)), "bound": bounds.get(alpha, math.nan),
                "episodes_ended_early": None if evaluation.reason else int(math.fsum(evaluation.sums["ended"])),
                "episodes": self.episodes, "episode_seed": self.seed, "shares": self.shares,
                "scenario_digest": evaluation.scenario.digest,
            }  # fmt: skip
            rows.append(row)
        return pd.DataFrame(rows)

    def _who(self, choice: Choice) -> str:
        return policy_label(choice.evaluation.policy)


def is_dominated(mean: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    """Whether one of the others is at most as large in both numbers and smaller in one."""
    return any(x <= mean[0] and y <= mean[1] and (x, y) != mean for x, y in others)


def envelope(lines: Sequence[SupportLine], delays: Sequence[float]) -> list[tuple[float, float]]:
    """The lower envelope of what is possible, (delay, energy), ascending in delay, over the span of these delays.

    Its corners are where two lines cross and no other is above; it begins at the least delay that the line of α_T = 1 allows.
    """
    if not lines or not delays:
        return []
    low, high = min(delays), max(delays)
    begin = max([low, *(line.bound * line.T_max for line in lines if line.alpha_T == 1)])
    slanted = [line for line in lines if line.alpha_T < 1]
    corners = [
        x for a, b in itertools.combinations(slanted, 2) if (x := _crossing(a, b)) is not None and begin < x < high
    ]
    return [(x, least_energy(lines, x)) for x in sorted({begin, *corners, high})] if slanted else []


def least_energy(lines: Sequence[SupportLine], delay: float) -> float:
    """The least energy that any policy can have at a delay, by the lines of weights below 1."""
    return max(line.energy(delay) for line in lines if line.alpha_T < 1)


def _crossing(a: SupportLine, b: SupportLine) -> float | None:
    """The delay at which two lines cross."""
    slope_a, slope_b = (line.alpha_T / (1 - line.alpha_T) / line.T_max for line in (a, b))
    if slope_a == slope_b:
        return None
    height_a, height_b = (line.bound / (1 - line.alpha_T) for line in (a, b))
    return (height_b - height_a) / (slope_b - slope_a)
