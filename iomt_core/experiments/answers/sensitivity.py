"""What matters most, one parameter at a time: each is changed a little, up and down, and played on the same episodes.

The differences to the unchanged ward are paired by episode, so that what both have in common cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import pandas as pd

from iomt_core.experiments.answers.question import IMPACTS, PolicyQuestion, unavailable_notes
from iomt_core.experiments.answers.results import Evaluation, Results, paired
from iomt_core.experiments.comparison.differences import YARDSTICK
from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.sweeps.points import Point
from iomt_core.experiments.sweeps.spec import COUNTED, is_whole, sweepable
from iomt_core.metrics import METRICS
from iomt_core.scenario import Meta, Scenario, ScenarioError, metadata, set_elsewhere
from iomt_core.training.catalogue import policy_label

SMALLEST, LARGEST = 0.01, 0.5  # relative change of a parameter
# Parameters that change no delay, energy or cost: they scale the utilities (12) and (13), the training, or name a random layout.
WITHOUT_EFFECT = frozenset({"c", "alpha", "mu", "gamma_t", "gamma_e", "gamma", "seed"})
# Parameters that matter only where another one is not 0, with the reason.
ONLY_WITH = MappingProxyType(
    {
        "step_time": ("speed", "it matters only where users move"),
        "background_correlation": ("background", "it matters only with background load"),
    }
)
# Parameters that have shadow prices, by the sums of `evaluation.Summary`.
PRICED = MappingProxyType({"F_k": "worth_F_k", "B_k": "worth_B_k", "F_i": "worth_F_i"})


@dataclass(frozen=True)
class Variation:
    """One parameter changed in one direction; `reason` says why it cannot be, and is empty if it can."""

    parameter: str
    up: bool
    before: Any
    after: Any
    scenario: Scenario | None
    reason: str = ""

    @property
    def meta(self) -> Meta:
        """Unit, range and meaning of the parameter."""
        return metadata()[self.parameter]

    @property
    def relative(self) -> float:
        """The change relative to the value before; infinite if that is 0. Of a range both ends change alike."""
        before, after = (sum(x) if isinstance(x, tuple) else x for x in (self.before, self.after))
        return after / before - 1 if before else math.inf

    @property
    def words(self) -> str:
        """The change as people say it: "10 % more", "one fewer", "from 0 to 0.05"."""
        if isinstance(self.before, tuple) and isinstance(self.before[0], int):
            return f"{show(self.before, self.meta)} made {show(self.after, self.meta)}"
        if is_whole(self.parameter):
            return "one more" if self.up else "one fewer"
        if not self.before:
            return f"from 0 to {show(self.after, self.meta)}"
        return f"{abs(100 * self.relative):.3g} % {'more' if self.up else 'less'}"

    @property
    def short_words(self) -> str:
        """The change for a table: "2 → 3" of whole numbers and from 0, "10 % more" of others."""
        whole = is_whole(self.parameter) or (isinstance(self.before, tuple) and isinstance(self.before[0], int))
        if whole or not self.before:
            return f"{show(self.before, self.meta)} → {show(self.after, self.meta)}"
        return self.words


def show(value: Any, meta: Meta) -> str:
    """A value of a parameter with its unit; both ends of a range."""
    return " to ".join(meta.show(end) for end in value) if isinstance(value, tuple) else meta.show(value)


@dataclass(frozen=True)
class Effect:
    """What a variation does: the metrics of `IMPACTS` beside those of the unchanged ward, on the same episodes."""

    variation: Variation
    pairs: Mapping[str, Paired]  # empty where there is a reason
    network: str = ""
    reason: str = ""  # why it is not known
    predicted: float | None = None  # relative change of the cost by the shadow prices


class Sensitivity(PolicyQuestion):
    """Which parameter matters most, changed one at a time?"""

    name: ClassVar[str] = "sensitivity"
    title: ClassVar[str] = "What matters most?"

    kind: Literal["sensitivity"] = "sensitivity"
    change: float = 0.1  # relative; whole numbers change by 1

    def _checks(self) -> Sequence[Callable[[], object]]:
        return (self._check_change,)

    def _check_change(self) -> None:
        if not SMALLEST <= self.change <= LARGEST:
            raise ScenarioError(
                f"change = {self.change:g} is out of range: allowed is {SMALLEST:g} to {LARGEST:g}, which is "
                f"{SMALLEST:.0%} to {LARGEST:.0%}."
            )

    @cached_property
    def variations(self) -> tuple[Variation, ...]:
        """Every parameter in both directions, in the order of `Scenario`; those that cannot change have a reason."""
        return tuple(self._variations())

    @property
    def count(self) -> int:
        """The unchanged ward, and every variation that is possible."""
        return 1 + sum(variation.scenario is not None for variation in self.variations)

    def points(self, results: Results) -> list[Point]:
        """The unchanged ward and all variations."""
        wards = (self.scenario, *(v.scenario for v in self.variations if v.scenario is not None))
        return [Point((), self.policy, ward) for ward in wards]

    def _variations(self) -> Iterator[Variation]:
        s, locked = self.scenario, set_elsewhere(self.scenario)
        known = {*sweepable(), "P"} - WITHOUT_EFFECT
        for name in (name for name in metadata() if name in known):
            before = getattr(s, name)
            other, why = ONLY_WITH.get(name, ("", ""))
            reason = locked.get(name, "") or (why if other and not getattr(s, other) else "")
            for up in (False, True):
                if name in COUNTED and (others := _switched(s, name, up)):
                    yield Variation(
                        name, up, before, before + (1 if up else -1), s.changed(**{f"{name}_off": others[0]})
                    )
                    continue
                after = before if reason else _shifted(before, name, self.change if up else -self.change)
                yield _variation(s, name, up, after, reason)

    def effects(self, results: Results) -> list[Effect]:
        """The effects that are known so far, in the order of `variations`; empty until the unchanged ward is known."""
        base = results.of(self.scenario, self.policy)
        if base is None:
            return []
        found = (self._effect(variation, base, results) for variation in self.variations)
        return [effect for effect in found if effect is not None]

    def _effect(self, variation: Variation, base: Evaluation, results: Results) -> Effect | None:
        if variation.scenario is None:
            return Effect(variation, {}, reason=variation.reason)
        varied = results.of(variation.scenario, self.policy)
        if varied is None:
            return None
        reason = base.reason or varied.reason
        pairs = {} if reason else {name: paired(METRICS[name], base, varied) for name in IMPACTS}
        predicted = None if base.reason else predicted_change(base, variation)
        return Effect(variation, pairs, varied.network, reason, predicted)

    def ranked(self, results: Results, metric: str = "cost") -> list[tuple[str, list[Effect]]]:
        """Parameters with a known effect, the one with the largest relative change of the metric first, and their effects."""
        grouped: dict[str, list[Effect]] = {}
        for effect in self.effects(results):
            if effect.pairs:
                grouped.setdefault(effect.variation.parameter, []).append(effect)
        return sorted(grouped.items(), key=lambda item: -max(size(effect, metric) for effect in item[1]))

    def sentence(self, results: Results, metric: str = "cost") -> str:
        """Which parameter changes the metric most, with its interval."""
        label = METRICS[metric].heading.partition(" (")[0]
        base = results.of(self.scenario, self.policy)
        if base is not None and base.reason:
            return f"{policy_label(self.policy)} cannot decide in this ward: {base.reason}"
        ranked = [
            effect
            for name, effects in self.ranked(results, metric)
            if metric != "cost" or name not in YARDSTICK
            for effect in effects
            if effect.pairs[metric].excludes_zero
        ]
        if not ranked:
            return f"No parameter changes the {label} by more than chance would, with {self.episodes} episodes."
        top = max(ranked, key=lambda effect: size(effect, metric))
        pair = top.pairs[metric]
        verb = "raises" if pair.difference > 0 else "lowers"
        variation = top.variation
        matters = "matter" if is_whole(variation.parameter) else "matters"
        return f"{variation.meta.label} {matters} most for the {label}: {variation.words} {verb} it by {_amount(pair)}."

    def notes(self, results: Results) -> list[str]:
        """Parameters that could not be changed, and why."""
        effects = self.effects(results)
        found = [(_place(effect.variation), effect.reason) for effect in effects if effect.reason]
        notes = list(unavailable_notes(list(dict.fromkeys(found)), "Not changed"))
        ended = [_place(e.variation) for e in effects if e.variation.scenario and not self._complete(e, results)]
        if ended:
            places = f"{', '.join(ended[:6])}{' and others' * (len(ended) > 6)}"
            notes.append(
                f"A battery ended episodes early, or tasks were skipped, at {places}: cost, delay and energy are means of "
                "what was done."
            )
        return notes

    def _complete(self, effect: Effect, results: Results) -> bool:
        found = results.of(effect.variation.scenario or self.scenario, self.policy)
        return found is None or bool(found.reason) or found.complete

    def table(self, results: Results) -> pd.DataFrame:
        """One row for each parameter and direction.

        For each metric: its value, the paired difference to the unchanged ward, and the ends of its 95 % interval.
        """
        rows = []
        for effect in self.effects(results):
            variation = effect.variation
            row: dict[str, Any] = {
                "parameter": variation.parameter, "direction": "up" if variation.up else "down",
                "before": show(variation.before, variation.meta), "after": show(variation.after, variation.meta),
                "policy": self.policy, "network": effect.network, "reason": effect.reason,
            }  # fmt: skip
            for name in IMPACTS:
                pair = effect.pairs.get(name)
                low, high = (pair and pair.interval) or (math.nan, math.nan)
                row |= {
                    name: pair.mean_b if pair else math.nan, f"{name}_change": pair.difference if pair else math.nan,
                    f"{name}_change_low": low, f"{name}_change_high": high,
                }  # fmt: skip
            row["cost_change_predicted"] = self._predicted(effect)
            rows.append({**row, "episodes": self.episodes, "episode_seed": self.seed, "shares": self.shares})
        return pd.DataFrame(rows)

    def _predicted(self, effect: Effect) -> float:
        if effect.predicted is None or "cost" not in effect.pairs:
            return math.nan
        return effect.predicted * effect.pairs["cost"].mean_a


def size(effect: Effect, metric: str) -> float:
    """Size of an effect, relative to the unchanged ward; 0 if it is rounding."""
    pair = effect.pairs[metric]
    return 0.0 if pair.same else abs(pair.relative or 0.0)


def predicted_change(base: Evaluation, variation: Variation) -> float | None:
    """Relative change of the cost that the shadow prices predict; None for parameters without a price.

    A price is what a little more of the resource would save if all decided best, so this is exact for small changes of the
    bound, and an estimate for a policy.
    """
    name = PRICED.get(variation.parameter)
    if name is None or name not in base.sums:
        return None
    cost = math.fsum(base.sums["cost"])
    return -variation.relative * math.fsum(base.sums[name]) / cost if cost else None


def _variation(s: Scenario, name: str, up: bool, after: Any, reason: str) -> Variation:
    before = getattr(s, name)
    if not reason and after == before:
        reason = f"it is at the {'upper' if up else 'lower'} end of its allowed range"
    if reason:
        return Variation(name, up, before, after, None, reason)
    try:
        return Variation(name, up, before, after, s.changed(**{name: after}))
    except ScenarioError as error:  # it does not fit to the rest, such as own places
        return Variation(name, up, before, after, None, " ".join(error.problems))


def _switched(s: Scenario, name: str, up: bool) -> list[tuple[int, ...]]:
    """The numbers that are switched off after one more or fewer of users or servers; none where that is not possible.

    One fewer is switched off and one more switched on again, so that all others stay where they are.
    """
    off, on = getattr(s, f"{name}_off"), getattr(s, COUNTED[name])
    if up:
        return [off[:-1]] if off else []
    return [(*off, on[-1])] if len(on) > 1 else []


def _shifted(value: Any, name: str, change: float) -> Any:
    """The value changed by this part of it, within the allowed range; whole numbers by 1, and 0 by that part of what is usual."""
    if isinstance(value, tuple):
        return tuple(_shifted(end, name, change) for end in value)
    meta = metadata()[name]
    low, high = meta.low or 0.0, meta.high or 0.0
    if isinstance(value, int):
        return int(min(high, max(low, value + math.copysign(1, change))))
    shifted = value * (1 + change) if value else change * (meta.span[1] - meta.span[0])
    return min(high, max(low, float(f"{shifted:.12g}")))


def _amount(pair: Paired) -> str:
    """The size of a difference with its interval: "3.1 % (95 % interval 2.9 to 3.3 %)"."""
    relative, interval = pair.relative, pair.relative_interval
    if relative is None or interval is None:
        return pair.metric.show_difference(abs(pair.difference))
    low, high = sorted(100 * end * math.copysign(1, relative) for end in interval)
    return f"{abs(100 * relative):.3g} % (95 % interval {low:.3g} to {high:.3g} %)"


def _place(variation: Variation) -> str:
    if variation.scenario is None and "end of its allowed range" not in variation.reason:
        return str(variation.meta.label)
    return f"{variation.meta.label} ({'up' if variation.up else 'down'})"
