"""A table of tasks: whose they are, when they arise, their sizes, and the steps that times become."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from iomt_core.scenario.dialect import Dialect
from iomt_core.scenario.errors import ScenarioError
from iomt_core.scenario.importing.columns import fields_of
from iomt_core.scenario.importing.options import Input
from iomt_core.scenario.importing.read import Table
from iomt_core.scenario.importing.values import Findings, numbers, texts, times
from iomt_core.scenario.importing.work import Work, clean_name, identities_of, positions
from iomt_core.scenario.parameters import (
    MOST_EPISODE_TASKS,
    MOST_KINDS,
    MOST_TASKS,
    Scenario,
    WorkloadTask,
    counted,
    metadata,
)
from iomt_core.scenario.tables import with_workload
from iomt_core.scenario.units import read_number

OTHER = "other"  # the kind of tasks whose kind is rare
SHOWN_EVERY = 20_000  # tasks
USUAL_STEPS = 200  # a step's length is chosen so that there are at most so many
# Lengths of a step that are offered, seconds.
LENGTHS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 604_800,
)  # fmt: skip
PER_BIT = re.compile(r"(.+?)\s*(?:cycles?\s*)?(?:per|/)\s*bit")


@dataclass
class TaskTable:
    """The tasks of a table, in its order. step from 1; data in bit, deadline in s, NaN where there is none."""

    table: Table
    rows: np.ndarray
    user: np.ndarray  # text
    seconds: np.ndarray | None  # or the steps below
    step: np.ndarray | None
    data: np.ndarray
    cycles: np.ndarray
    priority: np.ndarray
    kind: np.ndarray | None
    deadline: np.ndarray | None
    x: np.ndarray | None
    y: np.ndarray | None
    is_degrees: bool


def read_tasks(work: Work, one: Input) -> TaskTable:
    """Read a table of tasks. Raises `ScenarioError`."""
    options, table = work.options, one.table
    work.progress(0.2, f"reading {table.name}")
    work.need(one, ("user",))
    work.need(one, ("step",), ("time",))
    for name in ("data", "cycles"):
        if name not in options.values:
            try:
                work.need(one, (name,))
            except ScenarioError as error:
                example = "30 KB" if name == "data" else "150 kcycles', or '1000 per bit"
                raise ScenarioError(f"{error} Or set it for all tasks: {name} = '{example}'.") from None
    if {"step", "time"} <= one.uses.keys():
        uses = {name: use for name, use in one.uses.items() if name != ("time" if one.uses["step"].given else "step")}
        if one.uses["time"].given == one.uses["step"].given:
            uses = {name: use for name, use in one.uses.items() if name != "time"}
        one = replace(one, uses=uses)
    uses = {name: use for name, use in one.uses.items() if name not in options.values}
    one = replace(one, uses=uses)
    dialect, findings = work.dialect(one), work.findings(one)
    work.describe(one, dialect)
    user = identities_of(one, "user", findings)
    seconds = step = None
    if "step" in uses:
        step = work.column(one, "step", dialect, findings)
    else:
        seconds, how = times(table, uses["time"], dialect, findings, options.dates)
        work.say("taken", f"{table.name}: times read as {how}.")
    work.progress(0.35, f"reading {table.name}")
    values = {name: _constant(name, text) for name, text in options.values.items() if name != "kind"}
    data = _values_or(work, one, "data", dialect, findings, values)
    if (per_bit := PER_BIT.fullmatch(options.values.get("cycles", ""))) is not None:
        cycles = data * _number(per_bit[1], "cycle", "set cycles")
        meta = metadata()["C"]
        outside = (cycles < (meta.low or 0)) | (cycles > (meta.high or math.inf))
        reason = f"the cycles of so much data are out of range; allowed is {meta.allowed()}"
        if "data" in uses:
            findings.refuse(outside, uses["data"].column, reason)
        elif outside.any():
            raise ScenarioError(f"set cycles = {options.values['cycles'][:40]!r}: {reason}.")
    else:
        cycles = _values_or(work, one, "cycles", dialect, findings, values)
    for name, text in options.values.items():
        work.say("taken", f"all tasks: {name} = {text}.")
    priority = _values_or(work, one, "priority", dialect, findings, values, 1.0)
    if "priority" in uses and np.isnan(priority).any():
        work.say(
            "changed", f"{table.name}: {int(np.isnan(priority).sum()):,} tasks without a priority have priority 1."
        )
    deadline = _values_or(work, one, "deadline", dialect, findings, values, math.nan)
    kind = None
    if "kind" in options.values:
        kind = np.full(table.rows, options.values["kind"], dtype=object)
    elif "kind" in uses:
        kind = texts(table, uses["kind"])
    x = y = None
    is_degrees = False
    if {"latitude", "longitude"} <= uses.keys() or {"x", "y"} <= uses.keys() or "location" in uses:
        x, y, is_degrees = positions(work, one, dialect, findings)
    keep = work.settle(one, findings)
    keep = _one_episode(work, one, dialect, keep)
    rows = np.flatnonzero(keep)

    def kept(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    work.progress(0.5, f"reading {table.name}")
    found = TaskTable(
        table, rows, user[rows], kept(seconds), kept(step), data[rows], cycles[rows], np.nan_to_num(priority[rows], nan=1.0),
        kept(kind), None if np.isnan(deadline).all() else deadline[rows], kept(x), kept(y), is_degrees,
    )  # fmt: skip
    return found


def _values_or(
    work: Work, one: Input, name: str, dialect: Dialect, findings: Findings, values: Mapping[str, float],
    otherwise: float | None = None,
) -> np.ndarray:  # fmt: skip
    """A column of tasks, or the value that was set for all, or `otherwise`."""
    if name in values:
        return np.full(one.table.rows, values[name])
    if name in one.uses:
        return work.column(one, name, dialect, findings, optional=otherwise is not None)
    return np.full(one.table.rows, math.nan if otherwise is None else otherwise)


def _constant(name: str, text: str) -> float:
    """A value for all tasks, SI. Raises `ScenarioError`."""
    if name == "cycles" and PER_BIT.fullmatch(text):
        return math.nan
    field = fields_of("tasks")[name]
    value = _number(text, field.unit, f"set {name}")
    meta = metadata()[field.parameters[0]]
    if not (meta.low or 0) <= value <= (meta.high or math.inf) or (field.kind == "whole" and value != int(value)):
        raise ScenarioError(f"set {name} = {text[:40]!r} is out of range: allowed is {meta.allowed()}.")
    return value


def _number(text: str, unit: str, where: str) -> float:
    try:
        return float(read_number(text, unit))
    except ValueError as error:
        raise ScenarioError(f"{where} = {text[:40]!r} cannot be used: {error}.") from None


def _one_episode(work: Work, one: Input, dialect: Dialect, keep: np.ndarray) -> np.ndarray:
    """Of exported decisions the rows of one episode: each episode begins with step 1 again."""
    if "episode" not in one.uses:
        return keep
    episodes = numbers(one.table, one.uses["episode"], dialect, Findings(one.table), optional=True)
    present = np.unique(episodes[keep & ~np.isnan(episodes)]).astype(int).tolist()
    wanted = work.options.episode if work.options.episode is not None else (present or [0])[0]
    if wanted not in present:
        present = present or [0]
        raise ScenarioError(f"episode = {wanted} is not in {one.table.name}: allowed is {present[0]} to {present[-1]}.")
    if len(present) > 1:
        work.say("dropped", f"{one.table.name}: all episodes but {wanted}; it has {present[0]} to {present[-1]}.")
    return np.asarray(keep & (episodes == wanted))


def keep_tasks(tasks: TaskTable, mask: np.ndarray) -> None:
    """Leave out all tasks but those of a mask, in place."""
    for name in ("rows", "user", "seconds", "step", "data", "cycles", "priority", "kind", "deadline", "x", "y"):
        values = getattr(tasks, name)
        if values is not None:
            setattr(tasks, name, values[mask])


def with_tasks(work: Work, s: Scenario, tasks: TaskTable, users: Mapping[str, int] | None) -> Scenario:
    """The scenario with the tasks of a table. users: the number of each id. Raises `ScenarioError`."""
    assert users is not None
    number = pd.Series(tasks.user).map(users)
    if number.isna().any():  # those who are not among the busiest
        mask = ~number.isna().to_numpy()
        keep_tasks(tasks, mask)
        number = number[mask]
    if not len(number):
        raise ScenarioError(f"{tasks.table.name}: no task is left.")
    user = number.to_numpy().astype(int)
    step, s = _steps(work, s, tasks, user)
    if len(user) > MOST_TASKS:
        raise ScenarioError(
            f"{len(user):,} tasks, allowed 1 to {MOST_TASKS:,}: take fewer users (busiest users), or split the table."
        )
    kinds = _kinds(work, tasks)
    order = np.lexsort((np.arange(len(user)), user, step))
    columns = [step[order].tolist(), user[order].tolist(), tasks.data[order].tolist(), tasks.cycles[order].tolist(),
               tasks.priority[order].astype(int).tolist()]  # fmt: skip
    kind = [None] * len(user) if kinds is None else kinds[order].tolist()
    deadline: list[float | None] = [None] * len(user)
    if tasks.deadline is not None and not _is_usual(tasks.deadline, s):
        deadline = [None if math.isnan(x) else x for x in tasks.deadline[order].tolist()]
    made: list[WorkloadTask] = []
    for t, i, d, c, p, k, limit in zip(*columns, kind, deadline, strict=True):
        if len(made) % SHOWN_EVERY == 0:
            work.progress(0.7 + 0.2 * len(made) / len(user), "making tasks")
        # Not checked again: all values were, as whole columns.
        made.append(WorkloadTask.model_construct(step=t, user=i, D=d, C=c, P=p, kind=k or None, T_max=limit))
    work.progress(0.9, "checking the scenario")
    done = with_workload(s, tuple(made))
    work.say("taken", f"{len(made):,} tasks of {counted(done.ward_users, 'user')} in {counted(done.T, 'step')}, at most "
             f"{done.tasks} a user and step.")  # fmt: skip
    return done


def _is_usual(deadline: np.ndarray, s: Scenario) -> bool:
    """Whether all deadlines are those that tasks have without one of their own, as exported decisions write them."""
    return not any(kind.T_max for kind in s.kinds) and bool((np.abs(deadline / s.T_max - 1) < 1e-9).all())


def _kinds(work: Work, tasks: TaskTable) -> np.ndarray | None:
    if tasks.kind is None:
        return None
    counts = pd.Series(tasks.kind).value_counts()
    names = {text: clean_name(str(text)) for text in counts.index}
    if set(names.values()) <= {"", "task"}:  # what exported decisions have where tasks have no kind
        return None
    if len(set(names.values()) - {""}) > MOST_KINDS:
        often = list(counts.index[: MOST_KINDS - 1])
        work.say(
            "changed",
            f"{len(counts)} kinds, allowed are {MOST_KINDS}: the {len(counts) - len(often)} rarest are {OTHER!r}.",
        )
        names = {text: name if text in often else OTHER for text, name in names.items()}
    if changed := [text for text, name in names.items() if name not in (text, OTHER)]:
        work.say("changed", f"{counted(len(changed), 'name')} of kinds shortened or cleaned.")
    return pd.Series(tasks.kind).map(names).to_numpy(dtype=object)


def _steps(work: Work, s: Scenario, tasks: TaskTable, user: np.ndarray) -> tuple[np.ndarray, Scenario]:
    """The step of every task, from 1, and the scenario with the step's length where it has one."""
    most_steps, most_tasks = (int(metadata()[name].high or 0) for name in ("T", "tasks"))
    if tasks.seconds is None:
        assert tasks.step is not None
        step = tasks.step.astype(np.int64)
        if step.max() > most_steps:
            row = int(tasks.rows[int(step.argmax())])
            raise ScenarioError(
                f"{tasks.table.where(row)}: step {step.max():,} is out of range: allowed is 1 to {most_steps:,}. "
                "If it is a time, map it as time with its unit."
            )
        most, where = _fullest(step, user)
        if most > most_tasks:
            first = int(tasks.rows[where])
            raise ScenarioError(
                f"{tasks.table.where(first)}: user {tasks.user[where][:40]!r} has {most} tasks in step {step[where]}; "
                f"allowed are {most_tasks}."
            )
        return step, s
    start = float(tasks.seconds.min())
    length = work.options.step
    if length is None:
        length = _usual_length(tasks.seconds - start, user, s, most_steps, most_tasks)
    step = np.floor((tasks.seconds - start) / length + 1e-6).astype(np.int64) + 1
    if step.max() > most_steps:
        fits = next((one for one in LENGTHS if (tasks.seconds.max() - start) / one < most_steps), None)
        advice = f"; a step of {_length_words(fits)} fits" if fits else ""
        raise ScenarioError(
            f"step = {_length_words(length)} gives {step.max():,} steps: allowed are {most_steps:,}{advice}."
        )
    most, where = _fullest(step, user)
    if most > most_tasks:
        raise ScenarioError(
            f"step = {_length_words(length)}: user {tasks.user[where][:40]!r} has {most} tasks in step {step[where]} (line "
            f"{tasks.table.line(int(tasks.rows[where]))} is one): allowed are {most_tasks}. Choose a shorter step."
        )
    chosen_by = "chosen" if work.options.step is not None else "a usual length that fits"
    work.say("changed", f"times became {int(step.max()):,} steps of {_length_words(length)} ({chosen_by}).")
    meta = metadata()["step_time"]
    if (meta.low or 0) <= length <= (meta.high or math.inf):
        s = s.changed(step_time=length)
    return step, s


