"""The runs of the study: each trains one arm on one ward from one seed, or evaluates the policies without training.

A result has values for each held-out episode, and is a file, see `experiments/run_files.py`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iomt_core.experiments.coupled.wards import ARMS, REFERENCES, WARDS, CoupledArm, CoupledWard
from iomt_core.experiments.evaluation import Summary
from iomt_core.experiments.run_files import (
    REFERENCE,
    Results,
    check_stop,
    read_result,
    recipe_digest,
    result_of,
    rounded,
)
from iomt_core.experiments.training_check import HELD_OUT, VALIDATION, Evaluator
from iomt_core.metrics import METRICS
from iomt_core.policies.base import Policy
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.rollout import EpisodeSet, draw_episodes, play_episodes
from iomt_core.scenario import check_range
from iomt_core.training.catalogue import make_policy
from iomt_core.training.coupled_encoder import LEARNED
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy

SEEDS, MOST_SEEDS = 5, 20
USUAL_STEPS = 20  # of an episode; where episodes are longer, fewer are played
HELD_OUT_EPISODES, VALIDATION_EPISODES = 20, 6
CHECKS = 3  # times in a run at which validation episodes are played, besides the start
KEPT = ("gap", "return_gap")  # for each episode
MEANS = ("return", "local_share", "deadline_miss_share", "skipped_share", "episodes_ended_by_battery")
SECONDS = {REFERENCE: 40.0, "start": 60.0}  # core-seconds of a run before any is known, on one core of 2.1 GHz
USUAL_SECONDS = 100.0


@dataclass(frozen=True)
class Run:
    """One run of the study."""

    arm: str
    ward: str
    seed: int

    @property
    def file(self) -> str:
        """Name of the result's file."""
        return f"{self.ward}-{self.arm}" + (f"-s{self.seed}" if self.arm != REFERENCE else "") + ".json"

    @property
    def spec(self) -> RunSpec:
        """The training run; not of `REFERENCE`."""
        arm, ward = ARMS[self.arm], WARDS[self.ward]
        changes = dict(arm.changes)
        changes["episodes"] = max(1, changes["episodes"] * USUAL_STEPS // ward.scenario.T)
        if arm.heard and ward.recent and changes.get("coupled_steps"):
            changes["recent_prices"] = True
        return RunSpec(arm.algorithm, ward.scenario, default_settings(arm.algorithm, **changes), self.seed)

    @property
    def recipe(self) -> str:
        """Digest of all that determines the result but the code."""
        facts: dict[str, Any] = {"evaluated": [HELD_OUT_EPISODES, VALIDATION_EPISODES, CHECKS]}
        if self.arm == REFERENCE:
            facts |= {"policies": REFERENCES, "ward": WARDS[self.ward].scenario.digest}
        else:
            facts |= {name: value for name, value in self.spec.as_json().items() if name not in ("format", "scenario")}
        return recipe_digest(facts)

    def seconds(self, known: Mapping[Any, float]) -> float:
        """Core-seconds that the run will take, from finished runs of other seeds where there are any."""
        return known.get((self.arm, self.ward), SECONDS.get(self.arm, USUAL_SECONDS))


def planned(
    seeds: int = SEEDS,
    wards: Sequence[CoupledWard] = tuple(WARDS.values()),
    arms: Sequence[CoupledArm] = tuple(ARMS.values()),
) -> list[Run]:
    """All runs, seed by seed, so that a stopped study has all arms on all wards from a few seeds. Raises `ScenarioError`."""
    check_range("seeds", seeds, 1, MOST_SEEDS)
    found = [Run(REFERENCE, ward.name, 0) for ward in wards]
    for seed in range(seeds):
        found += [
            Run(arm.name, ward.name, seed)
            for arm in arms
            for ward in wards
            if arm.on(ward) and seed < (seeds if arm.seeds is None else arm.seeds)
        ]
    return found


def compute(run: Run, stop: Path | None = None) -> dict[str, Any]:
    """The result of a run, as its file holds it. Runs on a worker, in one thread; deterministic but for the times.

    Raises `AbandonedError` between two batches of episodes when the file `stop` appears.
    """
    facts = {**vars(run), "recipe": run.recipe}
    return result_of(lambda: facts | (_references(run) if run.arm == REFERENCE else _train(run, stop)))


def _references(run: Run) -> dict[str, Any]:
    s = WARDS[run.ward].scenario
    episodes = draw_episodes(s, HELD_OUT, 0, HELD_OUT_EPISODES)
    assert isinstance(episodes.dual, EpisodeDual)
    kappa = float(episodes.dual.battery.mean())
    policies = {name: _evaluated(make_policy(name, s), episodes) for name in REFERENCES}
    return {"policies": policies, "battery_price": rounded(kappa)}


def _train(run: Run, stop: Path | None) -> dict[str, Any]:
    check_stop(stop)
    spec, metric = run.spec, WARDS[run.ward].metric
    trainer = spec.trainer()
    checked = Evaluator(spec.scenario, VALIDATION_EPISODES, VALIDATION, ("return", metric))
    curve: list[dict[str, float]] = []
    best, best_return = copy.deepcopy(trainer.learner.target_agents), -math.inf

    def check() -> None:
        nonlocal best, best_return
        found = checked.evaluate(TrainedPolicy.from_trainer(trainer, spec))
        curve.append({"episodes": trainer.played, metric: rounded(found[metric])})
        if found["return"] > best_return:
            best, best_return = copy.deepcopy(trainer.learner.target_agents), found["return"]

    check()
    every = spec.settings.episodes // CHECKS
    while not trainer.done:
        check_stop(stop)
        before = trainer.played
        trainer.advance()
        if trainer.done or before // every != trainer.played // every:
            check()
    policy = TrainedPolicy(spec.scenario, spec, best)
    found = _evaluated(policy, draw_episodes(spec.scenario, HELD_OUT, 0, HELD_OUT_EPISODES))
    price = float(best.get_parameter(LEARNED)[0]) / spec.scenario.Cap if spec.settings.coupled_steps else 0.0
    chosen = max(range(len(curve)), key=lambda n: -curve[n][metric])
    return {"figures": found, "validation": curve, "chosen": chosen, "battery_price": rounded(price)}


def _evaluated(policy: Policy, episodes: EpisodeSet) -> dict[str, Any]:
    """The metrics `KEPT` of each episode and the means `MEANS`."""
    summary = Summary(episodes.scenario, "", "own", episodes.seed)
    summary.add(play_episodes(policy, episodes))
    values = summary.values()
    found: dict[str, Any] = {name: [*map(rounded, METRICS[name].per_episode(summary.sums))] for name in KEPT}
    return found | {name: rounded(values[name]) for name in MEANS}


def read_results(folder: Path) -> Results:
    """All results in a folder; files that are not results are left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        if (values := read_result(path)) is None:
            continue
        arm, ward, seed = (values.get(name) for name in ("arm", "ward", "seed"))
        if arm in (*ARMS, REFERENCE) and ward in WARDS and isinstance(seed, int):
            run = Run(str(arm), str(ward), seed)
            if run.file == path.name:
                found[run.arm, run.ward, run.seed] = values
    return found
