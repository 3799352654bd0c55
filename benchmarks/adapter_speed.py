"""Steps of a world a second through each library's environment, one world and many at once: `python -m benchmarks.adapter_speed`.

A step is the library's whole call: action in, observations, rewards and infos out, resets included; actions are drawn
beforehand. Figures are the best of several rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from tensordict import TensorDict

from iomt_core.adapters.agents import AgentOptions
from iomt_core.adapters.gymnasium_env import WardVectorEnv
from iomt_core.adapters.pettingzoo_env import WardEnv
from iomt_core.adapters.sb3_env import WardVecEnv
from iomt_core.adapters.torchrl_env import WardTorchRLEnv
from iomt_core.scenario import PRESETS, Scenario

OPTIONS = AgentOptions(action="choice", shares="equal")
BATCHES = (1, 32, 256)
ROUNDS, ROUND_SECONDS = 4, 0.5


def pettingzoo_step(s: Scenario, num_envs: int) -> Callable[[], object]:
    env = WardEnv(s, OPTIONS)
    env.reset(seed=0)
    actions = {agent: env.action_space(agent).sample() for agent in env.possible_agents}

    def step() -> None:
        env.step(actions)
        if not env.agents:
            env.reset()

    return step


def gymnasium_step(s: Scenario, num_envs: int) -> Callable[[], object]:
    env = WardVectorEnv(s, num_envs, OPTIONS)
    env.reset(seed=0)
    actions = env.action_space.sample()
    return lambda: env.step(actions)


def torchrl_step(s: Scenario, num_envs: int) -> Callable[[], object]:
    env = WardTorchRLEnv(s, num_envs, OPTIONS, seed=0)
    state: list[TensorDict] = [env.reset()]
    action = env.action_spec.rand()

    def step() -> None:
        state[0] = env.step_and_maybe_reset(state[0].update(action))[1]

    return step


def sb3_step(s: Scenario, num_envs: int) -> Callable[[], object]:
    env = WardVecEnv(s, num_envs, OPTIONS)
    env.reset()
    actions = torch.randint(0, s.servers + 1, (env.num_envs, s.tasks)).numpy()
    return lambda: env.step(actions)


LIBRARIES = {
    "PettingZoo": (pettingzoo_step, (1,)),
    "Gymnasium": (gymnasium_step, BATCHES),
    "TorchRL": (torchrl_step, BATCHES),
    "Stable-Baselines3": (sb3_step, BATCHES),
}


def rate(step: Callable[[], object]) -> float:
    """Calls a second."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < ROUND_SECONDS:
        step()
        count += 1
    return count / (time.perf_counter() - start)


def main() -> None:
    s = PRESETS["paper"]
    print(
        f"{s.users} users x {s.tasks} tasks x {s.servers} servers; {torch.get_num_threads()} threads; steps of a world/s"
    )
    print(f"{'worlds a step':>18s}" + "".join(f"{batch:10d}" for batch in BATCHES))
    steps = {(name, b): make(s, b) for name, (make, batches) in LIBRARIES.items() for b in batches}
    fastest = dict.fromkeys(steps, 0.0)
    for _ in range(ROUNDS):
        for key, step in steps.items():
            fastest[key] = max(fastest[key], rate(step) * key[1])
    for name, (_, batches) in LIBRARIES.items():
        print(f"{name:>18s}" + "".join(f"{fastest[name, batch]:10,.0f}" for batch in batches))


if __name__ == "__main__":
    main()
