"""Does a policy that was trained on generated tasks do as well as one that was trained on the recorded ones?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iomt_core.experiments.comparison.paired import Paired
from iomt_core.metrics import METRICS
from iomt_core.policies.base import Policy
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import Scenario, ScenarioError, check_range, collect_notes
from iomt_core.scenario.tables import read_workload_csv, with_workload
from iomt_core.training.catalogue import FALLBACK, make_policy
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin.mapping.generation import MOST_STEPS, GeneratedTasks, generate
from iomt_core.twin.mapping.task_steps import TaskSteps, recorded_tasks, split_by_time, workload_csv
from iomt_core.twin.warehouse.reading import Warehouse

ALGORITHM = "mpmt-dqn"
SEEDS, MOST_SEEDS, EPISODES, MINUTES = 3, 20, 120, 15.0
LEAST_MINUTES, MOST_MINUTES = 0.1, 10_000.0
WORLDS = 4  # in which a trained policy is evaluated
# A workload has up to 100 steps, and so has an episode: fewer episodes at once than in an ordinary run.
CHANGES: Mapping[str, Any] = {"num_envs": 24, "warm_up": 24, "replay": 72, "batch": 1, "updates": 36}


@dataclass(frozen=True)
class GeneratedCheck:
    """Costs on held-out recorded tasks, one for each seed: A trained on recorded tasks, B on generated ones.

    reference: cost of the policy `FALLBACK`, which is not trained. wanted: seeds that were asked for; fewer were done if the
    time was up. generated: tasks and measures of each user. steps: of recorded and of generated tasks each.
    """

    cost: Paired
    reference: float
    wanted: int
    steps: int
    generated: tuple[GeneratedTasks, ...]

    @property
    def seeds(self) -> int:
        """How many seeds were done."""
        return len(self.cost.a)


def compare_generated(
    folder: Path,
    model: str = "flow",
    seeds: int = SEEDS,
    episodes: int = EPISODES,
    minutes: float = MINUTES,
    recording: int | None = None,
    on_progress: Callable[[float, str], None] = lambda part, words: None,
) -> GeneratedCheck:
    """Trains a ward's policies on recorded and on generated tasks of all users, and evaluates both on held-out recorded tasks.

    The models see the same earlier part of the logs as the training on recorded tasks. Both sides have equally many steps, and
    the same seeds. minutes: no new seed begins if it would not end in time. on_progress: called with the part that is done, 0
    to 1, and what is done; it may raise an exception to stop. It needs the keys of all users. Raises `ScenarioError`.
    """
    check_range("seeds", seeds, 2, MOST_SEEDS)
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise ScenarioError(
            f"minutes = {minutes:g} is out of range: allowed is {LEAST_MINUTES:g} to {MOST_MINUTES:,g}."
        )
    settings = default_settings(ALGORITHM, episodes=episodes, **CHANGES)
    began = time.monotonic()
    warehouse = Warehouse(folder)
    number, configurations = warehouse.configurations(recording)
    s = warehouse.scenario_of(number)
    if s.users_off or len(configurations) < s.users:
        raise ScenarioError(f"recording = {number} cannot be used: users are switched off, or were forgotten.")
    parts = [(user, *split_by_time(recorded_tasks(warehouse.log(user), number))) for user in configurations]
    steps = min(MOST_STEPS, *(len(training) for _, training, _ in parts))
    generated = []
    for place, user in enumerate(configurations):
        on_progress(0.0, f"tasks of user {user}, {place + 1} of {len(configurations)}")
        generated.append(generate(folder, user, model, steps, recording=number))
    held_out = min(MOST_STEPS, *(len(later) for *_, later in parts))
    wards = [
        _ward(s, [(user, training.part(slice(steps))) for user, training, _ in parts]),
        _ward(s, [(one.user, one.steps) for one in generated]),
    ]
    judged = _ward(s, [(user, later.part(slice(held_out))) for user, _, later in parts])
    costs: tuple[list[float], list[float]] = ([], [])
    training_began = time.monotonic()
    for seed in range(seeds):
        left = minutes * 60 - (time.monotonic() - began)
        if seed and (time.monotonic() - training_began) / seed > left:
            break
        for side, (ward, found) in enumerate(zip(wards, costs, strict=True)):
            spec = RunSpec(ALGORITHM, ward, settings, seed)
            trainer = spec.trainer()
            while not trainer.done:
                trainer.advance()
                part = (seed + (side + trainer.progress) / 2) / seeds
                on_progress(part, f"seed {seed}, {('recorded', 'generated')[side]} tasks")
            found.append(
                _cost(TrainedPolicy(judged, spec, trainer.learner.target_agents, trainer.learner.target_mixer), seed)
            )
    reference = _cost(make_policy(FALLBACK, judged), 0)
    cost = Paired(METRICS["cost"], tuple(costs[0]), tuple(costs[1]))
    return GeneratedCheck(cost, reference, seeds, steps, tuple(generated))


def _ward(s: Scenario, users: list[tuple[int, TaskSteps]]) -> Scenario:
    """The ward with these tasks, by way of the file that people would use; its counts stay."""
    with collect_notes():
        ward = with_workload(s, read_workload_csv(workload_csv(users).encode()))
    counts = {} if s.places is not None else {"users": s.users}
    return ward.changed(tasks=s.tasks, **counts)


def _cost(policy: Policy, seed: int) -> float:
    """Priority-weighted mean cost of all tasks in some worlds."""
    record = play_episodes(policy, draw_episodes(policy.scenario, seed, 0, WORLDS, certify=False))
    weight = record.snapshot.weight
    return float((record.outcome.cost * weight).sum() / weight.sum())
