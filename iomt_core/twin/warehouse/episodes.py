"""Episodes of a training run as rows of the warehouse, and back as the columns of a replay buffer, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from iomt_core.environment.environment import Transition
from iomt_core.model.batch import concatenate
from iomt_core.model.snapshot import Snapshot
from iomt_core.rollout import Step
from iomt_core.scenario import Scenario
from iomt_core.twin.warehouse.errors import WarehouseError
from iomt_core.twin.warehouse.rows import step_rows, task_rows

# What is read of the two logs.
TASK_COLUMNS = ("sequence", "episode", "step", "task", "data_bits", "cycles", "priority", "weight", "deadline_s")
STEP_COLUMNS = (
    "sequence", "episode", "step", "battery_j", "battery_after_j", "power_w", "cpu_hz", "server_cpu_hz", "server_bandwidth_hz",
    "link_bandwidth_hz", "tasks", "task_choices", "actor_outputs", "ended",
)  # fmt: skip
OF_TASKS = {"D": "data_bits", "C": "cycles", "P": "priority", "weight": "weight", "deadline": "deadline_s"}
OF_USERS = {"battery": "battery_j", "P_tr": "power_w", "F_i": "cpu_hz"}
OF_SERVERS = {"F_k": "server_cpu_hz", "B_k": "server_bandwidth_hz"}
CPU = torch.device("cpu")


def training_rows(
    s: Scenario, first: int, steps: Sequence[Step], after: Snapshot, requested: Sequence[Tensor]
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Rows of tasks and of steps for `WarehouseWriter.append`, sorted by user, episode and step.

    first: number of the first of the B episodes. steps: T steps. after: the state after the last one. requested: the Actors'
    outputs in each step, (B, U, J, outputs).
    """
    following = [*(step.snapshot for step in steps[1:]), after]
    episodes = torch.arange(first, first + len(after.D))
    record = concatenate([_on_cpu(step).record(s, episodes) for step in steps])
    alive = [step.transition.alive.cpu() for step in steps]
    charge = torch.cat([x.battery.cpu()[played] for x, played in zip(following, alive, strict=True)])
    outputs = torch.cat([x.cpu()[played] for x, played in zip(requested, alive, strict=True)])
    order = (record.episode * (s.T + 1) + record.step).argsort()
    record = record.select(order)
    return task_rows(record), step_rows(record, charge[order], outputs[order])


def _on_cpu(step: Step) -> Step:
    now = step.transition
    tensors = (now.reward, now.agent_reward, now.alive, now.terminated, now.truncated)
    transition = Transition(now.outcome.to(CPU), *(x.to(CPU) for x in tensors))
    return Step(step.number, step.snapshot.to(CPU), step.action.to(CPU), None, transition)


