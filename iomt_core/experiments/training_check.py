"""How good a policy is on held-out episodes, next to the certified bound and the heuristics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from iomt_core.experiments.evaluation import Summary, compared_by
from iomt_core.policies.base import Policy
from iomt_core.record import Record
from iomt_core.rollout import EpisodeSet, draw_episodes, play_episodes
from iomt_core.scenario import Scenario
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import make_policy
from iomt_core.training.general_wards import draw_ward
from iomt_core.training.trained_policy import TrainedPolicy

Floats = npt.NDArray[np.float64]
HELD_OUT = 2_000_003  # seed of episodes that no training run plays: theirs are hashes
VALIDATION = 3_000_017  # seed of wards on which a checkpoint is chosen; no result is reported on them
RUN_HELD_OUT = 6_000_101  # seed of the episodes of a user's run: its curve, and the comparison with its start
RUN_EPISODES = 20  # of these
FRESH = 8_000_009  # seed of wards on which results of general networks are reported
MOST_GAP = 0.25  # with which a ward counts at most in a score over many wards
CHECKED = ("gap", "cost", "mean_delay_s", "mean_energy_j", "deadline_miss_share", "local_share")
RUN_CHECKED = (*CHECKED, "return_gap")  # of a user's run
NEARLY = 0.9  # share of the optimum's tasks on one device from which on a policy that puts all there has not collapsed
REFERENCES = ("optimum", "price-response", "greedy", "random")


class Evaluator:
    """Evaluates policies on the same held-out episodes of one scenario."""

    def __init__(self, s: Scenario, episodes: int = 4, seed: int = HELD_OUT, names: Sequence[str] = CHECKED) -> None:
        """names: the metrics that are computed, keys of `METRICS` or `CONTEXT`."""
        self.episodes, self.names = draw_episodes(s, seed, 0, episodes), names

    def evaluate(self, policy: Policy) -> dict[str, float]:
        """The metrics `names` of the policy, SI units."""
        return self._figures(play_episodes(policy, self.episodes))

    def evaluate_run(self, policy: Policy) -> dict[str, Any]:
        """The metrics `names` of a policy in training, and what else is to be known of it.

        collapsed: what it does with every task, if it should not. compared_by_return: 1 where batteries matter, so that the
        gap of the return is to be looked at instead of that of the cost; otherwise 0.
        """
        record = play_episodes(policy, self.episodes)
        words = record.collapse
        if words:
            best = play_episodes(make_policy("optimum", self.episodes.scenario), self.episodes)
            words = "" if best.collapse_from(NEARLY) == words else words
        by_return = float(compared_by(record) == "return")
        return {**self._figures(record), "collapsed": words, "compared_by_return": by_return}

    def summary(self, record: Record) -> Summary:
        """The sums of these episodes, one value for each of them, see `Summary`."""
        summary = Summary(self.episodes.scenario, "", "own", self.episodes.seed)
        summary.add(record)
        return summary

    def _figures(self, record: Record) -> dict[str, float]:
        values = self.summary(record).values()
        return {name: float(values[name]) for name in self.names}

    def references(self, names: Sequence[str] = REFERENCES) -> dict[str, dict[str, float]]:
        """The metrics of the policies that a trained one is compared with, by name."""
        return {name: self.evaluate(make_policy(name, self.episodes.scenario)) for name in names}


def references_of_run(place: Path, evaluator: Evaluator) -> Mapping[str, Any]:
    """The reference policies' metrics; kept in the run's directory as `references.json`. Raises `ScenarioError`."""
    path = place / "references.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = evaluator.references()
    write_text_atomically(path, json.dumps(found, indent=1) + "\n")
    return found


class RangeEvaluator:
    """Evaluates policies on the same wards from the general networks' range, drawn by a seed that no training run uses.

    The gap of a ward is that of the loss, Σ p - return: how far it is at most above the lowest possible, which the bound of the
    return certifies. Where neither batteries nor deadlines bind, the loss is the cost and the gap that of `METRICS`.
    """

    def __init__(self, wards: int = 200, steps: int = 5, episodes: int = 2, seed: int = FRESH) -> None:
        generator = np.random.default_rng(seed)
        names = ("return", "return_bound")
        self.evaluators = [Evaluator(draw_ward(generator, steps), episodes, seed, names) for _ in range(wards)]

    def gaps(self, policy: Callable[[Scenario], Policy]) -> Floats:
        """The gap in each ward; `policy` makes the policy for a ward."""
        found = []
        for one in self.evaluators:
            values, weight = one.evaluate(policy(one.episodes.scenario)), _weight(one.episodes)
            found.append((weight - values["return"]) / (weight - values["return_bound"]) - 1)
        return np.array(found)

    def summary(self, gaps: Floats) -> dict[str, Any]:
        """Mean, median and largest gap; and `score`, the mean gap if a ward counts with at most `MOST_GAP`.

        So a few extreme wards do not decide.
        """
        means = {"mean": float(gaps.mean()), "median": float(np.median(gaps)), "worst": float(gaps.max())}
        return {"wards": len(gaps), "score": float(np.minimum(gaps, MOST_GAP).mean()), **means}


def paired(a: Floats, b: Floats) -> dict[str, float]:
    """Mean difference a - b of gaps in the same wards, as they are and cut at `MOST_GAP`, each with its standard error."""
    found: dict[str, float] = {}
    for name, difference in (("gap", a - b), ("score", np.minimum(a, MOST_GAP) - np.minimum(b, MOST_GAP))):
        found |= {name: float(difference.mean())}
        found |= {f"{name}_standard_error": float(difference.std(ddof=1) / len(difference) ** 0.5)}
    return found


def _weight(episodes: EpisodeSet) -> float:
    """Σ p of an episode, mean over the episodes."""
    return float((episodes.snapshot.weight * episodes.snapshot.active).sum()) / episodes.count


def for_any_ward(trained: TrainedPolicy) -> Callable[[Scenario], Policy]:
    """Makes the policy of general networks for any ward of their range."""
    return lambda s: TrainedPolicy(s, trained.spec, trained.original_agents)
