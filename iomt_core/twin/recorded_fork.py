"""What would have happened? Forks a recorded episode at any of its steps, and plays its future with something changed.

A fork copies no records. The recording's scenario and seed draw the same tasks again, and the recorded actions give the
batteries at the step of the fork. So a fork is described by its parent (recording and episode), its step, and what is changed
from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.batch import concatenate
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy, Shares
from iomt_core.policies.dual import DualSolution
from iomt_core.record import Record
from iomt_core.rollout import Rollout
from iomt_core.scenario import Scenario, check_range, metadata
from iomt_core.training.catalogue import make_policy
from iomt_core.twin.northbound import checked_shares
from iomt_core.twin.warehouse.errors import Audit, WarehouseError, no_audit
from iomt_core.twin.warehouse.reading import Warehouse

# What may change at a step: it changes neither tasks nor places, which are drawn for the whole episode.
CHANGEABLE = (
    "users_off", "servers_off", "F_i", "F_k", "k0", "latency", "server_devices", "channel", "B_k", "N0", "PL0", "d0", "eta",
    "sigma2", "T_max", "E_ref", "alpha_T", "alpha_E", "c", "alpha", "mu", "gamma_t", "gamma_e",
)  # fmt: skip
COLUMNS = (
    "recording", "episode", "step", "task", "choice", "cpu_share_requested", "bandwidth_share_requested", "cost", "weight",
    "battery_j",
)  # fmt: skip
ROUNDING = 1e-9  # relative difference of results that were computed in another order


class RecordedActions(Policy):
    """Repeats the actions of a recorded episode."""

    name, label, summary = "recorded", "As recorded", "Repeats what was recorded."

    def __init__(self, s: Scenario, actions: Action) -> None:
        super().__init__(s)
        self._actions = actions  # (T, U, J)

    def decide(self, snapshot: Snapshot, dual: DualSolution | None = None) -> Action:
        """The recorded actions of the snapshots' steps."""
        return self._actions.select(self.scenario.T - snapshot.steps_left)


@dataclass(frozen=True)
class Fork:
    """A recorded episode from a step on: as it happened, and as it would have gone.

    step: the first step that may differ, from 1. overrides: changed values of the scenario, empty if there are none.
    happened, forked: records of the steps from this one to the episode's end.
    """

    step: int
    overrides: Mapping[str, Any]
    policy: str
    shares: Shares
    happened: Record
    forked: Record

    @property
    def words(self) -> str:
        """What is changed: "servers_off = 3, policy = greedy"; "nothing changed" if nothing is."""
        values = [f"{name} = {_as_text(value)}" for name, value in self.overrides.items()]
        values += [f"policy = {self.policy}"] * bool(self.policy) + [f"shares = {self.shares}"] * (self.shares != "own")
        return ", ".join(values) or "nothing changed"


