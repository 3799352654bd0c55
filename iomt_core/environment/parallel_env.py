"""The ward as a PettingZoo environment: any library that speaks its parallel API can train on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.observation import limited_state, size
from iomt_core.model.snapshot import Action
from iomt_core.scenario import PRESETS, Scenario

LARGEST_OBSERVATION = 1e6  # numbers are scaled to about [0, 1]; nothing promises that a CSV of one's own keeps to it


class WardEnv(ParallelEnv):
    """One world of a scenario; agents are `user_1` … `user_U`.

    An action is a dict of `choice` (J,) in 0 … K, and of the requested shares `cpu` and `bandwidth` (J,) in [0, 1]. An
    observation is eq. (14), scaled; a reward the priority-weighted sum of a user's task rewards; `infos` holds each
    task's delay_s, energy_j, cost and missed. All agents leave together: terminated when somebody's battery is empty,
    truncated after T steps. `state()` is the limited global state ŝ.
    """

    metadata = {"name": "iomt_ward_v0", "render_modes": []}  # noqa: RUF012 - PettingZoo reads a dict

    def __init__(self, s: Scenario = PRESETS["paper"]) -> None:
        self.scenario = s
        self.render_mode = None
        self.possible_agents = [f"user_{i}" for i in range(1, s.users + 1)]
        self.agents: list[str] = []
        share = spaces.Box(0.0, 1.0, (s.tasks,), np.float32)
        # Every agent has spaces of its own: a sampler seeded for one must not move another's.
        self.action_spaces = {
            agent: spaces.Dict(
                {
                    "choice": spaces.MultiDiscrete([s.servers + 1] * s.tasks),
                    "cpu": spaces.Box(0.0, 1.0, share.shape, np.float32),
                    "bandwidth": spaces.Box(0.0, 1.0, share.shape, np.float32),
                }
            )
            for agent in self.possible_agents
        }
        self.observation_spaces = {
            agent: spaces.Box(0.0, LARGEST_OBSERVATION, (size(s),), np.float32) for agent in self.possible_agents
        }
        self._seed = 0
        self._episode = 0
        self._environment: Environment | None = None

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's observation space; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's action space; always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new episode: the first of `seed` if one is given, else the next of the present seed."""
        if seed is None:
            self._episode += 1
        else:
            self._seed, self._episode = int(seed), 0
        self._environment = Environment(self.scenario, world_seeds(self._seed, self._episode, 1))
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, dict[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One step. Raises `ValueError` naming agent, field, value and allowed range of an action that cannot be."""
        if self._environment is None or not self.agents:
            raise ValueError("the episode is over: call reset() first")
        fields = {"choice": torch.int64, "cpu": torch.float32, "bandwidth": torch.float32}
        joint = {
            field: torch.stack([self._checked(actions, agent, field, dtype) for agent in self.agents])[None]
            for field, dtype in fields.items()
        }
        done = self._environment.step(Action(**joint))
        out, agents = done.outcome, self.agents
        rewards = {agent: float(done.agent_reward[0, i]) for i, agent in enumerate(agents)}
        terminated = dict.fromkeys(agents, bool(done.terminated[0]))
        truncated = dict.fromkeys(agents, bool(done.truncated[0]))
        infos = {
            agent: {
                "delay_s": out.delay[0, i].numpy(),
                "energy_j": out.energy[0, i].numpy(),
                "cost": out.cost[0, i].numpy(),
                "missed": out.missed[0, i].numpy(),
            }
            for i, agent in enumerate(agents)
        }
        observations = self._observations()
        if terminated[agents[0]] or truncated[agents[0]]:
            self.agents = []
        return observations, rewards, terminated, truncated, infos

    def state(self) -> np.ndarray[Any, Any]:
        """ŝ, the limited global state."""
        if self._environment is None:
            raise ValueError("there is no state before reset()")
        return np.asarray(limited_state(self._environment.snapshot, self.scenario)[0].numpy())

    def render(self) -> None:
        """Nothing to draw here: the dashboard does that."""

    def close(self) -> None:
        """Nothing to close."""

    def _observations(self) -> dict[str, Any]:
        assert self._environment is not None
        seen = self._environment.observation[0]
        return {agent: seen[i].numpy().copy() for i, agent in enumerate(self.agents)}

    def _checked(self, actions: dict[str, dict[str, Any]], agent: str, field: str, dtype: torch.dtype) -> torch.Tensor:
        if agent not in actions:
            raise ValueError(f"actions: {agent} is missing; every agent of {', '.join(self.agents)} acts in every step")
        if field not in actions[agent]:
            raise ValueError(f"actions[{agent!r}]: {field} is missing; needed are choice, cpu and bandwidth")
        value = np.asarray(actions[agent][field])
        count, most = self.scenario.tasks, self.scenario.servers if field == "choice" else 1
        if value.shape != (count,):
            raise ValueError(f"actions[{agent!r}][{field!r}] has shape {value.shape}: allowed is ({count},)")
        if not bool(np.all((value >= 0) & (value <= most))):
            bad = value[~((value >= 0) & (value <= most))][0]
            raise ValueError(f"actions[{agent!r}][{field!r}] holds {bad}: allowed is 0 to {most}")
        return torch.as_tensor(value.astype(np.float64)).to(dtype)
