"""What of a twin leaves over HTTP, and to whom.

An operator gets decisions and outcomes of tasks, but not what the tasks are (D, C, P), nor the rates, times of transmission and
shares from which these follow by one multiplication. Management gets ô and ŝ.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from iomt_core.environment.observation import MIXER_NAMES, OF_TASKS, limited_state, mixer_observation
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import catalogue
from iomt_core.twin.management import registry
from iomt_core.twin.management.trace import Trace
from iomt_core.twin.northbound import Twin, Why

STEP_COLUMNS = (
    "episode", "step", "user", "task", "choice", "skipped", "delay_s", "energy_j", "cost", "deadline_missed",
)  # fmt: skip
WHY_COLUMNS = (
    "choice", "device", "chosen", "delay_s", "energy_j", "cost", "energy_later", "deadline_missed", "skipped",
    "ward_change", "later_change", "cpu_price", "bandwidth_price",
)  # fmt: skip
STATE_DEMAND = ("data", "cycles", "weight")


def step_view(record: Record, done: bool) -> dict[str, Any]:
    """A played step for the operator who owns the twin: `tasks` has a list for each of `STEP_COLUMNS`, as in `Record.table`.

    total: weighted cost of the step; bound: certified lower bound on it. A table of pandas would take a third of the step's time.
    """
    columns, active = record.columns(), record.snapshot.active
    tasks = {name: columns[name][active].numpy() for name in STEP_COLUMNS}
    facts = {"step": int(record.step), "done": done, "total": float(record.totals), "bound": float(record.bound)}
    return {**facts, "tasks": tasks}


def why_view(why: Why) -> dict[str, Any]:
    """The alternatives of a task for the operator who owns the twin."""
    facts = {name: getattr(why, name) for name in ("step", "user", "task", "chosen", "rule")}
    return {**facts, "alternatives": why.alternatives[list(WHY_COLUMNS)].to_dict("list")}


def observations_view(twin: Twin, step: int) -> dict[str, Any]:
    """ô of a played step, for management: a list of numbers for each user, named by `MIXER_NAMES`.

    The sums of a user with a single task would be that task's D, C and P, so they are null. Raises `ScenarioError`.
    """
    snapshot = _snapshot(twin, step)
    values: list[list[float | None]] = mixer_observation(snapshot, twin.scenario)[0].tolist()
    for row, tasks in zip(values, snapshot.active[0].sum(1).tolist(), strict=True):
        if tasks == 1:
            row[:OF_TASKS] = [None] * OF_TASKS
    return {"step": step, "names": MIXER_NAMES, "users": twin.scenario.user_numbers, "observations": values}


def state_view(twin: Twin, step: int) -> dict[str, Any]:
    """ŝ of a played step, for management. Raises `ScenarioError`.

    If exactly one user has a single task, the ward's demand minus ô of the others would be that task, so the demand is null.
    """
    s, snapshot = twin.scenario, _snapshot(twin, step)
    values: list[float | None] = limited_state(snapshot, s)[0].tolist()
    servers = [f"{name}[{k}]" for name in ("bandwidth", "cpu") for k in s.server_numbers]
    names = [*servers, "tasks", *STATE_DEMAND, "users"]
    if int((snapshot.active[0].sum(1) == 1).sum()) == 1:
        values = [None if name in STATE_DEMAND else value for name, value in zip(names, values, strict=True)]
    return {"step": step, "names": names, "state": values}


def models_view() -> dict[str, Any]:
    """All policies, with the version and the aliases of trained ones, each with its scopes. Raises `ScenarioError`."""
    versions = {name: model for model in registry.models() for name in model.names}
    listed = []
    for one in catalogue().values():
        model = versions.get(one.name)
        facts: dict[str, Any] = {"version": None, "aliases": {}, "gap": None, "measured_on": "", "problem": ""}
        if model is not None:
            facts = {name: getattr(model, name) for name in facts}
        listed.append({**asdict(one), "trained": one.trained, **facts})
    return {"models": listed}


def trace_view(trace: Trace) -> dict[str, Any]:
    """How a step was coordinated, for management: ô as in `observations_view`, the mixer's weights, and the device of each task.

    Task data that crossed a border are left out: of a user with a single offloaded task they would be its D.
    """
    facts = trace.as_dict()
    for agent, active in zip(facts["agents"], trace.record.snapshot.active[0].sum(1).tolist(), strict=True):
        if active == 1:
            agent.update({f"ô {name}": None for name in MIXER_NAMES[:OF_TASKS]})
    values = [[agent[f"ô {name}"] for name in MIXER_NAMES] for agent in facts["agents"]]
    borders = [border for border in facts["borders"] if border["counted"] == "encoded"]
    kept = ("step", "policy", "mixer", "joint_value", "attention", "agents")
    return {
        **{name: facts[name] for name in kept},
        "observations": {"names": MIXER_NAMES, "values": values},
        "decisions": trace.decisions().drop(columns="device").to_dict("list"),
        "borders": borders,
    }


def _snapshot(twin: Twin, step: int) -> Any:
    try:
        record = twin.record()
    except RuntimeError:
        raise ScenarioError(f"step = {step} was not played: no step was.") from None
    found = (record.step == step).nonzero().flatten()
    if not len(found):
        raise ScenarioError(f"step = {step} was not played: allowed is 1 to {int(record.step.max())}.")
    row = int(found[0])
    with torch.no_grad():
        return record.snapshot.select(slice(row, row + 1))
