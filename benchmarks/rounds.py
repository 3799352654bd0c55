"""What an agent's tasks gain by deciding more often: `python -m benchmarks.rounds sae-mt-qmix qmix mpmt-dqn`.

Shipped policies, or runs' checkpoints, decide with other numbers of rounds than they were trained with, on the episodes that
hyper-parameters are settled on and no result is reported on. Beside the gap: which part of the tasks is kept or sent away as
the optimum does, and what the choices would cost with the best shares.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.experiments.training_check import TUNING, Evaluator
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.optimum import Optimum
from iomt_core.policies.shares import optimal_shares
from iomt_core.rollout import play_episodes
from iomt_core.runs.process import prepare
from iomt_core.scenario import Scenario
from iomt_core.training.catalogue import PRETRAINED
from iomt_core.training.trained_policy import TrainedPolicy

ROUNDS = (1, 2, 3, 4, 6, 8)
EPISODES = 8


def cost(snapshot: Snapshot, action: Action, s: Scenario) -> float:
    return float((outcome(snapshot, action, s).cost * snapshot.weight).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="+", help="names of shipped policies, or directories of checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    prepare(told.threads)
    print("| policy | rounds | gap, % | with the best shares, % | kept as by the optimum, % | kept, % |")
    print("|---|---|---|---|---|---|")
    for name in told.policies:
        place = Path(name) if Path(name).exists() else PRETRAINED / f"paper-{name}"
        evaluator: Evaluator | None = None
        for rounds in ROUNDS:
            policy = TrainedPolicy.load(place)
            if not isinstance(policy.agents, ParameterisedQ) or not policy.agents.rounds:
                raise SystemExit(f"{name}: its tasks do not decide in turn")
            policy.agents.rounds = rounds
            s = policy.scenario
            evaluator = evaluator or Evaluator(s, EPISODES, TUNING)
            record = play_episodes(policy, evaluator.episodes)
            snapshot, choice = record.snapshot, record.action.choice
            bound = float(solve_dual(snapshot, s).bound.sum())
            best = cost(snapshot, optimal_shares(snapshot, choice, s), s) / bound - 1
            kept, kept_best = choice == 0, Optimum(s).decide(snapshot).choice == 0
            print(
                f"| {name} | {rounds} | {100 * evaluator.figures(record)['gap']:.2f} | {100 * best:.2f} "
                f"| {100 * torch.eq(kept, kept_best).double().mean():.1f} | {100 * kept.double().mean():.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
