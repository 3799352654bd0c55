"""Random search over settings of the two DDPG baselines: `python -m benchmarks.tuning pa-ddpg`.

Each draw of settings is trained briefly. The best draws and the current settings are then trained for longer, from other seeds.
The last lines compare these. Policies are compared on episodes that are neither trained on nor reported in results.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, as_completed
from typing import Any

import numpy as np

from iomt_core.experiments.sweeps.executors import executor
from iomt_core.experiments.training_check import VALIDATION, Evaluator
from iomt_core.runs.process import prepare
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy

SPACE: Mapping[str, tuple[Any, ...]] = {
    "learning_rate": (1e-3, 2e-3, 4e-3, 8e-3),
    "actor_learning_rate": (1e-4, 3e-4, 1e-3, 3e-3),
    "batch": (4, 8, 16),
    "tau": (0.005, 0.02, 0.05),
    "share_noise": ((0.5, 0.15), (1.0, 0.1), (1.0, 0.3)),
    "epsilon": (0.005, 0.05, 0.2),
    "team_weight": (0.1, 1.0),
    "parameter_tying": (0.0, 0.4, 0.8),
    "actor_every": (1, 2),
    "decay_from": (0.2, 0.5),
    "action_smoothing": (0.0, 0.5, 1.0, 2.0),
    "saturation_penalty": (0.0, 0.003, 0.03),
}
FIRST_SEED = 100  # of training; published runs have smaller ones
VALIDATION_EPISODES = 8

Found = tuple[Mapping[str, float], float]  # metrics, core-seconds


def train(algorithm: str, preset: str, changes: Mapping[str, Any], episodes: int, seed: int) -> Found:
    """The metrics of one run with these settings."""
    prepare(1)
    start = time.process_time()
    spec = RunSpec(algorithm, PRESETS[preset], default_settings(algorithm, **{**changes, "episodes": episodes}), seed)
    trainer = spec.trainer()
    while not trainer.done:
        trainer.advance()
    evaluator = Evaluator(spec.scenario, VALIDATION_EPISODES, VALIDATION)
    return evaluator.evaluate(TrainedPolicy.from_trainer(trainer, spec)), time.process_time() - start


def gaps(
    pool: Executor, options: argparse.Namespace, draws: Sequence[Mapping[str, Any]], episodes: int, seeds: Sequence[int]
) -> list[list[float]]:
    """The gaps of each draw, one for each seed; prints every run as it ends."""
    runs = {
        pool.submit(train, options.algorithm, options.scenario, draw, episodes, seed): n
        for seed in seeds
        for n, draw in enumerate(draws)
    }
    found: list[list[float]] = [[] for _ in draws]
    for run in as_completed(runs):
        values, seconds = run.result()
        n = runs[run]
        found[n].append(values["gap"])
        print(
            f"{n:3d}  gap {values['gap']:8.2%}  local {values['local_share']:4.0%}  {seconds:5.0f} s  {draws[n]}",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", choices=("pa-ddpg", "ma-pa-ddpg"))
    parser.add_argument("--scenario", default="paper", choices=sorted(PRESETS))
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--episodes", type=int, nargs=2, default=(480, 1500), help="of a short and of a long run")
    parser.add_argument("--kept", type=int, default=4, help="draws that are trained for longer")
    parser.add_argument("--seeds", type=int, default=3, help="of each long run")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    draws: list[Mapping[str, Any]] = [{}]  # the current settings
    draws += [{name: values[rng.integers(len(values))] for name, values in SPACE.items()} for _ in range(options.draws)]
    with executor() as pool:
        short_gaps = gaps(pool, options, draws, options.episodes[0], [FIRST_SEED])
        best = sorted(range(1, len(draws)), key=lambda n: short_gaps[n][0])[: options.kept]
        kept = [draws[0], *(draws[n] for n in best)]
        print("\nThe best of these and the current settings, for longer:")
        long_gaps = gaps(
            pool, options, kept, options.episodes[1], range(FIRST_SEED + 1, FIRST_SEED + 1 + options.seeds)
        )
    print("\nMean gap, largest gap, settings:")
    for draw, values in sorted(zip(kept, long_gaps, strict=True), key=lambda one: statistics.fmean(one[1])):
        print(f"{statistics.fmean(values):8.2%}  {max(values):8.2%}  {draw or 'current settings'}")


if __name__ == "__main__":
    main()
