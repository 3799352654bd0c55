"""Observations, actions and rewards of agents in many worlds at once: the common part of all adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

import torch
from torch import Tensor

from iomt_core.environment.observation import limited_state, size, task_names
from iomt_core.environment.vector import VectorEnvironment
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.price_response import PriceResponse
from iomt_core.policies.shares import equal_shares, optimal_shares
from iomt_core.scenario import Scenario, ScenarioError

LARGEST_OBSERVATION = 1e6  # values are scaled to about [0, 1]; those of a workload from a file may be larger


@dataclass(frozen=True)
class AgentOptions:
    """Options: what one agent is, and its actions, observations and rewards.

    action: "dict" = choice, cpu and bandwidth by name; "box" = one vector in [-1, 1], for each task K + 1 scores of
        which the largest is the choice, then the two requested shares, scaled from [0, 1]; "choice" = devices only.
    shares: "requested" = agents request shares, scaled down pro rata where a device is short (with action "choice": at
        price response's broadcast prices); "equal" = each device is divided evenly; "optimal" = divided optimally.
        With "equal" and "optimal" an action holds no shares.
    agents: one agent a "user", or a "task"; a task's agent observes its own D, C and P (and T_max where deadlines differ), then
        all that its user observes.
    agent_id: appends the agent's one-hot index to its observation.
    reward: the agent's "own" priority-weighted task rewards, or the sum over the "team".
    certificate: adds `step_bound`, the certified lower bound of the step's cost, to the infos; takes milliseconds in each step.

    Raises `ScenarioError` for a value that is not allowed.
    """

    action: Literal["dict", "box", "choice"] = "dict"
    shares: Literal["requested", "equal", "optimal"] = "requested"
    agents: Literal["user", "task"] = "user"
    agent_id: bool = False
    reward: Literal["own", "team"] = "own"
    certificate: bool = False

    def __post_init__(self) -> None:
        hints = get_type_hints(AgentOptions)
        problems = []
        for field in fields(self):
            value, allowed = getattr(self, field.name), get_args(hints[field.name]) or (False, True)
            if value not in allowed:
                problems.append(f"{field.name} is {value!r}: allowed is {', '.join(map(repr, allowed))}")
        if problems:
            raise ScenarioError(problems)


ALL_BY_NAME = AgentOptions()
CHOICES = AgentOptions(action="choice")


@dataclass(frozen=True)
class AgentStep:
    """Result of one step; N agents, M tasks for each agent."""

    reward: Tensor  # (B, N)
    team_reward: Tensor  # (B,) priority-weighted sum over all tasks
    terminated: Tensor  # (B,) bool: some battery is empty (C5)
    truncated: Tensor  # (B,) bool: all T steps were played
    task_info: dict[str, Tensor]  # (B, N, M): delay_s, energy_j, cost, missed, weight
    step_info: dict[str, Tensor]  # (B,): step_cost, the sum of weight · cost; step_bound if there is a certificate


class WardAgents:
    """`num_envs` worlds of a scenario with N agents each."""

    def __init__(self, s: Scenario, num_envs: int, options: AgentOptions, device: torch.device | str = "cpu") -> None:
        if num_envs < 1:
            raise ScenarioError(f"num_envs is {num_envs}: allowed is 1 or more")
        self.scenario, self.num_envs, self.options = s, num_envs, options
        self.environment = VectorEnvironment(s, num_envs, device)
        users = [f"user_{i}" for i in s.user_numbers]
        by_task = options.agents == "task"
        self.names = [f"{user}_task_{j}" for user in users for j in range(1, s.tasks + 1)] if by_task else users
        self.tasks_per_agent = 1 if by_task else s.tasks
        self.requests_shares = options.shares == "requested" and options.action != "choice"
        self.numbers_per_task = s.servers + 1 + (2 if self.requests_shares else 0)  # of action "box"
        self.fields = ("choice", "cpu", "bandwidth") if self.requests_shares else ("choice",)  # of action "dict"
        self._features = len(task_names(s))  # of a task
        agent_id = len(self.names) if options.agent_id else 0
        self.observation_size = size(s) + (self._features if by_task else 0) + agent_id
        self.state_size = limited_state(self.environment.snapshot, s).shape[1]
        self._price_response = (
            PriceResponse(s) if options.action == "choice" and options.shares == "requested" else None
        )

    def observations(self) -> Tensor:
        """What every agent observes, (B, N, observation_size)."""
        seen = self.environment.observation
        b, j, n = self.num_envs, self.scenario.tasks, len(self.names)
        parts = [seen]
        if self.options.agents == "task":
            of_tasks = seen[..., : self._features * j].unflatten(-1, (self._features, j))
            own = of_tasks.transpose(-1, -2)  # (B, U, J, features)
            parts = [own.flatten(1, 2), seen.repeat_interleave(j, dim=1)]
        if self.options.agent_id:
            parts.append(torch.eye(n, device=seen.device).expand(b, n, n))
        return torch.cat(parts, dim=-1)

    def state(self) -> Tensor:
        """ŝ, the limited global state, (B, state_size)."""
        return limited_state(self.environment.snapshot, self.scenario)

    def step(self, action: Tensor | Mapping[str, Tensor]) -> AgentStep:
        """One step of every world.

        action: "dict" a mapping of (B, N, M) tensors, "box" (B, N, M · numbers_per_task), "choice" (B, N, M). Raises
        `ScenarioError` naming world, agent, field, value and allowed range.
        """
        environment, s, now = self.environment, self.scenario, self.environment.snapshot
        done = environment.step(self._joint_action(action, now))
        out = done.outcome
        if self.options.reward == "team":
            reward = done.reward[:, None].expand(-1, len(self.names))
        elif self.options.agents == "user":
            reward = done.agent_reward
        else:
            earns = done.alive & ~done.terminated
            reward = (out.reward * now.weight * earns[:, None, None]).flatten(1)
        tasks = {
            "delay_s": out.delay,
            "energy_j": out.energy,
            "cost": out.cost,
            "missed": out.missed,
            "weight": now.weight,
        }
        shape = (self.num_envs, len(self.names), self.tasks_per_agent)
        step = {"step_cost": (out.cost * now.weight).sum((1, 2))}
        if self.options.certificate:
            dual = solve_dual(now, s)
            step["step_bound"] = torch.where(out.skipped.flatten(1).any(1), dual.skip_bound, dual.bound)
        info = {name: x.reshape(shape) for name, x in tasks.items()}
        return AgentStep(reward, done.reward, done.terminated, done.truncated, info, step)

    def _joint_action(self, action: Tensor | Mapping[str, Tensor], now: Snapshot) -> Action:
        """Converts any form of action to choices and shares, (B, U, J)."""
        s = self.scenario
        if isinstance(action, Tensor) and self.options.action == "box":
            self._check("action", action, (self.tasks_per_agent * self.numbers_per_task,), -1.0, 1.0)
            numbers = action.to(now.D.dtype).reshape(*now.D.shape, self.numbers_per_task)
            parts = {"choice": numbers[..., : s.servers + 1].argmax(-1)}
            if self.requests_shares:
                parts["cpu"], parts["bandwidth"] = ((numbers[..., -2:] + 1) / 2).unbind(-1)
        else:
            raw = action if isinstance(action, Mapping) else {"choice": action}
            parts = {}
            for name in self.fields:
                if name not in raw:
                    raise ScenarioError(f"action: {name} is missing; needed are {', '.join(self.fields)}")
                self._check(name, raw[name], (self.tasks_per_agent,), 0, s.servers if name == "choice" else 1)
                dtype = torch.int64 if name == "choice" else now.D.dtype
                parts[name] = raw[name].to(dtype).reshape(now.D.shape)
        if self.requests_shares:
            return Action(**parts)
        if self.options.shares == "equal":
            return equal_shares(now, parts["choice"])
        if self.options.shares == "optimal":
            return optimal_shares(now, parts["choice"], s)
        assert self._price_response is not None
        return self._price_response.request(now, parts["choice"])

    def _check(self, field: str, values: Tensor, shape: tuple[int, ...], low: float, high: float) -> None:
        expected = (self.num_envs, len(self.names), *shape)
        if values.shape != expected:
            raise ScenarioError(f"{field} has shape {tuple(values.shape)}: allowed is {expected}")
        allowed = (values >= low) & (values <= high)
        if field == "choice":
            allowed &= values == values.long()
        if not bool(allowed.all()):
            env, agent, *place = (~allowed).nonzero()[0].tolist()
            value = values[env, agent, *place].item()
            kind = "a whole number" if field == "choice" else "a number"
            where = f"world {env}, {self.names[agent]}" if self.num_envs > 1 else self.names[agent]
            raise ScenarioError(f"{where}: {field} holds {value:g}: allowed is {kind} from {low:g} to {high:g}")


def missing_library(name: str, extra: str) -> ImportError:
    """The error of an adapter whose library is not installed."""
    return ImportError(f"this adapter needs {name}: pip install 'iomt-twin-lab[{extra}]'", name=name)
