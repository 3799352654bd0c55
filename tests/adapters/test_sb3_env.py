"""Stable-Baselines3 over many worlds, and through SuperSuit over PettingZoo. That PPO learns is shown by docs/extending.md."""

from __future__ import annotations

import numpy as np
import supersuit
from stable_baselines3 import PPO

from iomt_core.adapters.agents import AgentOptions
from iomt_core.adapters.pettingzoo_env import WardEnv
from iomt_core.adapters.sb3_env import WardVecEnv
from iomt_core.scenario import PRESETS

CHOICES = AgentOptions(action="choice", shares="equal", agent_id=True)


def test_the_end_of_an_episode_comes_as_stable_baselines_expects() -> None:
    s = PRESETS["lecture"].changed(T=2)
    env = WardVecEnv(s, 2, CHOICES)
    env.seed(0)
    env.reset()
    for step in range(2):
        actions = np.stack([env.action_space.sample() for _ in range(env.num_envs)])
        seen, _, done, infos = env.step(actions)
        assert done.all() == (step == 1)
    battery = 3 * s.tasks + 1
    for i, info in enumerate(infos):
        assert info["TimeLimit.truncated"]
        assert info["terminal_observation"][battery] < seen[i, battery] == 1


def test_ppo_runs_through_supersuit() -> None:
    env = supersuit.pettingzoo_env_to_vec_env_v1(WardEnv(PRESETS["lecture"].changed(Cap=1.0), CHOICES))
    env = supersuit.concat_vec_envs_v1(env, 2, base_class="stable_baselines3")
    model = PPO("MlpPolicy", env, n_steps=10, batch_size=60, device="cpu").learn(120)
    assert model.num_timesteps == 120
