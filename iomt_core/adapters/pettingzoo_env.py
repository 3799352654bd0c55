"""One world as a PettingZoo parallel environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from iomt_core.adapters.agents import ALL_BY_NAME, AgentOptions, WardAgents, missing_library
from iomt_core.scenario import PRESETS, Scenario, ScenarioError

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise missing_library("pettingzoo", "environments") from error
from iomt_core.adapters.gymnasium_env import action_space, observation_space


class WardEnv(ParallelEnv):
    """One world of a scenario; agents are `user_1` … `user_U`, or `user_1_task_1` … `user_U_task_J`.

    `options` defines the agents and their observations, actions and rewards. All agents end together: terminated when a
    battery is empty, truncated after T steps. The observation after truncation is that of the step that would have followed.
    `infos` holds delay_s, energy_j, cost, missed and weight of the agent's tasks, step_cost of all tasks, and step_bound
    with a certificate.
    """

    metadata = {"name": "iomt_ward_v1", "render_modes": []}  # noqa: RUF012 - PettingZoo reads a dict

    def __init__(self, s: Scenario = PRESETS["paper"], options: AgentOptions = ALL_BY_NAME) -> None:
        self.ward = WardAgents(s, 1, options)
        self.render_mode = None
        self.possible_agents = list(self.ward.names)
        self.agents: list[str] = []
        # Every agent has spaces of its own: seeding one agent's sampler must not move another's.
        self.action_spaces = {a: action_space(self.ward, self.ward.tasks_per_agent) for a in self.possible_agents}
        self.observation_spaces = {a: observation_space(self.ward.observation_size) for a in self.possible_agents}
        self.state_space = observation_space(self.ward.state_size)

    def observation_space(self, agent: str) -> Any:
        """The agent's observation space; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The agent's action space; always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts a new episode: the first of `seed` if one is given, else the next of the present run."""
        self.ward.environment.reset(seed)
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """One step. Raises `ScenarioError` naming agent, field, value and allowed range of an action that is not allowed."""
        if not self.agents:
            raise ScenarioError("the episode is over: call reset() first")
        done = self.ward.step(self._joint(actions))
        agents = self.agents
        rewards = dict(zip(agents, done.reward[0].tolist(), strict=True))
        terminated = dict.fromkeys(agents, bool(done.terminated[0]))
        truncated = dict.fromkeys(agents, bool(done.truncated[0]))
        team = {name: float(x[0]) for name, x in done.step_info.items()}
        tasks = {name: x[0].numpy() for name, x in done.task_info.items()}
        infos = {agent: {**{name: x[i] for name, x in tasks.items()}, **team} for i, agent in enumerate(agents)}
        observations = self._observations()
        if bool(self.ward.environment.over[0]):
            self.agents = []
        return observations, rewards, terminated, truncated, infos

    def state(self) -> np.ndarray[Any, Any]:
        """ŝ, the limited global state."""
        return np.asarray(self.ward.state()[0].numpy())

    def render(self) -> None:
        """Does nothing; use the dashboard to show a ward."""

    def close(self) -> None:
        """Does nothing; there is nothing to close."""

    def _observations(self) -> dict[str, Any]:
        seen = self.ward.observations()[0].numpy()
        return {agent: seen[i].copy() for i, agent in enumerate(self.agents)}

    def _joint(self, actions: Mapping[str, Any]) -> torch.Tensor | dict[str, torch.Tensor]:
        """The agents' actions, checked for shape, as tensors of a batch of one world."""
        if self.ward.options.action != "dict":
            length = self.ward.tasks_per_agent * (
                self.ward.numbers_per_task if self.ward.options.action == "box" else 1
            )
            return self._stacked({a: self._of(actions, a) for a in self.agents}, "action", length)
        joint = {}
        for field in self.ward.fields:
            values = {}
            for agent in self.agents:
                if field not in self._of(actions, agent):
                    needed = ", ".join(self.ward.fields)
                    raise ScenarioError(f"actions[{agent!r}]: {field} is missing; needed are {needed}")
                values[agent] = actions[agent][field]
            joint[field] = self._stacked(values, field, self.ward.tasks_per_agent)
        return joint

    def _of(self, actions: Mapping[str, Any], agent: str) -> Any:
        if agent not in actions:
            raise ScenarioError(f"actions: {agent} is missing; every agent acts in every step")
        return actions[agent]

    def _stacked(self, values: Mapping[str, Any], field: str, length: int) -> torch.Tensor:
        rows = []
        for agent, value in values.items():
            row = np.atleast_1d(np.asarray(value))
            if row.shape != (length,):
                raise ScenarioError(f"{agent}: {field} has shape {row.shape}: allowed is ({length},)")
            rows.append(row)
        return torch.as_tensor(np.stack(rows))[None]