def _as_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode of a recording, played again from its recorded actions."""

    recording: int
    scenario: Scenario
    policy: str
    seed: int
    shares: Shares
    actions: Action  # (T, U, J); steps after the episode's end skip all tasks
    record: Record

    @property
    def episode(self) -> int:
        """Its number in the recording, from 1."""
        return int(self.record.episode[0])

    def fork(
        self, step: int, overrides: Mapping[str, Any] | None = None, policy: str = "", shares: Shares | None = None
    ) -> Fork:
        """Plays the episode again from a step on, with something changed. Tasks and places stay the same.

        step: the first that may differ, from 1. overrides: values of `CHANGEABLE`, text with units is allowed, or a smaller
        number of `servers` or `users`, see `without_the_last`. policy: "" for the recorded one; with nothing changed, the
        recorded actions are repeated. A policy with memory keeps it if neither policy nor users change; otherwise it starts
        without. A user that is switched on has a full battery. Raises `ScenarioError`.
        """
        check_range("step", step, 1, len(self.record))
        changes = without_the_last(self.scenario, overrides or {})
        s, rule = changed(self.scenario, changes), self.shares if shares is None else checked_shares(shares)
        if s == self.scenario and policy in ("", self.policy) and rule == self.shares:
            rollout = Rollout(RecordedActions(s, self.actions), self._world(s, step))
        else:
            rollout = self._rollout(s, policy or self.policy, rule, step)
        other = policy if policy != self.policy else ""
        happened = self.record.select(slice(step - 1, None))
        return Fork(
            step, changes, other, rule if rule != self.shares else "own", happened, _played(rollout, self.episode)
        )

    def _rollout(self, s: Scenario, policy: str, shares: Shares, step: int) -> Rollout:
        """The policy at the step of the fork, with the memory that it has there."""
        decider, world = make_policy(policy, s), self._world(s, step)
        if policy != self.policy or decider.uses_past != "memory" or s.user_numbers != self.scenario.user_numbers:
            return Rollout(decider, world, shares)
        past = Environment(self.scenario, world_seeds(self.seed, self.episode - 1, 1), torch.float64)
        rollout = Rollout(make_policy(policy, self.scenario), past, self.shares)
        for _ in range(step - 1):
            rollout.step()
        rollout.policy, rollout.environment, rollout.shares = decider, world, shares
        return rollout

    def _world(self, s: Scenario, step: int) -> Environment:
        """The ward before the step of the fork, with the batteries that the recorded actions left."""
        world = Environment(s, world_seeds(self.seed, self.episode - 1, 1), torch.float64)
        shape = world.snapshot.D.shape
        idle = Action(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape), torch.zeros(shape))
        for _ in range(step - 1):  # only batteries depend on actions, and these are set below
            world.step(idle)
        known = dict(zip(self.scenario.user_numbers, self.record.snapshot.battery[step - 1].tolist(), strict=True))
        full = zip(s.user_numbers, s.device_values["Cap"], strict=True)
        charges = [known.get(user, charge) for user, charge in full]
        world.snapshot = replace(world.snapshot, battery=torch.tensor([charges], dtype=torch.float64))
        return world


def changed(s: Scenario, overrides: Mapping[str, Any]) -> Scenario:
    """The scenario with these values. Raises `WarehouseError` for one that would change what happened before a fork."""
    for name in overrides:
        if name not in CHANGEABLE:
            known = metadata()
            reason = "would change what happened before the fork" if name in known else "is not known"
            raise WarehouseError(f"{name} {reason}: a fork can change {', '.join(CHANGEABLE)}.")
    return s.changed(**overrides) if overrides else s


def without_the_last(s: Scenario, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with `servers_off` instead of a smaller number of `servers`: the last ones are switched off; users likewise.

    So all others keep their places and numbers. Raises `WarehouseError` for a larger number, or one beside `servers_off`.
    """
    found = dict(overrides)
    for name, numbers, off in (("servers", s.server_numbers, s.servers_off), ("users", s.user_numbers, s.users_off)):
        if name not in found:
            continue
        if f"{name}_off" in found:
            raise WarehouseError(f"{name} and {name}_off cannot both be changed: {name}_off says which ones are off.")
        value = str(found.pop(name)).strip()
        count = int(value) if value.isascii() and value.isdigit() else 0
        if not 1 <= count <= len(numbers):
            raise WarehouseError(
                f"{name} = {value[:60]!r} is out of range: allowed is 1 to {len(numbers)}, as many as were recorded. A fork can "
                f"switch {name} off, and cannot add any."
            )
        if count < len(numbers):
            found[f"{name}_off"] = tuple(sorted((*off, *numbers[count:])))
    return found


