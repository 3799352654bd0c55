"""A Stable-Baselines3 `VecEnv` that steps many worlds at once; each agent of each world is one of its environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from iomt_core.adapters.agents import CHOICES, AgentOptions, WardAgents, missing_library
from iomt_core.scenario import PRESETS, Scenario, ScenarioError

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise missing_library("stable-baselines3", "sb3") from error
from iomt_core.adapters.gymnasium_env import action_space, observation_space


class WardVecEnv(VecEnv):
    """`num_worlds` worlds of N agents as num_worlds · N environments, agent after agent of world after world.

    Worlds that end are reset at once, as Stable-Baselines3 expects; the last observation of the old episode is in
    `infos[i]["terminal_observation"]`, and `infos[i]["TimeLimit.truncated"]` tells truncation from termination.
    """

    def __init__(self, s: Scenario = PRESETS["paper"], num_worlds: int = 8, options: AgentOptions = CHOICES) -> None:
        if options.action == "dict":
            raise ScenarioError("action is 'dict': allowed is 'box', 'choice' in Stable-Baselines3")
        ward = self.ward = WardAgents(s, num_worlds, options)
        self.render_mode = None
        super().__init__(
            num_worlds * len(ward.names),
            observation_space(ward.observation_size),
            action_space(ward, ward.tasks_per_agent),
        )

    def reset(self) -> np.ndarray[Any, Any]:
        """Starts a new episode in every world: the first of the seed if `seed` was called before."""
        seed = self._seeds[0]
        self._reset_seeds()
        self.ward.environment.reset(seed)
        return self._observations()

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Takes the actions of all environments."""
        shape = (self.ward.num_envs, len(self.ward.names), -1)
        self._actions = torch.as_tensor(np.asarray(actions)).reshape(shape)

    def step_wait(
        self,
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], list[dict[str, Any]]]:
        """Plays the step."""
        ward, environment = self.ward, self.ward.environment
        done = ward.step(self._actions)
        count, over = len(ward.names), environment.over
        observations = self._observations()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if bool(over.any()):
            truncated = environment.truncated.tolist()
            for i in over.repeat_interleave(count).nonzero()[:, 0].tolist():
                infos[i] = {"terminal_observation": observations[i], "TimeLimit.truncated": truncated[i // count]}
            environment.reset(where=over)
            observations = self._observations()
        return observations, done.reward.flatten().numpy().copy(), over.repeat_interleave(count).numpy(), infos

    def close(self) -> None:
        """Has nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this object, once for every environment asked for."""
        return [getattr(self, attr_name)] * len(self._of(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Sets an attribute of this object, which all environments share."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """The environments have no methods of their own. Raises `AttributeError`."""
        raise AttributeError(f"environments of one ward have no method {method_name} of their own")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No environment is wrapped."""
        return [False] * len(self._of(indices))

    def _of(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))

    def _observations(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.ward.observations().flatten(0, 1).numpy())
