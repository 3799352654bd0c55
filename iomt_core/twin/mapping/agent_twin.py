"""The twin of an agent: networks that decide for one user, without any data of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from safetensors.torch import load
from torch import Tensor

from iomt_core.algorithms.agents import Memory
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.algorithms.registry import algorithm
from iomt_core.model.batch import without_inference_mode
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Memory as PolicyMemory
from iomt_core.policies.base import Planner, Policy
from iomt_core.policies.dual import DualSolution
from iomt_core.scenario import Scenario, ScenarioError, check_range, scenario
from iomt_core.scenario.errors import shortened
from iomt_core.training.checkpoints import (
    POLICY,
    CheckpointError,
    load_module,
    read_facts,
    read_tensors,
    write_checkpoint,
)
from iomt_core.twin.mapping.agent_training import ALGORITHM, SETTINGS, UPDATES
from iomt_core.twin.mapping.confined import Progress, run
from iomt_core.twin.mapping.own_episodes import own_inputs, own_sizes, without_workload
from iomt_core.twin.warehouse.errors import Audit, no_audit

KIND = "agent twin"
TASKS = ("data_bits", "cycles", "priority")
DEADLINE = "deadline_s"  # a further column of tasks where deadlines differ
STATE = ("battery_j", "power_w", "cpu_hz", "server_cpu_hz", "server_bandwidth_hz", "link_bandwidth_hz")


@dataclass(frozen=True)
class AgentDecision:
    """What an agent decides for the n tasks of its user in one step.

    devices: numbers in the whole ward, 0 is the own device. values: (n, K + 1) worth (17) of each task on each device, in the
    order of `Scenario.device_numbers`. memory: of the networks after the step, for the next call.
    """

    devices: tuple[int, ...]
    cpu_shares: tuple[float, ...]
    bandwidth_shares: tuple[float, ...]
    values: Tensor
    memory: Memory


class AgentTwin:
    """One agent of MPMT-DQN, trained by replay from its user's log.

    It exposes decisions and values. It holds weights, the ward's parameters, and numbers about its training; no recorded data.
    """

    def __init__(self, facts: Mapping[str, Any], weights: Mapping[str, Tensor], where: str = "agent twin") -> None:
        """facts: see `train_agent`; where: how messages name the source. Raises `CheckpointError`."""
        if facts.get("kind") != KIND or facts.get("algorithm") != ALGORITHM:
            raise CheckpointError(
                f"{where}: kind = {shortened(facts.get('kind'))} cannot be used: allowed is {KIND!r}."
            )
        try:
            self.scenario: Scenario = scenario(facts["scenario"])
            self.user, self.mean_priority = int(facts["user"]), float(facts["mean_priority"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ScenarioError):
                raise
            raise CheckpointError(f"{where}: user, scenario or mean_priority is missing or invalid.") from None
        if self.user not in self.scenario.user_numbers or not self.mean_priority > 0:
            raise CheckpointError(
                f"{where}: user = {self.user} or mean_priority = {self.mean_priority:g} is out of range."
            )
        self.facts = dict(facts)
        made = algorithm(ALGORITHM).agents(own_sizes(self.scenario), SETTINGS.recurrent, SETTINGS.rounds)
        assert isinstance(made, ParameterisedQ)
        self._agents = made.requires_grad_(False)
        load_module(self._agents, {name.removeprefix("agents/"): x.float() for name, x in weights.items()}, where)

    @classmethod
    def load(cls, folder: Path) -> AgentTwin:
        """The twin that `save` wrote. Raises `CheckpointError`."""
        facts = read_facts(folder)
        return cls(facts, read_tensors(folder, POLICY, facts), f"agent twin {str(folder)!r}")

    def save(self, folder: Path) -> None:
        """Writes weights as safetensors, and facts as JSON, completely or not at all. Raises `CheckpointError`."""
        weights = {f"agents/{name}": value for name, value in self._agents.named_parameters()}
        write_checkpoint(folder, {POLICY: weights}, self.facts)

    def decide(self, tasks: pd.DataFrame, state: Mapping[str, Any], memory: Memory | None = None) -> AgentDecision:
        """Decides for the user's tasks in one step.

        tasks: a row for each, with the columns `TASKS`, and `DEADLINE` where deadlines differ. state: what the user's device
        sees, by the names of `STATE`: charge J, transmission power W, own CPU Hz, and lists with free CPU, free bandwidth and
        unit-SNR bandwidth of the link in Hz for each server in operation. memory: of the step before, None at the first of an
        episode. Raises `ScenarioError`.
        """
        inputs, count = own_inputs(self._snapshot(tasks, state), self.scenario), len(tasks)
        with torch.inference_mode():
            past = self._agents.start(1) if memory is None else memory
            decision, after = self._agents.decide(inputs, past)
            *_, last = self._worth(inputs, decision.requested, past)
        numbers = self.scenario.device_numbers
        cpu, bandwidth = decision.requested[0, 0, :count].unbind(-1)
        return AgentDecision(
            tuple(numbers[k] for k in decision.choice[0, 0, :count].tolist()), tuple(cpu.tolist()),
            tuple(bandwidth.tolist()), last[:count].clone(), after,
        )  # fmt: skip

    def values(self, tasks: pd.DataFrame, state: Mapping[str, Any], memory: Memory | None = None) -> pd.DataFrame:
        """The worth (17) of each task on each device, a row for each task and a column for each device; see `decide`."""
        values = self.decide(tasks, state, memory).values
        return pd.DataFrame(values.numpy(), columns=list(self.scenario.device_numbers))

    def act(self, snapshot: Snapshot, memory: Memory | None) -> tuple[Action, Memory]:
        """Decides one step of B worlds; `snapshot` has this user only."""
        with torch.inference_mode():
            past = self._agents.start(len(snapshot.D)) if memory is None else memory
            decision, after = self._agents.decide(own_inputs(snapshot, self.scenario), past)
        return without_inference_mode(decision.action(snapshot.D.dtype)), after

    def _worth(self, inputs: Any, requested: Tensor, past: Memory) -> list[Tensor]:
        """The worth of each task's devices when it decided last, (J, K + 1), after each turn."""
        tokens, found = self._agents.q.encode(inputs), []
        table = requested.new_zeros(self.scenario.tasks, self.scenario.servers + 1)
        for turn in self._agents.turns(inputs, tokens, requested, past[1]):
            table = table.clone()
            table[list(turn.tasks)] = turn.worth[0, 0]
            found.append(table)
        return found

    def _snapshot(self, tasks: pd.DataFrame, state: Mapping[str, Any]) -> Snapshot:
        s = self.scenario
        columns = (*TASKS, DEADLINE) if s.deadlines_differ else TASKS
        if missing := [name for name in columns if name not in tasks.columns] + [n for n in STATE if n not in state]:
            raise ScenarioError(f"{missing[0]} is missing: needed are {', '.join((*columns, *STATE))}.")
        check_range("tasks", len(tasks), 1, s.tasks)
        lists = {name: torch.as_tensor(state[name], dtype=torch.float64).view(1, -1) for name in STATE[3:]}
        for name, values in lists.items():
            if values.shape[1] != s.servers or not bool((values >= 0).all()):
                raise ScenarioError(f"{name} has {values.shape[1]} values: allowed are {s.servers} of 0 or more.")
        D, C, P, deadline = (torch.zeros(1, 1, s.tasks, dtype=torch.float64) for _ in (*TASKS, DEADLINE))
        deadline += s.T_max
        for tensor, name in zip((D, C, P, deadline), columns, strict=False):
            tensor[0, 0, : len(tasks)] = torch.as_tensor(tasks[name].to_numpy(dtype=float).copy())
            if not bool(torch.isfinite(tensor).all()) or bool((tensor < 0).any()):
                raise ScenarioError(f"{name} has a value that is negative or no number: allowed is 0 or more.")
        active = (torch.arange(s.tasks) < len(tasks)).view(1, 1, -1)
        battery, power, own = (torch.full((1, 1), float(state[name]), dtype=torch.float64) for name in STATE[:3])
        beta, nothing = lists["link_bandwidth_hz"][:, None], D.new_zeros(1, 0)
        latency = D.new_tensor([s.device_values["latency"]])
        return Snapshot(
            D=D, C=C, P=P, weight=P / self.mean_priority, active=active, kind=nothing, deadline=deadline, P_tr=power,
            battery=battery, F_i=own, F_k=lists["server_cpu_hz"], B_k=lists["server_bandwidth_hz"], latency=latency,
            users_xy=nothing, servers_xy=nothing, distance=beta, beta=beta, key=torch.zeros(1), steps_left=torch.ones(1),
        )  # fmt: skip


