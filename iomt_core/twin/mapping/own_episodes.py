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
from iomt_core.scenario import Scenario, metadata, scenario
from iomt_core.training.replay import STATE
from iomt_core.twin.mapping.sealed_log import SealedLog
from iomt_core.twin.warehouse.episodes import STEP_COLUMNS, TASK_COLUMNS, replay_columns
from iomt_core.twin.warehouse.errors import WarehouseError

REPLAYED = ("task_choices", "actor_outputs")  # columns that warehouses of early versions lack
OUTCOME = ("cost", "deadline_missed")
ROUND_NUMBERS = [factor * 10**power for power in range(15) for factor in (1, 2, 5)]
Array = NDArray[Any]


def own_sizes(s: Scenario) -> Sizes:
    """Network input sizes of one agent of a ward."""
    return replace(Sizes.of(s), users=1)


def own_inputs(snapshot: Snapshot, s: Scenario) -> Inputs:
    """The observations (14) of one agent in B steps; `snapshot` has one user."""
    return Inputs.of(observe(snapshot, s).float(), snapshot.weight.float(), own_sizes(s))


def without_workload(s: Scenario) -> Scenario:
    """The scenario with a range of sizes in place of the tasks of its own workload.

    The ends are the next of 1, 2, 5, 10, 20, … outside the workload's own, because a smallest or largest task is somebody's data.
    """
    if s.workload is None:
        return s
    spans = {"D": s.data_span, "C": s.cycle_span, "P": s.priority_span}
    return s.changed(workload=None, **{name: _widened(name, *span) for name, span in spans.items()})


def _widened(name: str, low: float, high: float) -> tuple[float, float]:
    """The range up to the next of 1, 2, 5, 10, … on both sides, inside what a scenario may have."""
    least, most = metadata()[name].low or 0, metadata()[name].high or np.inf
    below = max(number for number in ROUND_NUMBERS if number <= low)
    above = min(number for number in ROUND_NUMBERS if number >= high)
    return max(below, least), min(above, most)


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
    steps, tasks = log.steps(recording=number), log.tasks(columns=(*TASK_COLUMNS, *OUTCOME), recording=number)
    if missing := [name for name in REPLAYED if name not in steps.column_names]:
        raise WarehouseError(
            f"recording = {number} of user {log.user} has no column {missing[0]!r}, which training needs: record anew."
        )
    whole = _whole_episodes(steps, tasks)
    if not len(whole):
        raise WarehouseError(f"recording = {number} has no whole episode of user {log.user}: record some.")
    s = without_workload(scenario(facts["scenario"]))
    # The oldest records are dropped first, so that whole episodes follow each other.
    first, count = int(whole[0]), len(whole)
    alone = s.changed(users_off=tuple(sorted({*range(1, s.ward_users + 1)} - {log.user})))
    rows = tasks.select(TASK_COLUMNS), steps.select(STEP_COLUMNS)
    columns = replay_columns(alone, first, count, {log.user: rows})
    outcome = {
        name: column_values(tasks.column(name)) for name in ("episode", "step", "task", "priority", "weight", *OUTCOME)
    }
    weighted = (outcome["weight"] > 0) & (outcome["priority"] > 0)
    ratios = outcome["priority"][weighted] / outcome["weight"][weighted]
    episodes = OwnEpisodes(
        scenario=s,
        mean_priority=float(np.median(ratios)) if len(ratios) else s.mean_P,
        states=_states(columns, s),
        choice=columns["choice"][:, :, 0],
        requested=columns["requested"][:, :, 0, :, :2].clamp(own_sizes(s).least_share, 1.0),
        reward=_rewards(outcome, first, columns),
        alive=columns["alive"],
        ended=columns["ended"],
    )
    return episodes, {**facts, "recording": number}


def _rewards(outcome: Mapping[str, Array], first: int, columns: Mapping[str, Tensor]) -> Tensor:
    """The reward of each task as it was recorded, (E, T, J); 0 where there is no task, or somebody could not pay the step."""
    place = (
        torch.from_numpy(outcome["episode"] - first),
        *(torch.from_numpy(outcome[name] - 1) for name in ("step", "task")),
    )
    kept = place[0] >= 0
    cost, missed = (torch.from_numpy(outcome[name].astype(np.float32)) for name in OUTCOME)
    result = torch.zeros(columns["choice"][:, :, 0].shape)
    result[tuple(index[kept] for index in place)] = task_reward(cost, missed)[kept]
    return result * ~columns["ended"][..., None]


def _states(columns: Mapping[str, Tensor], s: Scenario) -> Snapshot:
    """The columns of a replay buffer as a snapshot, with what an observation needs."""
    fields = {name: columns[name].flatten(0, 1) for name in STATE}
    nothing = fields["D"].new_zeros(len(fields["D"]), 0)
    rest = dict.fromkeys(("kind", "users_xy", "servers_xy", "key", "steps_left"), nothing)
    deadline = columns["deadline"].flatten(0, 1) if s.has_own_deadlines else torch.full_like(fields["D"], s.T_max)
    rest |= {"deadline": deadline, "distance": fields["beta"]}
    rest["latency"] = nothing.new_tensor(s.device_values["latency"]).expand(len(nothing), -1)
    return Snapshot(**fields, **rest)  # type: ignore[arg-type]


def _whole_episodes(steps: pa.Table, tasks: pa.Table) -> Array:
    """Numbers of the episodes of which every step from the first and every task is there; others were dropped in part."""
    step = {name: column_values(steps.column(name)) for name in ("episode", "step", "tasks")}
    episodes, place, rows = np.unique(step["episode"], return_inverse=True, return_counts=True)
    last = np.zeros(len(episodes), np.int64)
    np.maximum.at(last, place, step["step"])
    expected = np.bincount(place, step["tasks"], len(episodes))
    of_tasks = column_values(tasks.column("episode"))
    known = of_tasks[np.isin(of_tasks, episodes)]
    found = np.bincount(np.searchsorted(episodes, known), minlength=len(episodes))
    return np.asarray(episodes[(rows == last) & (expected == found)])


def column_values(column: pa.ChunkedArray) -> Array:
    """A column of numbers or texts as an array."""
    return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False))


def warm_up() -> None:
    """Loads what pyarrow loads when it makes the first arrays."""
    for values in ([1.0], [True], ["text"]):
        column_values(pa.chunked_array([pa.array(values)]))
    pa.chunked_array([pa.array([[1.0]])]).combine_chunks().flatten().to_numpy(zero_copy_only=False)
