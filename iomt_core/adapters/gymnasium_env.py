"""A Gymnasium `VectorEnv` that steps many worlds at once; in each world one joint agent decides for all tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from iomt_core.adapters.agents import CHOICES, LARGEST_OBSERVATION, AgentOptions, WardAgents, missing_library
from iomt_core.scenario import PRESETS, Scenario

try:
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise missing_library("gymnasium", "environments") from error


def observation_space(length: int) -> spaces.Box:
    """Space of an observation or a state of the given length."""
    return spaces.Box(0.0, LARGEST_OBSERVATION, (length,), np.float32)


def action_space(agents: WardAgents, tasks: int) -> spaces.Space[Any]:
    """Space of an action for the given number of tasks, in the form set by the agents' options."""
    options, devices = agents.options, agents.scenario.servers + 1
    if options.action == "box":
        return spaces.Box(-1.0, 1.0, (tasks * agents.numbers_per_task,), np.float32)
    if options.action == "choice" and options.agents == "task" and tasks == 1:
        return spaces.Discrete(devices)
    choice = spaces.MultiDiscrete([devices] * tasks)
    if options.action == "choice":
        return choice
    shares = {name: spaces.Box(0.0, 1.0, (tasks,), np.float32) for name in agents.fields[1:]}
    return spaces.Dict({"choice": choice, **shares})


class WardVectorEnv(VectorEnv):
    """`num_envs` worlds as sub-environments of Gymnasium.

    A sub-environment's observation is its agents' observations one after the other; its action holds all U · J tasks,
    user by user; its reward is the team's. Autoreset mode is SAME_STEP: where an episode ends, `step` returns the next
    episode's first observation, and `infos["final_obs"]` holds the last one of the old episode, with the mask
    `infos["_final_obs"]`. `infos` holds delay_s, energy_j, cost, missed and weight (num_envs, U, J), and step_cost.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012 - Gymnasium reads a dict

    def __init__(self, s: Scenario = PRESETS["paper"], num_envs: int = 32, options: AgentOptions = CHOICES) -> None:
        self.ward = WardAgents(s, num_envs, options)
        self.num_envs = num_envs
        count = len(self.ward.names)
        self.single_observation_space = observation_space(count * self.ward.observation_size)
        self.single_action_space = action_space(self.ward, count * self.ward.tasks_per_agent)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """Starts a new episode in every world; one `seed` makes all of them reproducible."""
        self.ward.environment.reset(seed)
        return self._observations(), {}

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], dict[str, Any]]:
        """One step of every world; worlds that end are reset at once."""
        ward = self.ward
        if isinstance(actions, dict):
            done = ward.step({name: self._by_agent(value) for name, value in actions.items()})
        else:
            done = ward.step(self._by_agent(actions))
        infos: dict[str, Any] = {name: x.numpy() for name, x in done.task_info.items()}
        infos |= {name: x.numpy() for name, x in done.step_info.items()}
        observations, over = self._observations(), ward.environment.over
        if bool(over.any()):
            infos |= {"final_obs": observations, "_final_obs": over.numpy()}
            ward.environment.reset(where=over)
            observations = self._observations()
        reward = done.team_reward.double().numpy()
        return observations, reward, done.terminated.numpy(), done.truncated.numpy(), infos

    def _by_agent(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values)).reshape(self.num_envs, len(self.ward.names), -1)

    def _observations(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.ward.observations().flatten(1).numpy())
