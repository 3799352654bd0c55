"""PettingZoo's own tests, and that its numbers are the environment's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test, parallel_seed_test

from iomt_core.adapters.agents import AgentOptions
from iomt_core.adapters.pettingzoo_env import WardEnv
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.snapshot import Action
from iomt_core.scenario import PRESETS

LECTURE = PRESETS["lecture"]


# Every value of every option at least once, and every pair of action and agents.
OPTIONS = [
    AgentOptions(),
    AgentOptions(action="dict", agents="task", reward="team", agent_id=True),
    AgentOptions(action="dict", shares="equal", certificate=True),
    AgentOptions(action="box", agent_id=True, certificate=True),
    AgentOptions(action="box", shares="optimal", agents="task"),
    AgentOptions(action="choice", reward="team", certificate=True),
    AgentOptions(action="choice", shares="equal", agents="task", agent_id=True),
    AgentOptions(action="choice", shares="optimal", agent_id=True),
]


@pytest.mark.parametrize("name", ["paper", "hospital", "drained"])
def test_pettingzoo_accepts_the_ward(name: str) -> None:
    parallel_api_test(WardEnv(PRESETS[name]), num_cycles=30)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pettingzoo_accepts_every_option(options: AgentOptions) -> None:
    env = WardEnv(LECTURE.changed(T=5), options)
    parallel_api_test(env, num_cycles=12)
    env.reset(seed=0)
    assert env.state_space.contains(env.state())


def test_pettingzoo_finds_it_repeatable() -> None:
    parallel_seed_test(lambda: WardEnv(LECTURE))


def play(seed: int, options: AgentOptions) -> list[np.ndarray]:
    """Everything that a whole episode of sampled actions gives out."""
    env = WardEnv(LECTURE.changed(T=6), options)
    observations, _ = env.reset(seed=seed)
    for agent in env.agents:
        env.action_space(agent).seed(7)
    out = [np.concatenate(list(observations.values()))]
    while env.agents:
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        observations, reward, terminated, truncated, infos = env.step(actions)
        out += [np.concatenate(list(observations.values())), env.state()]
        out += [np.array([*x.values()]) for x in (reward, terminated, truncated)]
        out += [np.asarray(x) for info in infos.values() for x in info.values()]
    return out


@pytest.mark.parametrize("options", OPTIONS[2:6], ids=str)
def test_whole_episodes_repeat_bit_by_bit_and_differ_by_seed(options: AgentOptions) -> None:
    first, second, other = play(3, options), play(3, options), play(4, options)
    assert len(first) == len(second) > 6
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


def test_resets_without_a_seed_differ() -> None:
    one, other = WardEnv(LECTURE), WardEnv(LECTURE)
    first, second, third = (env.reset()[0]["user_1"] for env in (one, one, other))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_the_observation_after_truncation_is_a_new_draw() -> None:
    env = WardEnv(LECTURE.changed(T=2))
    env.reset(seed=0)
    seen = [env.step({a: env.action_space(a).sample() for a in env.agents})[0]["user_1"] for _ in range(2)]
    assert not env.agents
    assert not np.array_equal(seen[0][: LECTURE.tasks], seen[1][: LECTURE.tasks])


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
        (lambda a: a["user_1"].update(cpu=np.full(4, 1.5)), "user_1: cpu holds 1.5: allowed is a number from 0 to 1"),
        (lambda a: a["user_1"].update(cpu=np.full(4, np.nan)), r"holds nan: allowed is a number from 0 to 1"),
        (
            lambda a: a["user_3"].update(choice=np.array([0, 1, 2, 3])),
            "user_3: choice holds 3: allowed is a whole number from 0 to 2",
        ),
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
