"""PettingZoo's own tests, and that its numbers are the environment's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test, parallel_seed_test

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.parallel_env import WardEnv
from iomt_core.model.snapshot import Action
from iomt_core.scenario import PRESETS

LECTURE = PRESETS["lecture"]


@pytest.mark.parametrize("name", ["paper", "lecture", "hospital", "drained"])
def test_pettingzoo_accepts_the_ward(name: str) -> None:
    parallel_api_test(WardEnv(PRESETS[name]), num_cycles=60)


def test_pettingzoo_finds_it_repeatable() -> None:
    parallel_seed_test(lambda: WardEnv(LECTURE))


def play(seed: int) -> tuple[list[np.ndarray], list[float]]:
    env = WardEnv(LECTURE)
    observations, _ = env.reset(seed=seed)
    for agent in env.agents:
        env.action_space(agent).seed(7)
    seen, rewards = [np.concatenate(list(observations.values()))], []
    while env.agents:
        observations, reward, *_ = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        seen.append(np.concatenate(list(observations.values())))
        rewards.append(sum(reward.values()))
    return seen, rewards


def test_whole_episodes_repeat_bit_by_bit_and_differ_by_seed() -> None:
    first, second, other = play(3), play(3), play(4)
    assert len(first[0]) == LECTURE.T + 1
    for a, b in zip(first[0], second[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[1] == second[1]
    assert not np.array_equal(first[0][0], other[0][0])


def test_its_numbers_are_the_environments() -> None:
    env, plain = WardEnv(LECTURE), Environment(LECTURE, world_seeds(5, 0, 1))
    env.reset(seed=5)
    while env.agents:
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        joint = [
            torch.stack([torch.as_tensor(actions[a][f]) for a in env.agents])[None]
            for f in ("choice", "cpu", "bandwidth")
        ]
        done = plain.step(Action(*joint))
        agents = list(env.agents)
        _, rewards, terminated, truncated, infos = env.step(actions)
        for i, agent in enumerate(agents):
            assert rewards[agent] == float(done.agent_reward[0, i])
            np.testing.assert_array_equal(infos[agent]["delay_s"], done.outcome.delay[0, i].numpy())
            assert terminated[agent] == bool(done.terminated[0])
            assert truncated[agent] == bool(done.truncated[0])


def test_an_empty_battery_terminates_everyone_together() -> None:
    env = WardEnv(PRESETS["drained"])
    env.reset(seed=1)
    while env.agents:
        agents = list(env.agents)
        _, _, terminated, truncated, _ = env.step({a: env.action_space(a).sample() for a in agents})
    assert all(terminated[a] for a in agents)
    assert not any(truncated[a] for a in agents)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop("user_2"), "user_2 is missing"),
        (lambda a: a["user_1"].pop("cpu"), "cpu is missing"),
        (lambda a: a["user_1"].update(cpu=np.full(4, 1.5)), r"\['cpu'\] holds 1.5: allowed is 0 to 1"),
        (lambda a: a["user_1"].update(cpu=np.full(4, np.nan)), r"holds nan: allowed is 0 to 1"),
        (lambda a: a["user_3"].update(choice=np.array([0, 1, 2, 3])), r"\['choice'\] holds 3: allowed is 0 to 2"),
        (lambda a: a["user_3"].update(choice=np.array([0, 1])), r"has shape \(2,\): allowed is \(4,\)"),
    ],
)
def test_an_action_that_cannot_be_is_named(change, words: str) -> None:  # type: ignore[no-untyped-def]
    env = WardEnv(LECTURE)
    env.reset(seed=0)
    actions = {agent: dict(env.action_space(agent).sample()) for agent in env.agents}
    change(actions)
    with pytest.raises(ValueError, match=words):
        env.step(actions)
