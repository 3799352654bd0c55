"""How often a raise of an agent's value lowers the team's: `python -m benchmarks.monotonicity`.

(25) asks ∂Q_tot/∂Q_i ≥ 0 of a mixer. Attention (22) on observations and values, as printed, can break it; attention on
observations alone cannot. Slopes by autograd in every step of held-out episodes that the agents play themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from iomt_core.experiments.training_check import HELD_OUT
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.training.catalogue import PRETRAINED
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin.inspection import inspect_step, memories

TOLERANCE = 1e-6  # slopes by rounding below zero are no violation


def slopes(policy: TrainedPolicy, episodes: int) -> torch.Tensor:
    """∂Q_tot/∂Q_i of all agents in all steps, (steps, U)."""
    found = []
    for number in range(episodes):
        record = play_episodes(policy, draw_episodes(policy.scenario, HELD_OUT, number, 1))
        remembered = memories(policy, record)
        for row in range(len(record)):
            seen = inspect_step(policy, record, row, remembered[row])
            if seen is not None and seen.mixing is not None:
                found.append(seen.mixing.slopes)
    return torch.stack(found)


def untrained(spec: RunSpec) -> TrainedPolicy:
    """The same algorithm before its first update."""
    return TrainedPolicy.from_trainer(spec.trainer(), spec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--pretrained", type=Path, default=PRETRAINED)
    told = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'mixer':32s} {'slopes':>7s} {'below zero':>11s} {'steps with one':>15s} {'least':>9s} {'mean':>7s}")
    for name in ("paper-sae-mt-qmix-paper", "paper-sae-mt-qmix"):
        trained = TrainedPolicy.load(told.pretrained / name)
        for what, policy in (("trained", trained), ("untrained", untrained(trained.spec))):
            found = slopes(policy, told.episodes)
            broken = found < -TOLERANCE
            print(
                f"{name.removeprefix('paper-') + ', ' + what:32s} {found.numel():7d} {float(broken.double().mean()):11.2%} "
                f"{float(broken.any(1).double().mean()):15.2%} {float(found.min()):9.4f} {float(found.mean()):7.4f}"
            )


if __name__ == "__main__":
    main()
