"""Stable-Baselines3 learns on the ward: over many worlds, and through SuperSuit over PettingZoo."""

from __future__ import annotations

import numpy as np
import supersuit
from stable_baselines3 import PPO

from iomt_core.adapters.agents import AgentOptions
from iomt_core.adapters.pettingzoo_env import WardEnv
from iomt_core.adapters.sb3_env import WardVecEnv
from iomt_core.scenario import PRESETS

CHOICES = AgentOptions(action="choice", shares="equal", agent_id=True)


def mean_reward(model: PPO, env: WardVecEnv) -> float:
    env.seed(9)
    seen, total = env.reset(), 0.0
    steps = env.ward.scenario.T
    for _ in range(steps):
        seen, reward, *_ = env.step(model.predict(seen)[0])
        total += float(reward.mean())
    return total / steps


def test_ppo_learns_on_many_worlds() -> None:
    s = PRESETS["paper"].changed(T=10, Cap=1.0)
    env, held_out = (WardVecEnv(s, 16, CHOICES) for _ in range(2))
    env.seed(1)
    model = PPO("MlpPolicy", env, 3e-3, 10, 320, 4, gamma=0.5, seed=0, device="cpu")
    before = mean_reward(model, held_out)
    model.learn(12_800)
    assert mean_reward(model, held_out) > before + 0.2  # a tenth of it is what chance does


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
