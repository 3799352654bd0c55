"""How a policy in training does on held-out seeds, beside the certified bound and the heuristics."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iomt_core.experiments.evaluation import Summary
from iomt_core.policies.base import Policy
from iomt_core.policies.registry import make_policy
from iomt_core.scenario import Scenario
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.general_wards import draw_ward
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin.record import Draw, Record, draw, run

HELD_OUT = 2_000_003  # seed of episodes that no training run plays: theirs are hashes
TUNING = 3_000_017  # the same, for choosing hyper-parameters: what is chosen by must not be what is reported
BESIDE = ("optimum", "price-response", "greedy", "random")


class Check:
    """The same held-out episodes for every policy that is asked about."""

    def __init__(self, s: Scenario, episodes: int = 4, seed: int = HELD_OUT) -> None:
        self.scenario, self.seed = s, seed
        self.drawn: Draw = draw(s, seed, 0, episodes)

    def of(self, policy: Policy) -> dict[str, float]:
        """Cost, gap, delay, energy, deadline misses and the share of tasks kept local."""
        return self.judged(run(policy, self.drawn), policy.name)

    def judged(self, record: Record, name: str) -> dict[str, float]:
        """The same of what a policy of this name did in these episodes."""
        summary = Summary(self.scenario, name, "own", self.seed)
        summary.add(record)
        values = summary.values()
        names = ("cost", "gap", "mean_delay_s", "mean_energy_j", "deadline_miss_share", "local_share")
        return {name: float(values[name]) for name in names}

    def heuristics(self, names: Sequence[str] = BESIDE) -> Mapping[str, Any]:
        """The same of what it is measured against."""
        return {name: self.of(make_policy(name, self.scenario)) for name in names}


def written_beside(place: Path, check: Check) -> Mapping[str, Any]:
    """The heuristics' figures, written into the run's directory as `beside.json` once. Raises `ScenarioError`."""
    path = place / "beside.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = check.heuristics()
    write_text_atomically(path, json.dumps(found, indent=1) + "\n")
    return found


class RangeCheck:
    """The same wards, from the whole range of the general networks, for every policy; no training run draws from this seed."""

    def __init__(self, wards: int = 100, steps: int = 5, episodes: int = 2) -> None:
        generator = np.random.default_rng(HELD_OUT)
        self.drawn = [draw(draw_ward(generator).changed(T=steps), HELD_OUT, 0, episodes) for _ in range(wards)]

    def of(self, policy: Callable[[Scenario], Policy]) -> dict[str, Any]:
        """The gap to the bound: mean over wards, median, and the worst ward's."""
        gaps = []
        for drawn in self.drawn:
            summary = Summary(drawn.scenario, "checked", "own", HELD_OUT)
            summary.add(run(policy(drawn.scenario), drawn))
            gaps.append(float(summary.values()["gap"]))
        return {"wards": len(gaps), "mean": float(np.mean(gaps)), "median": float(np.median(gaps)), "worst": max(gaps)}


def on_any_ward(trained: TrainedPolicy) -> Callable[[Scenario], Policy]:
    """A shared network's policy for any ward of its range."""
    return lambda s: TrainedPolicy(s, trained.spec, trained.shipped)
