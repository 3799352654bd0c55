"""What a stale twin costs: a policy that decides on a synchronised twin, beside the same policy on the ward itself.

Both play the same episodes, so the difference is paired. The actions are always carried out in the real ward.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import pandas as pd
import torch

from iomt_core.experiments.comparison.paired import Paired, Verdict
from iomt_core.experiments.evaluation import Summary, records
from iomt_core.metrics import METRICS, STALENESS
from iomt_core.policies.base import Shares
from iomt_core.scenario import Scenario, ScenarioError, check_range
from iomt_core.training.catalogue import cached_by_checkpoint, entry, policy_label
from iomt_core.twin.mapping.synchronisation import FIELD_GROUPS, FRESH, LATE_GROUPS, Synchronisation, staleness

MOST_SETTINGS, MOST_EPISODES = 100, 1000
COMPARED = ("cost", "return", "mean_delay_s", "mean_energy_j", "deadline_miss_share")  # names in `METRICS`
SMALL = 0.01  # a mean rate error below this is too small to matter
Axis = Literal["interval", "delay", "noise"]
AXES: Mapping[Axis, str] = MappingProxyType(
    {
        "interval": "interval of synchronisation (steps)",
        "delay": "delay of synchronisation (steps)",
        "noise": "noise (%)",
    }
)


@dataclass(frozen=True)
class StaleResult:
    """A policy's episodes on a twin with these settings.

    sums: one value for each episode, see `evaluation.Summary`. staleness: means over all steps, by name in `STALENESS`.
    """

    settings: Synchronisation
    sums: Mapping[str, Sequence[float]]
    staleness: Mapping[str, float]


@dataclass(frozen=True)
class StalenessCost:
    """What these settings cost, compared with a twin that is always the ward.

    pairs: by name of the metric, A is the fresh twin and B the stale one. complete: whether both played all steps and skipped no
    task; if not, cost, delay and energy are means of what was done, and the return is to be compared.
    """

    settings: Synchronisation
    pairs: Mapping[str, Paired]
    staleness: Mapping[str, float]
    complete: bool

    @property
    def by(self) -> Literal["cost", "return"]:
        """The metric to judge by."""
        return "cost" if self.complete else "return"

    @property
    def verdict(self) -> Verdict:
        """What the stale twin does to the metric of `by`, where the 95 % interval permits to say so."""
        return self.pairs[self.by].verdict


def settings_grid(
    intervals: Sequence[int] = (1,),
    delays: Sequence[int] = (0,),
    noises: Sequence[float] = (0.0,),
    groups: tuple[str, ...] = LATE_GROUPS,
) -> list[Synchronisation]:
    """All combinations of these values, each once. Raises `ScenarioError`, also for more than `MOST_SETTINGS`."""
    count = len(intervals) * len(delays) * len(noises)
    if not 1 <= count <= MOST_SETTINGS:
        raise ScenarioError(
            f"interval × delay × noise = {count} combinations are out of range: allowed is 1 to {MOST_SETTINGS}."
        )
    found = (Synchronisation(n, d, x, groups) for n, d, x in itertools.product(intervals, delays, noises))
    return list(dict.fromkeys(found))


@cached_by_checkpoint(maxsize=400)
def play_on_twin(
    s: Scenario, policy: str, settings: Synchronisation, episodes: int, seed: int = 0, shares: Shares = "own"
) -> StaleResult:
    """Plays the first episodes of a seed under a policy that decides on a twin. Cached. Raises `ScenarioError`."""
    check_range("episodes", episodes, 1, MOST_EPISODES)
    summary = Summary(s, entry(policy).name, shares, seed)
    total, steps = dict.fromkeys(STALENESS, 0.0), 0
    for record in records(s, policy, episodes, seed, shares, settings, certify=False):
        summary.add(record)
        steps += len(record)
        for name, values in staleness(record, settings).items():
            total[name] += float(values.to(torch.float64).sum())
    return StaleResult(settings, summary.sums, {name: value / steps for name, value in total.items()})


def staleness_cost(fresh: StaleResult, stale: StaleResult) -> StalenessCost:
    """The paired comparison of the same episodes on a fresh and on a stale twin."""
    pairs = {name: Paired.of(METRICS[name], fresh.sums, stale.sums) for name in COMPARED}
    complete = not any(any(side.sums[name]) for side in (fresh, stale) for name in ("ended", "skipped"))
    return StalenessCost(stale.settings, pairs, stale.staleness, complete)


def staleness_costs(
    s: Scenario,
    policy: str,
    settings: Sequence[Synchronisation],
    episodes: int,
    seed: int = 0,
    shares: Shares = "own",
) -> Iterator[StalenessCost]:
    """What each of the settings costs, in their order. Raises `ScenarioError`, also for a policy that needs no twin."""
    for one in settings:
        fresh = play_on_twin(s, policy, FRESH, episodes, seed, shares)
        yield staleness_cost(fresh, play_on_twin(s, policy, one, episodes, seed, shares))


def staleness_table(costs: Sequence[StalenessCost]) -> pd.DataFrame:
    """A row for each of the settings, SI units: staleness, and each metric on the fresh twin, on this one, and the difference.

    `_low` and `_high` are the ends of the 95 % interval of the difference; NaN for one episode.
    """
    rows = []
    for cost in costs:
        settings = cost.settings
        row = {
            "interval": settings.interval, "delay": settings.delay, "noise": settings.noise,
            "groups": " ".join(settings.groups), **cost.staleness,
        }  # fmt: skip
        for name, pair in cost.pairs.items():
            low, high = pair.interval or (math.nan, math.nan)
            row |= {f"{name}_fresh": pair.mean_a, name: pair.mean_b, f"{name}_difference": pair.difference}
            row |= {f"{name}_low": low, f"{name}_high": high}
        rows.append({**row, "compared_by": cost.by, "verdict": cost.verdict})
    return pd.DataFrame(rows)


def staleness_notes(s: Scenario, policy: str, costs: Sequence[StalenessCost]) -> list[str]:
    """What a person must know to read the costs, as sentences: why nothing changes, or what cannot change in this ward."""
    stale = [cost for cost in costs if not cost.settings.is_exact]
    unchanged = bool(stale) and all(cost.verdict == "the same" and cost.pairs["return"].same for cost in stale)
    wrong = [name for name in _errors(stale) if name not in ("battery_error", "position_error_m")]
    notes = []
    if unchanged and wrong:
        worst = {name: max(cost.staleness[name] for cost in stale) for name in wrong}
        words = " and ".join(
            f"{STALENESS[name].label.lower()} up to {STALENESS[name].show(worst[name])}" for name in worst
        )
        notes.append(
            f"A stale twin costs nothing here, although it is wrong ({words}): {policy_label(policy)} decides the same."
        )
    elif unchanged:
        notes.append("A stale twin costs nothing here: nothing changes in it that would change a decision.")
    elif not all(cost.complete for cost in costs):
        notes.append(
            "A battery ended episodes early, or tasks were skipped. Cost, delay and energy are means of what was done: compare "
            "the return."
        )
    return notes + _still(s, costs)


def _errors(costs: Sequence[StalenessCost]) -> list[str]:
    """The errors of the groups that are synchronised late, where there are any."""
    late = {name for cost in costs for group in cost.settings.groups for name in FIELD_GROUPS[group].errors}
    return [name for name in STALENESS if name in late and any(cost.staleness[name] > 0 for cost in costs)]


def _still(s: Scenario, costs: Sequence[StalenessCost]) -> list[str]:
    """What does not change from step to step in this ward, and which parameter would change it."""
    late = {group for cost in costs for group in cost.settings.groups}
    found = []
    if "servers" in late and s.background == 0:
        found.append("servers have no background load (set background)")
    if "links" in late and s.speed == 0:
        found.append("users stand still (set speed, and channel = log-distance, where distance decides)")
    elif "links" in late and s.channel == "paper" and all(cost.staleness["rate_error"] < SMALL for cost in costs):
        found.append("on the channel 'paper' distance hardly changes a rate (set channel = log-distance)")
    if not found:
        return []
    return [f"In this ward {' and '.join(found)}: without noise the twin is right about this, however old it is."]