def _fullest(step: np.ndarray, user: np.ndarray) -> tuple[int, int]:
    """The most tasks that a user has in a step, and the place of one of them."""
    _, first, counts = np.unique(step * 4096 + user, return_index=True, return_counts=True)
    n = int(counts.argmax())
    return int(counts[n]), int(first[n])


def _usual_length(elapsed: np.ndarray, user: np.ndarray, s: Scenario, most_steps: int, most_tasks: int) -> float:
    """The shortest of `LENGTHS` with at most `USUAL_STEPS` steps, or a shorter one where users have too many tasks in a step."""
    users, fitting = int(user.max()), []
    for length in LENGTHS:
        steps = int(elapsed.max() / length + 1e-6) + 1
        if steps > most_steps:
            continue
        most, _ = _fullest(np.floor(elapsed / length + 1e-6).astype(np.int64) + 1, user)
        if most > most_tasks:
            break
        if steps * users * most <= MOST_EPISODE_TASKS:
            fitting.append(length)
            if steps <= USUAL_STEPS:
                break
    if not fitting:
        raise ScenarioError(
            f"no length of a step fits: over {elapsed.max():,.0f} s some user has more than {most_tasks} tasks in each step that "
            f"would be long enough for {most_steps:,} steps. Take fewer users or a shorter time."
        )
    return fitting[-1]


def _length_words(seconds: float | None) -> str:
    """A length in the largest unit that fits: "5 min"."""
    assert seconds is not None
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
