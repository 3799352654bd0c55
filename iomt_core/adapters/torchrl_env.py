"""A TorchRL environment that steps many worlds at once, with the keys of TorchRL's multi-agent examples and BenchMARL."""

from __future__ import annotations

import torch

from iomt_core.adapters.agents import CHOICES, LARGEST_OBSERVATION, AgentOptions, WardAgents, missing_library
from iomt_core.scenario import PRESETS, Scenario, ScenarioError

try:
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import Bounded, Categorical, Composite, MultiCategorical, TensorSpec, Unbounded
    from torchrl.envs import EnvBase
except ImportError as error:
    raise missing_library("torchrl", "torchrl") from error


class WardTorchRLEnv(EnvBase):
    """`num_envs` worlds of a scenario, batch size [num_envs], with N agents in the group "agents".

    Keys, with n the size of an observation and S of the state: ("agents", "observation") (B, N, n), ("agents", "action"),
    ("agents", "reward") (B, N, 1), "state" (B, S), and "done", "terminated", "truncated" (B, 1). With action "choice" the
    action is `MultiCategorical` (B, N, J) for users and `Categorical` (B, N) for tasks as agents; with "box" it is
    `Bounded`; "dict" is not supported. ("info", "step_cost") (B, 1) is the weighted cost of the last step; ("info",
    "step_bound") is its certified lower bound, if the options request it. A world that has ended waits for `reset`, which
    TorchRL's rollouts and collectors call with a "_reset" mask; the other worlds continue.
    """

    batch_locked = True

    def __init__(
        self,
        s: Scenario = PRESETS["paper"],
        num_envs: int = 32,
        options: AgentOptions = CHOICES,
        seed: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if options.action == "dict":
            raise ScenarioError("action is 'dict': allowed is 'box', 'choice' in TorchRL")
        super().__init__(device=device, batch_size=[num_envs])
        ward = self.ward = WardAgents(s, num_envs, options, device)
        self.group_map = {"agents": list(ward.names)}
        if seed is not None:
            self.set_seed(seed)
        b, n = num_envs, len(ward.names)
        state = Bounded(0.0, LARGEST_OBSERVATION, (b, ward.state_size), device, torch.float32)
        observation = Bounded(0.0, LARGEST_OBSERVATION, (b, n, ward.observation_size), device, torch.float32)
        self.observation_spec = Composite(
            agents=Composite(observation=observation, shape=(b, n)), state=state, shape=(b,), device=device
        )
        self._info_names = ("step_cost", "step_bound") if options.certificate else ("step_cost",)
        self.observation_spec["info"] = Composite(
            {name: Unbounded((b, 1), device, torch.float32) for name in self._info_names}, shape=(b,), device=device
        )
        self.action_spec = self._grouped(self._action_spec())
        self.reward_spec = self._grouped(Unbounded((b, n, 1), device, torch.float32), "reward")
        flag = Categorical(2, (b, 1), device, torch.bool)
        self.done_spec = Composite(
            {key: flag.clone() for key in ("done", "terminated", "truncated")}, shape=(b,), device=device
        )

    def _action_spec(self) -> TensorSpec:
        ward, (b, n) = self.ward, (self.ward.num_envs, len(self.ward.names))
        devices, tasks = ward.scenario.servers + 1, ward.tasks_per_agent
        if ward.options.action == "box":
            return Bounded(-1.0, 1.0, (b, n, tasks * ward.numbers_per_task), self.device, torch.float32)
        if ward.options.agents == "task":
            return Categorical(devices, (b, n), self.device)
        return MultiCategorical([devices] * tasks, (b, n, tasks), self.device)

    def _grouped(self, spec: TensorSpec, key: str = "action") -> Composite:
        shape = (self.ward.num_envs, len(self.ward.names))
        return Composite(
            agents=Composite({key: spec}, shape=shape, device=self.device), shape=shape[:1], device=self.device
        )

    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        where = None if tensordict is None else tensordict.get("_reset", None)
        self.ward.environment.reset(where=None if where is None else where.reshape(-1))
        nothing = torch.zeros(self.ward.num_envs, device=self.device)
        return self._observed(dict.fromkeys(self._info_names, nothing))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict["agents", "action"]
        done = self.ward.step(action[..., None] if action.dim() == 2 else action)
        after = self._observed(done.step_info)
        after["agents", "reward"] = done.reward[..., None].clone()
        return after

    def _observed(self, info: dict[str, torch.Tensor]) -> TensorDict:
        ward, environment = self.ward, self.ward.environment
        b, n = ward.num_envs, len(ward.names)
        return TensorDict(
            {
                "agents": TensorDict({"observation": ward.observations()}, [b, n], self.device),
                "state": ward.state(),
                "info": TensorDict({name: x[:, None].float() for name, x in info.items()}, [b], self.device),
                "terminated": environment.terminated[:, None],
                "truncated": environment.truncated[:, None],
                "done": environment.over[:, None],
            },
            [b],
            self.device,
        )

    def _set_seed(self, seed: int | None) -> None:
        self.ward.environment.reset(seed)