def replay_columns(
    s: Scenario, first: int, count: int, of_user: Mapping[int, tuple[pa.Table, pa.Table]]
) -> dict[str, Tensor]:
    """The columns of `Replay` for episodes `first` to `first + count - 1`, (count, T + 1, …) or (count, T, …).

    of_user: for each of the scenario's users the rows of tasks and of steps with `TASK_COLUMNS` and `STEP_COLUMNS`; rows of other
    episodes are left out. The state after an episode's last step is the one before it, with the charge after it. Where an
    episode ended earlier, its last state, choices and outputs are repeated, and learning takes no notice of them. Raises
    `WarehouseError` where rows are missing.
    """
    users, j, k = len(s.user_numbers), s.tasks, s.servers
    state = {name: np.zeros((count, s.T, users, j), np.float32) for name in OF_TASKS}
    state["P"] += 1  # of a task that is missing, as in the ward
    state["deadline"] += np.float32(s.T_max)
    state |= {name: np.zeros((count, s.T, users), np.float32) for name in OF_USERS}
    state |= {name: np.zeros((count, s.T, k), np.float32) for name in OF_SERVERS}
    state["beta"] = np.zeros((count, s.T, users, k), np.float32)
    state["active"] = np.zeros((count, s.T, users, j), np.bool_)
    charge = np.zeros((count, s.T, users), np.float32)
    alive, ended = (np.zeros((count, s.T), np.bool_) for _ in range(2))
    choice: NDArray[Any] = np.zeros((count, s.T, users, j), np.int64)
    requested: NDArray[Any] | None = None
    for place, user in enumerate(s.user_numbers):
        tasks, steps = (_rows(table, first, count) for table in of_user[user])
        e, t = steps["episode"] - first, steps["step"] - 1
        if place == 0:
            alive[e, t], ended[e, t] = True, steps["ended"]
            for name, column in OF_SERVERS.items():
                state[name][e, t] = steps[column].reshape(-1, k)
            outputs = steps["actor_outputs"].size // max(1, len(e) * j)
            requested = np.zeros((count, s.T, users, j, outputs), np.float32)
        assert requested is not None
        of_task = tasks["episode"] - first, tasks["step"] - 1, place, tasks["task"] - 1
        missing = np.bincount(e, steps["tasks"], count) - np.bincount(of_task[0], None, count)
        _check_complete(user, first, alive, (e, t), missing)
        for name, column in OF_USERS.items():
            state[name][e, t, place] = steps[column]
        charge[e, t, place] = steps["battery_after_j"]
        state["beta"][e, t, place] = steps["link_bandwidth_hz"].reshape(-1, k)
        choice[e, t, place] = np.searchsorted(s.device_numbers, steps["task_choices"]).reshape(-1, j)
        requested[e, t, place] = steps["actor_outputs"].reshape(len(e), j, -1)
        for name, column in OF_TASKS.items():
            state[name][of_task] = tasks[column]
        state["active"][of_task] = True
    played = alive.sum(1)
    each = np.arange(count)[:, None]
    now = np.minimum(np.arange(s.T), played[:, None] - 1)  # the step itself, or the episode's last one
    later = np.minimum(np.arange(s.T + 1), played[:, None] - 1)
    columns = {name: values[each, later] for name, values in state.items() if name != "deadline" or s.has_own_deadlines}
    over = np.arange(s.T + 1) >= played[:, None]
    columns["battery"][over] = charge[each, later][over]
    assert requested is not None
    columns |= {"choice": choice[each, now], "requested": requested[each, now], "alive": alive, "ended": ended}
    return {name: torch.from_numpy(values) for name, values in columns.items()}


def _rows(table: pa.Table, first: int, count: int) -> dict[str, NDArray[Any]]:
    """The columns as arrays, lists one after another, with the rows of these episodes only."""
    episode = table.column("episode").to_numpy()
    wanted = (episode >= first) & (episode < first + count)
    if not wanted.all():
        table = table.filter(pa.array(wanted))
    found = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        values = (column.flatten() if pa.types.is_list(column.type) else column).to_numpy(zero_copy_only=False)
        found[name] = values.astype(np.int64, copy=False) if name in ("episode", "step", "task") else values
    return found


def _check_complete(
    user: int, first: int, alive: NDArray[np.bool_], steps: tuple[NDArray[np.int64], ...], missing: NDArray[Any]
) -> None:
    """Raises `WarehouseError` unless the user's episodes are complete.

    alive: the steps of the first user, (episodes, T). steps: episode and step of each row of the user. missing: how many tasks
    of each episode lack a row.
    """
    found = np.zeros_like(alive)
    found[steps] = True
    played = alive.sum(1, keepdims=True)
    wrong = (found != (np.arange(alive.shape[1]) < played)).any(1) | (played[:, 0] == 0) | (missing != 0)
    if wrong.any() or len(steps[0]) != found.sum():
        number = first + int(np.argmax(wrong))
        raise WarehouseError(
            f"episode {number} of user {user} is not complete in the warehouse: records were dropped, since "
            "its tiers were full. Replay needs all steps of its episodes; a larger archive keeps them."
        )
