"""A record of played steps as rows for the warehouse, sorted by user: one row a task, and one a user and step."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from iomt_core.record import Record


def task_rows(record: Record) -> pa.RecordBatch:
    """The columns of `Record.table`, and `observed_s`: time of the step in the ward, s from the first episode's first step."""
    snap, s = record.snapshot, record.scenario
    shape = snap.D.shape
    observed = _observed(record)[:, None, None].expand(shape)
    columns = {"observed_s": observed, **record.columns()}
    active = None if bool(snap.active.all()) else _by_user(snap.active)
    flat = {name: _by_user(x) if active is None else _by_user(x)[active] for name, x in columns.items()}
    kind = _by_user(snap.kind) if active is None else _by_user(snap.kind)[active]
    arrays = {name: pa.array(x.numpy()) for name, x in flat.items()}
    names = pa.array(s.kind_names)
    return pa.RecordBatch.from_pydict({**arrays, "kind": names.take(pa.array(kind.to(torch.int64).numpy()))})


def step_rows(record: Record, charge: Tensor | None = None, requested: Tensor | None = None) -> pa.RecordBatch:
    """One row for each user and step: status, the links that the user measures, what was decided, and the outcome. SI units.

    `reward` is 0 in a step that some user could not pay (C5). Lists about servers have an entry for each server in operation.
    What replay needs besides the tasks' rows: `battery_after_j`, the charge after the step, which is all that the step changes
    in the state; `task_choices`, the device of each of the J tasks, also of tasks that are missing; and `actor_outputs`, what
    the Actor output for each of them, one task after another.

    charge: after each step, (R, U) J; None: it is computed. requested: the Actors' outputs, (R, U, J, outputs): the shares of
    CPU and of bandwidth and, of an Actor that outputs a strategy, its number; None: the shares of the action, also the share of
    bandwidth of local tasks.
    """
    snap, out, act, s = record.snapshot, record.outcome, record.action, record.scenario
    steps, users, _, servers = snap.shape
    active, done = snap.active, snap.active & ~out.skipped
    if charge is None:
        charge = (snap.battery - out.energy.sum(2)).clamp_min(0.0)
    if requested is None:
        requested = torch.stack([act.cpu, act.bandwidth], -1)

    def per_user(x: Tensor) -> Tensor:
        return x[:, None].expand(steps, users)

    columns = {
        "observed_s": per_user(_observed(record)),
        "episode": per_user(record.episode),
        "step": per_user(record.step),
        "user": torch.tensor(s.user_numbers).expand(steps, users),
        "steps_left": per_user(snap.steps_left),
        "battery_j": snap.battery,
        "battery_after_j": charge,
        "power_w": snap.P_tr,
        "cpu_hz": snap.F_i,
        "x_m": snap.users_xy[..., 0],
        "y_m": snap.users_xy[..., 1],
        "tasks": active.sum(2),
        "delay_s": (out.delay * done).sum(2),
        "energy_j": out.energy.sum(2),
        "cost": (out.cost * snap.weight).sum(2),
        "deadline_missed": (out.missed & active).sum(2),
        "skipped": (out.skipped & active).sum(2),
        "reward": (out.reward * snap.weight).sum(2) * ~record.ended[:, None],
        "ended": per_user(record.ended),
    }
    arrays = {name: pa.array(_by_user(x).numpy()) for name, x in columns.items()}
    shape = (steps, users, servers)
    lists = {
        "server_cpu_hz": snap.F_k[:, None].expand(shape).double(),
        "server_bandwidth_hz": snap.B_k[:, None].expand(shape).double(),
        "link_bandwidth_hz": snap.beta.double(),
        "link_distance_m": snap.distance.double(),
        "task_choices": torch.tensor(s.device_numbers)[act.choice],
        "actor_outputs": requested.float(),
    }
    return pa.RecordBatch.from_pydict(arrays | {name: _lists(x) for name, x in lists.items()})


def _lists(x: Tensor) -> pa.Array:
    """Steps by users by values as one list of values for each step and user."""
    values = _by_user(x)
    size = x[0, 0].numel()
    return pa.ListArray.from_arrays(
        pa.array(np.arange(0, len(values) + 1, size, dtype=np.int32)), pa.array(values.numpy())
    )


def _observed(record: Record) -> Tensor:
    s = record.scenario
    return ((record.episode - 1) * s.T + record.step - 1).to(torch.float64) * s.step_time


def _by_user(x: Tensor) -> Tensor:
    """Steps by users (by tasks) as one row of values, sorted by user, then step, then task."""
    return x.transpose(0, 1).reshape(-1)
