"""Every algorithm learns a tiny ward (2 users x 2 tasks x 1 server) to within 5 % of brute force over all choices."""

from __future__ import annotations

import itertools

import pytest
import torch

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.model.outcome import outcome
from iomt_core.policies.shares import optimal_shares
from iomt_core.rollout import EpisodeSet, draw_episodes, play_episodes
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy

WARD = PRESETS["lecture"].changed(users=2, tasks=2, servers=1, T=5)
WITHIN = 0.05
EVERY = 2  # batches of episodes between two evaluations
# Target networks follow ten times as fast as by default: a ward as small as this is learned in a third of the updates.
SHORT = {
    "episodes": 2560, "num_envs": 32, "updates": 12, "batch": 8, "replay": 256, "recurrent": False, "tau": 0.05
}  # fmt: skip
# Episodes are cheap compared with updates here: four times as many in parallel, and a buffer that holds all of them.
MORE = {"episodes": 10240, "num_envs": 128, "replay": 10240, "updates": 20, "batch": 16}
DDPG = {
    **MORE,
    "learning_rate": 4e-3,
    "actor_learning_rate": 1e-3,
    "parameter_tying": 1.0,
    "decay_from": 0.4,
    "epsilon": 0.1,
    "share_noise": (0.7, 0.3),
    "action_smoothing": 1.0,
    "saturation_penalty": 0.002,
}
# What some algorithms need in addition to `SHORT`. As printed, (19) is the agent's own reward, and each MT-PDQN network values
# its own task only: what a task costs the others is in the team's losses alone, so these get weight, and with them the penalty,
# without which requests run to their limits. DDPG's value of a device's number is a step function: noise gives it a slope.
CHANGES = {
    "sae-mt-qmix-paper": {**MORE, "epsilon": 0.1, "team_weight": 25.0, "request_penalty": 30.0},
    "mt-pdqn": {**MORE, "updates": 16, "epsilon": 0.1, "team_weight": 10.0, "request_penalty": 10.0},
    "pa-ddpg": DDPG,
    "ma-pa-ddpg": {**DDPG, "batch": 32, "critic_target": "observed"},
}


@pytest.fixture(scope="module")
def drawn() -> EpisodeSet:
    return draw_episodes(WARD, 2_000_003, 0, 20)


@pytest.fixture(scope="module")
def best(drawn: EpisodeSet) -> float:
    """The cost of the best of all 16 choices in every step, each with its optimal shares."""
    snapshot = drawn.snapshot
    totals = []
    for choice in itertools.product((0, 1), repeat=4):
        tried = torch.tensor(choice).view(1, 2, 2).expand(len(snapshot.D), 2, 2)
        result = outcome(snapshot, optimal_shares(snapshot, tried, WARD), WARD)
        totals.append((result.cost * snapshot.weight).sum((1, 2)))
    return float(torch.stack(totals).amin(0).sum() / snapshot.weight.sum())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_tiny_ward_is_learned(algorithm: str, drawn: EpisodeSet, best: float) -> None:
    spec = RunSpec(algorithm, WARD, default_settings(algorithm, **{**SHORT, **CHANGES.get(algorithm, {})}), seed=0)
    trainer = spec.trainer()

    def excess() -> float:
        """Cost beyond the best, as a share of it."""
        record = play_episodes(TrainedPolicy.from_trainer(trainer, spec), drawn)
        return float(record.totals.sum() / record.snapshot.weight.sum()) / best - 1

    reached, batches = [excess()], itertools.count(1)
    assert reached[0] > 4 * WITHIN  # nothing is known at first
    while reached[-1] > WITHIN and not trainer.done:  # most get there before the schedule ends
        trainer.advance()
        if next(batches) % EVERY == 0 or trainer.done:
            reached.append(excess())
    assert -1e-9 <= reached[-1] <= WITHIN, reached