def train_agent(
    folder: Path,
    user: int,
    updates: int = UPDATES,
    seed: int = 0,
    recording: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    audit: Audit = no_audit,
) -> AgentTwin:
    """Trains the twin of a user's agent, in a process that can open nothing but this user's log.

    recording: None for the user's latest. on_progress: called with updates "done" of "total" and the "loss". stop: when it is
    true, training ends with the weights so far. Raises `ScenarioError`.
    """
    check_range("seed", seed, 0, 2**31 - 1)
    arguments = {"recording": recording, "updates": updates, "seed": seed}
    result, tensors = run(folder, user, "train", arguments, on_progress, stop, audit)
    return AgentTwin({"kind": KIND, "algorithm": ALGORITHM, "user": user, "seed": seed, **result}, load(tensors))


class TwinAmongOthers(Policy):
    """An agent's twin decides for its user, and another policy for all others."""

    name, label, summary = "agent-twin", "Agent's twin", "A twin decides for one user, another policy for all others."
    uses_past = "memory"

    def __init__(self, others: Policy, twin: AgentTwin) -> None:
        """Raises `ScenarioError` for a policy that plans whole episodes, and for a ward that the twin does not fit."""
        s = others.scenario
        super().__init__(s)
        if isinstance(others, Planner):
            raise ScenarioError(
                f"policy = {others.name!r} plans whole episodes with all users: allowed are all others."
            )
        if own_sizes(without_workload(s)) != own_sizes(twin.scenario) or twin.user not in s.user_numbers:
            raise ScenarioError(f"the twin of user {twin.user} does not fit this ward: its counts are others.")
        self.others, self.twin, self.sharing = others, twin, others.sharing  # type: ignore[misc]
        self._place = s.user_numbers.index(twin.user)

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """Decides as in the first step of an episode."""
        return self.step(snapshot, None, dual)[0]

    def step(
        self, snapshot: Snapshot, memory: PolicyMemory | None, dual: DualSolution | None = None
    ) -> tuple[Action, PolicyMemory | None]:
        """Decides the next step of an episode; see `Policy.step`."""
        before: PolicyMemory | None = None
        own_before: Memory | None = None
        if memory is not None:
            before, own_before = cast("tuple[PolicyMemory | None, Memory]", memory)
        action, after = self.others.step(snapshot, before, dual)
        i, servers = self._place, torch.arange(self.scenario.servers)
        mine, own_after = self.twin.act(snapshot.keep(torch.tensor([i]), servers), own_before)
        mixed = {name: getattr(action, name).clone() for name in ("choice", "cpu", "bandwidth")}
        for name, values in mixed.items():
            values[:, i] = getattr(mine, name)[:, 0]
        return replace(action, **mixed), cast(PolicyMemory, (after, own_after))
