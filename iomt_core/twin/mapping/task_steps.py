"""A user's tasks over time, one row a step: what a generative model learns from and what it makes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iomt_core.scenario import scenario
from iomt_core.scenario.files import write_text_atomically
from iomt_core.scenario.parameters import KILOBYTE
from iomt_core.scenario.tables import WORKLOAD_COLUMNS
from iomt_core.twin.mapping.own_episodes import column_values
from iomt_core.twin.mapping.sealed_log import SealedLog
from iomt_core.twin.warehouse.errors import WarehouseError

Array = NDArray[np.float64]
ATTRIBUTES = ("data_bits", "cycles", "priority", "kind")  # kind: number of its name in alphabetical order
COLUMNS = ("episode", "step", "task", *ATTRIBUTES)
TRAINING_PART = 0.7  # of the recorded steps, the earliest
FEWEST = 40  # steps in each part


@dataclass(frozen=True)
class TaskSteps:
    """R steps of one user, at most J tasks in each, in the order of time.

    values: (R, J, A) by `attributes`; NaN where there is no task. The tasks of a step come first and count as exchangeable.
    follows: (R,) whether the step follows the one before, (R,) False at the start of an episode.
    """

    attributes: tuple[str, ...]
    values: Array
    follows: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def counts(self) -> Array:
        """Number of tasks of each step, (R,)."""
        return np.asarray((~np.isnan(self.values[..., 0])).sum(1), np.float64)

    @property
    def tasks(self) -> Array:
        """All tasks, (N, A)."""
        flat = self.values.reshape(-1, len(self.attributes))
        return flat[~np.isnan(flat[:, 0])]

    def part(self, rows: slice) -> TaskSteps:
        """Some of the steps."""
        follows = self.follows[rows].copy()
        follows[:1] = False
        return TaskSteps(self.attributes, self.values[rows], follows)


def split_by_time(steps: TaskSteps) -> tuple[TaskSteps, TaskSteps]:
    """The earlier steps to train on, and the later ones that are held out. Raises `WarehouseError` for too few."""
    cut = int(len(steps) * TRAINING_PART)
    if min(cut, len(steps) - cut) < FEWEST:
        need = int(np.ceil(FEWEST / (1 - TRAINING_PART)))
        raise WarehouseError(f"the log has {len(steps)} steps with tasks of their own: at least {need} are needed.")
    return steps.part(slice(cut)), steps.part(slice(cut, None))


def recorded_tasks(log: SealedLog | Any, recording: int | None = None) -> TaskSteps:
    """The tasks of a recording (None: the latest). An own workload repeats in every episode and counts once.

    log: a `UserWarehouse` too if the recording is given. Raises `WarehouseError`.
    """
    number = log.latest_recording if recording is None else recording
    s = scenario(log.configuration(number)["scenario"])
    tasks = log.tasks(columns=COLUMNS, recording=number)
    steps = log.steps(columns=("episode", "step"), recording=number)
    task, step = ({name: column_values(table.column(name)) for name in table.column_names} for table in (tasks, steps))
    if not len(step["step"]) or not len(task["step"]):
        raise WarehouseError(f"recording = {number} of user {log.user} has no tasks.")
    if s.workload is not None:
        first = step["episode"].min()
        task, step = ({name: x[of["episode"] == first] for name, x in of.items()} for of in (task, step))
    codes = np.unique(task["kind"].astype(str), return_inverse=True)[1]
    many = bool(codes.max(initial=0))
    attributes = ATTRIBUTES if many else ATTRIBUTES[:3]
    time = np.unique(step["episode"].astype(np.int64) * (s.T + 1) + step["step"])
    row = np.searchsorted(time, task["episode"].astype(np.int64) * (s.T + 1) + task["step"])
    known = (row < len(time)) & (time[np.minimum(row, len(time) - 1)] == task["episode"] * (s.T + 1) + task["step"])
    order = np.lexsort((task["task"], row))
    order = order[known[order]]
    place = np.arange(len(order)) - np.searchsorted(row[order], row[order])  # 0, 1, … in each step
    values = np.full((len(time), s.tasks, len(attributes)), np.nan)
    columns = [codes if name == "kind" else task[name] for name in attributes]
    values[row[order], place] = np.stack([np.asarray(x, np.float64)[order] for x in columns], -1)
    follows = np.concatenate([[False], np.diff(time) == 1])
    return TaskSteps(attributes, values, follows)


def workload_csv(users: Sequence[tuple[int, TaskSteps]]) -> str:
    """Tasks of some users as a CSV that `scenario.tables.read_workload_csv` reads; their kinds are left out."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(WORKLOAD_COLUMNS)
    for step in range(max(len(steps) for _, steps in users)):
        for user, steps in users:
            for D, C, P, *_ in steps.values[step] if step < len(steps) else ():
                if not np.isnan(D):
                    rows.writerow([step + 1, user, f"{D / KILOBYTE:.6g}", f"{C:.6g}", f"{P:.0f}"])
    return text.getvalue()


def write_workload(path: Path, users: Sequence[tuple[int, TaskSteps]]) -> None:
    """Writes `workload_csv` to a file, completely or not at all. Raises `ScenarioError`."""
    write_text_atomically(path, workload_csv(users))
