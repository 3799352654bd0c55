"""What an agent learns from: the recorded steps of its own user as tensors, from DW_i alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from iomt_core.algorithms.episodes import Episodes
from iomt_core.environment.observation import observe
from iomt_core.model.snapshot import Snapshot
from iomt_core.model.utility import task_reward
from iomt_core.nets.inputs import Inputs, Sizes
from iomt_core.scenario import Scenario, scenario
from iomt_core.twin.mapping.sealed_log import SealedLog
from iomt_core.twin.warehouse.errors import WarehouseError

TASK_COLUMNS = (
    "episode", "step", "task", "data_bits", "cycles", "priority", "weight", "deadline_s", "cost", "deadline_missed",
)  # fmt: skip
STEP_COLUMNS = (
    "episode", "step", "tasks", "battery_j", "battery_after_j", "power_w", "cpu_hz", "ended", "server_cpu_hz",
    "server_bandwidth_hz", "link_bandwidth_hz", "task_choices", "actor_outputs",
)  # fmt: skip
REPLAYED = STEP_COLUMNS[-2:]  # not in warehouses of early versions
Array = NDArray[Any]


def own_sizes(s: Scenario) -> Sizes:
    """Network input sizes of one agent of a ward."""
    return replace(Sizes.of(s), users=1)


def own_inputs(snapshot: Snapshot, s: Scenario) -> Inputs:
    """The observations (14) of one agent in B steps; `snapshot` has one user."""
    return Inputs.of(observe(snapshot, s).float(), snapshot.weight.float(), own_sizes(s))


def without_workload(s: Scenario) -> Scenario:
    """The scenario with the smallest and largest sizes of its own workload in place of the tasks."""
    if s.workload is None:
        return s
    return s.changed(workload=None, D=s.data_span, C=s.cycle_span, P=s.priority_span)


@dataclass(frozen=True)
class OwnEpisodes:
    """E recorded episodes of one user, T steps each; steps that were not played are not `alive`.

    scenario: without tasks of an own workload, see `without_workload`; mean_priority: of the ward's tasks, p = P / mean P.
    """

    scenario: Scenario
    mean_priority: float
    states: Snapshot  # (E · (T + 1), 1, …), sorted by episode; entry T is the state after the last step
    choice: Tensor  # (E, T, J) int64, strategies
    requested: Tensor  # (E, T, J, 2) shares of CPU and of bandwidth
    reward: Tensor  # (E, T, J)
    alive: Tensor  # (E, T) bool
    ended: Tensor  # (E, T) bool: a battery was empty

    def __len__(self) -> int:
        return len(self.choice)

    def draw(self, batch: int, generator: torch.Generator) -> Episodes:
        """A minibatch of episodes, with the rewards as they were recorded."""
        count, steps, tasks = self.choice.shape
        index = torch.randint(0, count, (batch,), generator=generator)
        # Time first, as the learner takes it.
        rows = (index[:, None] * (steps + 1) + torch.arange(steps + 1)).T.flatten()
        inputs = own_inputs(self.states.select(rows), self.scenario)
        choice, reward = (x[index].transpose(0, 1).reshape(1, -1, tasks) for x in (self.choice, self.reward))
        requested = self.requested[index].transpose(0, 1).reshape(1, -1, tasks, 2)
        going_on = (~self.ended[index]).T.flatten().float()
        weight = inputs.weight[:, : len(going_on)]
        nothing = inputs.weight.new_zeros(inputs.weight.shape[1], 1)
        return Episodes(
            sizes=own_sizes(self.scenario),
            batch=batch,
            inputs=inputs,
            corrected=nothing,  # the mixer's observations: an agent that learns alone has no mixer
            state=nothing,
            choice=choice,
            requested=requested,
            reward=reward,
            team_reward=(reward * weight).sum((0, 2)),
            mask=self.alive[index].T.flatten().float(),
            going_on=going_on,
        )


def own_episodes(log: SealedLog, recording: int | None = None) -> tuple[OwnEpisodes, Mapping[str, Any]]:
    """The episodes of a recording (None: the latest) that are whole, and the recording's configuration.

    Raises `WarehouseError` if no whole episode is there, or the recording is of an early version.
    """
    number = log.latest_recording if recording is None else recording
    facts = log.configuration(number)
    recorded = scenario(facts["scenario"])
    s = without_workload(recorded)
    steps, tasks = log.steps(recording=number), log.tasks(columns=TASK_COLUMNS, recording=number)
    if missing := [name for name in REPLAYED if name not in steps.column_names]:
        raise WarehouseError(
            f"recording = {number} of user {log.user} has no column {missing[0]!r}, which training needs: record anew."
        )
    return _as_tensors(s, steps.select(STEP_COLUMNS), tasks, number), {**facts, "recording": number}


def _as_tensors(s: Scenario, steps: pa.Table, tasks: pa.Table, recording: int) -> OwnEpisodes:
    step, task = ({name: column_values(table.column(name)) for name in table.column_names} for table in (steps, tasks))
    whole = _whole_episodes(step, task)
    if not len(whole):
        raise WarehouseError(f"recording = {recording} has no whole episode of this user.")
    count, t, j, k = len(whole), s.T, s.tasks, s.servers

    def dense(values: Array, of: Mapping[str, Array], *place: Array) -> Array:
        """Values of some rows at (episode, step, …); 0 where there is no row."""
        kept = np.isin(of["episode"], whole)
        index = np.searchsorted(whole, of["episode"][kept]), of["step"][kept] - 1, *(x[kept] for x in place)
        result = np.zeros((count, t, *((j,) if place else ()), *values.shape[1:]), values.dtype)
        result[index] = values[kept]
        return result

    per_task = {name: dense(task[name], task, task["task"] - 1) for name in TASK_COLUMNS[3:]}
    per_step = {name: dense(step[name], step) for name in STEP_COLUMNS[2:]}
    active = dense(np.ones(len(task["step"]), bool), task, task["task"] - 1)
    alive = dense(np.ones(len(step["step"]), bool), step)
    missed = torch.from_numpy(per_task["deadline_missed"].astype(np.float32))
    reward = task_reward(torch.from_numpy(per_task["cost"]).float(), missed) * torch.from_numpy(active)
    reward = reward * ~torch.from_numpy(per_step["ended"])[..., None]  # a step that somebody cannot pay earns nothing
    outputs = per_step["actor_outputs"].reshape(count, t, j, -1)
    some = np.flatnonzero((task["weight"] > 0) & (task["priority"] > 0))
    mean_priority = float(np.median(task["priority"][some] / task["weight"][some])) if len(some) else s.mean_P
    choice = np.searchsorted(s.device_numbers, per_step["task_choices"])
    return OwnEpisodes(
        s, mean_priority, _states(s, per_task, per_step, active, k), torch.from_numpy(choice),
        torch.from_numpy(outputs[..., :2].astype(np.float32)).clamp(own_sizes(s).least_share, 1.0), reward,
        torch.from_numpy(alive), torch.from_numpy(per_step["ended"]),
    )  # fmt: skip


def _states(
    s: Scenario, per_task: Mapping[str, Array], per_step: Mapping[str, Array], active: Array, servers: int
) -> Snapshot:
    """The states before each step, and after the last: that one differs from the one before in the battery's charge only."""

    def with_last(values: Array, last: Array | None = None) -> Tensor:
        """(E, T, …) -> (E · (T + 1), 1, …)."""
        after = (values if last is None else last)[:, -1:]
        return torch.from_numpy(np.concatenate([values, after], 1)).flatten(0, 1)[:, None]

    D, C, P, weight, deadline = (
        with_last(per_task[name]) for name in ("data_bits", "cycles", "priority", "weight", "deadline_s")
    )
    beta = with_last(per_step["link_bandwidth_hz"])
    F_k, B_k = (with_last(per_step[f"server_{name}_hz"])[:, 0] for name in ("cpu", "bandwidth"))
    nothing = D.new_zeros(len(D), 0)
    left = torch.arange(s.T, -1, -1).clamp_min(1).repeat(len(active))
    return Snapshot(
        D=D, C=C, P=P.to(D.dtype), weight=weight, active=with_last(active), kind=nothing, deadline=deadline,
        P_tr=with_last(per_step["power_w"]), battery=with_last(per_step["battery_j"], per_step["battery_after_j"]),
        F_i=with_last(per_step["cpu_hz"]), F_k=F_k.view(-1, servers), B_k=B_k.view(-1, servers), users_xy=nothing,
        servers_xy=nothing, distance=beta, beta=beta, key=torch.zeros_like(left), steps_left=left,
    )  # fmt: skip


