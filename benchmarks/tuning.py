"""Random search over an algorithm's hyper-parameters: `python -m benchmarks.tuning pa-ddpg --trials 16 --episodes 1200`.

Every trial trains once from the same seed and is judged on episodes that are neither trained on nor reported in the
results. The first trial is the algorithm as it stands, so that a search can only tell of something better.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.experiments.training_check import TUNING, Evaluator
from iomt_core.runs.process import prepare
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy

SPACE: Mapping[str, tuple[Any, ...]] = {
    "learning_rate": (5e-4, 1e-3, 2e-3, 4e-3),
    "actor_learning_rate": (5e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    "batch": (2, 4, 8, 16),
    "tau": (0.005, 0.02, 0.05),
    "share_noise": ((0.3, 0.05), (0.5, 0.15), (1.0, 0.1), (1.0, 0.3)),
    "epsilon": (0.005, 0.05, 0.2),
    "team_weight": (0.1, 1.0),
    "parameter_tying": (0.0, 0.4, 0.8),
    "actor_every": (1, 2),
    "clip": (1.0, 10.0),
    "decay_from": (0.2, 0.5),
}


def trial(algorithm: str, changes: Mapping[str, Any], episodes: int, evaluator: Evaluator) -> dict[str, float]:
    """What a run with these settings comes to."""
    start = time.perf_counter()
    settings = default_settings(algorithm, **{"episodes": episodes, **changes})
    spec = RunSpec(algorithm, evaluator.episodes.scenario, settings, seed=0)
    trainer = spec.trainer()
    while not trainer.done:
        trainer.advance()
    return evaluator.evaluate(TrainedPolicy.from_trainer(trainer, spec)) | {"seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", choices=sorted(ALGORITHMS))
    parser.add_argument("--scenario", default="paper", choices=sorted(PRESETS))
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--out", type=Path, help="a file to which each trial adds a line")
    told = parser.parse_args()
    prepare(1)
    evaluator = Evaluator(PRESETS[told.scenario], 8, TUNING)
    generator = np.random.default_rng(told.seed)
    for number in range(told.trials):
        drawn = {name: values[generator.integers(len(values))] for name, values in SPACE.items()} if number else {}
        found = trial(told.algorithm, drawn, told.episodes, evaluator)
        line = json.dumps({"trial": number, "gap": round(found["gap"], 5), "settings": drawn, **found})
        print(
            f"{number:3d}  gap {found['gap']:8.2%}  local {found['local_share']:5.0%}  {found['seconds']:5.0f} s  {drawn}",
            flush=True,
        )
        if told.out:
            with told.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