def overrides_from_words(words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE of each word. Raises `ScenarioError`."""
    found = {}
    for word in words:
        name, mark, value = word.partition("=")
        if not mark or not name.strip():
            raise WarehouseError(f"{word[:60]!r} is not a change: expected is NAME=VALUE, such as servers_off=3.")
        found[name.strip()] = value.strip()
    return found


def recorded_episode(
    folder: Path, episode: int = 1, recording: int | None = None, audit: Audit = no_audit
) -> RecordedEpisode:
    """Reads an episode of a warehouse and plays it again from its recorded actions; the warehouse stays as it is.

    episode: its number in the recording, from 1. recording: None for the latest one. It needs the keys of all users. Raises
    `WarehouseError`: for an episode that is not there, where records of some user were dropped or forgotten, and where the
    recorded results are not those that this version computes.
    """
    warehouse = Warehouse(folder, audit=audit)
    number, configurations = warehouse.configurations(recording)
    s, facts = warehouse.scenario_of(number), next(iter(configurations.values()))
    if "policy" not in facts:
        raise WarehouseError(
            f"recording = {number} cannot be forked: it is of a training run, whose policy changed from batch to batch. "
            "Record a policy with `iomt warehouse record`."
        )
    if missing := [user for user in s.user_numbers if user not in configurations]:
        raise WarehouseError(f"recording = {number} cannot be forked: user {missing[0]} was forgotten.")
    check_range("episode", episode, 1, facts["episodes"])
    ward = Environment(s, world_seeds(facts["seed"], episode - 1, 1), torch.float64)
    recorded = _read(warehouse, s, number, episode, ward.snapshot.active[0])
    choice = np.searchsorted(s.device_numbers, recorded["choice"])
    actions = Action(
        torch.from_numpy(choice),
        torch.from_numpy(recorded["cpu_share_requested"]),
        torch.from_numpy(recorded["bandwidth_share_requested"]).nan_to_num(0.0),
    )
    record = _played(Rollout(RecordedActions(s, actions), ward), episode)
    _check(record, recorded, number, episode)
    return RecordedEpisode(number, s, facts["policy"], facts["seed"], facts["shares"], actions, record)


def _played(rollout: Rollout, episode: int) -> Record:
    """Plays the episode to its end. Returns the record of the steps from here on."""
    number, parts = torch.tensor([episode]), list[Record]()
    while not rollout.done:
        parts.append(rollout.step().record(rollout.environment.scenario, number))
    return concatenate(parts)


def _read(
    warehouse: Warehouse, s: Scenario, recording: int, episode: int, active: Tensor
) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of the episode's tasks, (T, U, J) each; 0 where nothing is recorded. active: tasks of step 1, (U, J)."""
    names, shape = COLUMNS[4:], (s.T, *active.shape)
    found = {name: np.zeros(shape, np.int64 if name == "choice" else np.float64) for name in names}
    for place, user in enumerate(s.user_numbers):
        table = warehouse.log(user).tasks(columns=COLUMNS, recording=recording)
        values = {name: table.column(name).to_numpy() for name in COLUMNS}
        rows = values["episode"] == episode
        if not rows.any() and bool(active[place].any()):
            raise WarehouseError(
                f"episode = {episode} of recording {recording} is not there for user {user}: it was not recorded, or dropped "
                "since the archive was full."
            )
        steps, tasks = (values[name][rows].astype(np.int64) - 1 for name in ("step", "task"))
        for name in names:
            found[name][steps, place, tasks] = values[name][rows]
    return found


def _check(record: Record, recorded: Mapping[str, np.ndarray[Any, Any]], recording: int, episode: int) -> None:
    """Raises `WarehouseError` unless the replayed results are the recorded ones, up to rounding."""
    steps, active = (record.step - 1).numpy(), record.snapshot.active.numpy()
    columns = record.columns()
    for name in ("cost", "weight", "battery_j"):
        found, expected = columns[name].numpy()[active], recorded[name][steps][active]
        if not np.allclose(found, expected, rtol=ROUNDING, atol=ROUNDING * float(np.abs(expected).max(initial=0.0))):
            raise WarehouseError(
                f"episode {episode} of recording {recording} cannot be forked: {name} is not what was recorded. Records of "
                "it are missing, or another version of the lab recorded it."
            )