def _whole_episodes(step: Mapping[str, Array], task: Mapping[str, Array]) -> Array:
    """Numbers of the episodes of which every step from the first and every task is there; others were dropped in part."""
    episodes, rows = np.unique(step["episode"], return_counts=True)
    last = np.array([step["step"][step["episode"] == episode].max() for episode in episodes], dtype=np.int64)
    place = np.searchsorted(episodes, step["episode"])
    expected = np.bincount(place, step["tasks"], minlength=len(episodes))
    found = np.bincount(
        np.searchsorted(episodes, task["episode"][np.isin(task["episode"], episodes)]), minlength=len(episodes)
    )
    return np.asarray(episodes[(rows == last) & (expected == found)])


def column_values(column: pa.ChunkedArray) -> Array:
    """A column as an array; lists of equal length as rows."""
    joined = column.combine_chunks()
    if pa.types.is_list(column.type):
        return np.asarray(joined.flatten().to_numpy(zero_copy_only=False)).reshape(len(joined), -1)
    return np.asarray(joined.to_numpy(zero_copy_only=False))


def warm_up() -> None:
    """Loads what pyarrow loads when it makes the first arrays."""
    for values in ([1.0], [True], ["text"], [[1.0]]):
        column_values(pa.chunked_array([pa.array(values)]))
