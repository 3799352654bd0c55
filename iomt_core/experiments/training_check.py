"""Evaluates policies in training on held-out episodes, with heuristics and the certified bound for reference."""

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

HELD_OUT = 2_000_003  # seed of episodes that no training run plays: training seeds are hashes
TUNING = 3_000_017  # the same, for choosing hyper-parameters; results are never reported on these
BESIDE = ("optimum", "price-response", "greedy", "random")
CHECKED = ("gap", "cost", "mean_delay_s", "mean_energy_j", "deadline_miss_share", "local_share")  # names of metrics


class Check:
    """Evaluates any policy on the same held-out episodes."""

    def __init__(self, s: Scenario, episodes: int = 4, seed: int = HELD_OUT) -> None:
        self.scenario, self.seed = s, seed
        self.drawn: Draw = draw(s, seed, 0, episodes)

    def of(self, policy: Policy) -> dict[str, float]:
        """The metrics `CHECKED` of a policy, by name, SI."""
        return self.judged(run(policy, self.drawn), policy.name)

    def judged(self, record: Record, name: str) -> dict[str, float]:
        """The same metrics of a record of these episodes, played by a policy of this name."""
        summary = Summary(self.scenario, name, "own", self.seed)
        summary.add(record)
        values = summary.values()
        return {name: float(values[name]) for name in CHECKED}

    def heuristics(self, names: Sequence[str] = BESIDE) -> Mapping[str, Any]:
        """The same metrics of reference policies."""
        return {name: self.of(make_policy(name, self.scenario)) for name in names}


def written_beside(place: Path, check: Check) -> Mapping[str, Any]:
    """Metrics of the reference policies, from the run's `beside.json`, which is written once. Raises `ScenarioError`."""
    path = place / "beside.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = check.heuristics()
    write_text_atomically(path, json.dumps(found, indent=1) + "\n")
    return found


class RangeCheck:
    """Evaluates policies on the same wards from the whole range of the general networks, drawn by a held-out seed."""

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
    """The policy of a general network for any ward of its range."""
    return lambda s: TrainedPolicy(s, trained.spec, trained.shipped)
