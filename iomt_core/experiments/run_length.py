"""How many episodes a run can play in a given time, measured on this machine before the run begins.

A run is always defined by its number of episodes, so that it can be repeated; the time only chooses that number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from iomt_core.experiments.fine_tuning import TUNING_EPISODES
from iomt_core.experiments.training_check import RUN_EPISODES, RUN_HELD_OUT, Evaluator
from iomt_core.scenario import check_range
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import CPU

SHORTEST, LONGEST = 5, 86_400  # seconds
POINTS = 10  # evaluations and checkpoints of a run
LONGEST_EPISODES = 1_000_000


def interval(episodes: int, num_envs: int) -> int:
    """Episodes between two of `POINTS` evaluations: a multiple of the episodes in a batch, so that the last one is at the end."""
    return max(1, math.ceil(max(1, episodes) / POINTS / num_envs)) * num_envs


def with_length(
    spec: RunSpec, seconds: int, device: torch.device = CPU, fixed: Mapping[str, Any] | None = None
) -> RunSpec:
    """The run with as many episodes as it plays in about `seconds` on an idle machine, evaluations included.

    Measured with one batch of episodes after a small one, and one evaluation. fixed: settings that were chosen by a person, such
    as `evaluate_every`; they stay. Raises `ScenarioError` for seconds out of range and where the run cannot start.
    """
    check_range("seconds", seconds, SHORTEST, LONGEST)
    settings = spec.settings
    first = max(settings.num_envs, settings.warm_up)
    measured = replace(
        spec, settings=settings.model_copy(update={"episodes": 100 * first, "warm_up": 0}), warehouse=None
    )
    small = replace(measured, settings=measured.settings.model_copy(update={"num_envs": 2, "updates": 1}))
    small.trainer(device).advance()  # loads and compiles what is used for the first time
    trainer = measured.trainer(device)
    batch = _seconds(trainer.advance)
    held_out, policy = Evaluator(spec.scenario, RUN_EPISODES, RUN_HELD_OUT), TrainedPolicy.from_trainer(trainer, spec)
    evaluation = _seconds(lambda: held_out.evaluate_run(policy))
    if spec.start is not None:
        evaluation *= 1 + TUNING_EPISODES / RUN_EPISODES
    left = seconds - (POINTS + 1) * evaluation
    batches = max(1, math.floor(left / batch))
    episodes = min(LONGEST_EPISODES, batches * settings.num_envs)
    every = interval(episodes, settings.num_envs)
    changes = {"episodes": episodes, "evaluate_every": every, "checkpoint_every": every}
    return replace(spec, settings=settings.model_copy(update={**changes, **(fixed or {})}))


def _seconds(work: Callable[[], Any]) -> float:
    """What `work` takes on an idle machine: time on the clock, or of this process's cores where others keep them busy."""
    clock, core = time.perf_counter(), time.process_time()
    work()
    return max(1e-6, min(time.perf_counter() - clock, time.process_time() - core))
