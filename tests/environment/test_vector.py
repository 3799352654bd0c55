"""Worlds that are stepped together and reset independently are the worlds of `Environment`."""

from __future__ import annotations

import copy

import pytest
import torch

from iomt_core.environment.counter import episode_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.vector import VectorEnvironment
from iomt_core.model.snapshot import Action
from iomt_core.scenario import PRESETS, Scenario, WorkloadTask
from tests.wards import random_action

DYNAMIC = PRESETS["hospital"].changed(background=0.4, speed=3.0, burst=0.7, T=5, Cap=8e-3)
OWN_TASKS = PRESETS["lecture"].changed(
    T=4, workload=tuple(WorkloadTask(step=t, user=u, D=1e5 * t, C=1e5, P=2) for t in range(1, 5) for u in (1, 3))
)


@pytest.mark.parametrize("s", [PRESETS["drained"].changed(T=6), DYNAMIC, OWN_TASKS], ids=["drained", "dynamic", "own"])
def test_every_episode_is_the_one_that_environment_plays(s: Scenario) -> None:
    num_envs = 3
    vector = VectorEnvironment(s, num_envs)
    vector.reset(seed=11)
    ended = torch.zeros(num_envs, dtype=torch.int64)
    plain = [Environment(s, episode_seeds(11, torch.tensor([i]))) for i in range(num_envs)]
    for step in range(4 * s.T):
        action = random_action(vector.snapshot, step)
        seen = vector.observation
        done = vector.step(action)
        for i, world in enumerate(plain):
            torch.testing.assert_close(seen[i], world.observation[0])
            one = world.step(Action(action.choice[i : i + 1], action.cpu[i : i + 1], action.bandwidth[i : i + 1]))
            torch.testing.assert_close(done.agent_reward[i], one.agent_reward[0])
            assert bool(done.terminated[i]) == bool(one.terminated)
            assert bool(done.truncated[i]) == bool(one.truncated)
        over = vector.over
        if bool(over.any()):
            ended += over
            vector.reset(where=over)
            for i in over.nonzero()[:, 0].tolist():
                index = torch.tensor([int(ended[i]) * num_envs + i])
                plain[i] = Environment(s, episode_seeds(11, index))
    assert int(ended.min()) >= 3


def test_a_world_that_is_over_earns_nothing_and_stays_over() -> None:
    vector = VectorEnvironment(PRESETS["lecture"].changed(T=2), 2)
    for step in range(2):
        vector.step(random_action(vector.snapshot, step))
    assert vector.over.tolist() == [True, True]
    done = vector.step(random_action(vector.snapshot, 2))
    assert float(done.reward.abs().sum()) == 0
    assert not bool(done.truncated.any())
    assert vector.over.tolist() == [True, True]


def test_what_follows_the_last_step_is_drawn_anew() -> None:
    vector = VectorEnvironment(PRESETS["lecture"].changed(T=2), 2)
    vector.step(random_action(vector.snapshot, 0))
    last = vector.snapshot
    vector.step(random_action(last, 1))
    assert not torch.equal(vector.snapshot.D, last.D)
    assert bool((vector.snapshot.battery < last.battery).all())


def test_resets_without_a_seed_differ_and_with_one_repeat() -> None:
    one = VectorEnvironment(PRESETS["lecture"], 2)
    other = copy.deepcopy(one)
    first = one.reset().D
    assert not torch.equal(other.reset().D, first)
    assert not torch.equal(one.reset().D, first)
    assert torch.equal(one.reset(seed=4).D, other.reset(seed=4).D)
    assert torch.equal(one.reset().D, other.reset().D)
