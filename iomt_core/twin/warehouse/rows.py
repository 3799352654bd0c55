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


def step_rows(record: Record) -> pa.RecordBatch:
    """One row for each user and step: status, the links that the user measures, and the outcome. SI units.

    Lists have an entry for each server in operation. `reward` is 0 in a step that some user could not pay (C5).
    """
    snap, out, s = record.snapshot, record.outcome, record.scenario
    steps, users, _, servers = snap.shape
    active, done = snap.active, snap.active & ~out.skipped

    def per_user(x: Tensor) -> Tensor:
        return x[:, None].expand(steps, users)

    def lists(x: Tensor) -> pa.Array:
        values = x.transpose(0, 1).reshape(-1).to(torch.float64)
        offsets = np.arange(0, len(values) + 1, servers, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.numpy()))

    columns = {
        "observed_s": per_user(_observed(record)),
        "episode": per_user(record.episode),
        "step": per_user(record.step),
        "user": torch.tensor(s.user_numbers).expand(steps, users),
        "steps_left": per_user(snap.steps_left),
        "battery_j": snap.battery,
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
    arrays |= {
        "server_cpu_hz": lists(snap.F_k[:, None].expand(shape)),
        "server_bandwidth_hz": lists(snap.B_k[:, None].expand(shape)),
        "link_bandwidth_hz": lists(snap.beta),
        "link_distance_m": lists(snap.distance),
    }
    return pa.RecordBatch.from_pydict(arrays)


def _observed(record: Record) -> Tensor:
    s = record.scenario
    return ((record.episode - 1) * s.T + record.step - 1).to(torch.float64) * s.step_time


def _by_user(x: Tensor) -> Tensor:
    """Steps by users (by tasks) as one row of values, sorted by user, then step, then task."""
    return x.transpose(0, 1).reshape(-1)
