"""Observations of the agents, eq. (14), and of the mixer, scaled to about [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from iomt_core.model.channel import mean_rate
from iomt_core.model.snapshot import Snapshot
from iomt_core.scenario import Scenario

MIXER_NAMES = ("data", "cycles", "weight", "power", "cpu", "battery")  # of the numbers of ô_i
MIXER_OBSERVATION_SIZE = len(MIXER_NAMES)
OF_TASKS = 3  # the first of them are sums over the user's tasks
EFFICIENCY_SCALE = 30.0  # bit/s/Hz; the paper's channel gives 28 to 29


def size(s: Scenario) -> int:
    """Length n of one agent's observation."""
    links = s.servers * ((s.channel == "log-distance") + s.has_latency)
    return len(task_names(s)) * s.tasks + 3 + 2 * s.servers + links


def task_names(s: Scenario) -> tuple[str, ...]:
    """Names of what an agent observes of each of its tasks. Deadlines are among it only where they differ."""
    return ("D", "C", "P", "T_max") if s.deadlines_differ else ("D", "C", "P")


def names(s: Scenario) -> list[str]:
    """Names of an observation's n values, in order."""
    tasks = [f"{x}[{j}]" for x in task_names(s) for j in range(1, s.tasks + 1)]
    links = [f"efficiency[{k}]" for k in s.server_numbers] if s.channel == "log-distance" else []
    servers = [f"{x}[{k}]" for x in ("B_k", "F_k") for k in s.server_numbers]
    latency = [f"latency[{k}]" for k in s.server_numbers] if s.has_latency else []
    return [*tasks, "P_tr", "Cap", "F_i", *servers, *links, *latency]


def observe(snapshot: Snapshot, s: Scenario) -> Tensor:
    """Observations of all agents, (B, U, n), eq. (14). An agent does not observe the tasks of other users.

    Task sizes are relative to the largest that can occur; a missing task is all 0. Where deadlines differ, the deadline of
    each task is observed too, see `scaled_deadlines`. With channel "log-distance" an agent also observes its mean spectral
    efficiency to each server, which a device can measure, and where servers have a latency, that of each. What devices have is
    relative to the largest of the ward.
    """
    b, u, _, _ = snapshot.shape
    P = snapshot.P if snapshot.all_active else snapshot.P * snapshot.active
    parts = [
        (snapshot.D, s.data_span[1]),
        (snapshot.C, s.cycle_span[1]),
        (P, s.priority_span[1]),
        *([(scaled_deadlines(snapshot, s), 1.0)] if s.deadlines_differ else []),
        (snapshot.P_tr[..., None], s.largest["P_tr"]),
        (snapshot.battery[..., None], s.largest["Cap"]),
        (snapshot.F_i[..., None], s.largest["F_i"]),
    ]
    rest = [_capacities(snapshot, s)[:, None].expand(b, u, -1)]
    if s.channel == "log-distance":
        rest.append(efficiency(snapshot, s))
    if s.has_latency:
        rest.append((snapshot.latency / s.largest["latency"])[:, None].expand(b, u, -1))
    if torch.compiler.is_compiling():
        return torch.cat([*(x * (1 / largest) for x, largest in parts), *rest], dim=-1)
    # Written in place, so that scaling and copying are one pass.
    observation, start = snapshot.D.new_empty(b, u, size(s)), 0
    for x, largest in parts:
        torch.mul(x, 1 / largest, out=observation[..., start : start + x.shape[-1]])
        start += x.shape[-1]
    for x in rest:
        observation[..., start : start + x.shape[-1]] = x
        start += x.shape[-1]
    return observation


def _capacities(snapshot: Snapshot, s: Scenario) -> Tensor:
    """Bandwidth and CPU of the servers relative to the largest of the ward, (B, 2K)."""
    return torch.cat([snapshot.B_k / s.largest["B_k"], snapshot.F_k / s.largest["F_k"]], dim=1)


def scaled_deadlines(snapshot: Snapshot, s: Scenario) -> Tensor:
    """Deadline of each task, (B, U, J), from 0 for the shortest of the ward to 1 for the longest; 0 for a missing task.

    In the logarithm, because deadlines of one ward lie between milliseconds and a day. Only where deadlines differ.
    """
    low, high = s.deadline_span
    scaled = (snapshot.deadline / low).log_().div_(math.log(high / low)).clamp_(0.0, 1.0)
    return scaled if snapshot.all_active else scaled * snapshot.active


def efficiency(snapshot: Snapshot, s: Scenario) -> Tensor:
    """Mean spectral efficiency of each link at an equal share of the bandwidth, (B, U, K), in units of `EFFICIENCY_SCALE`."""
    share = equal_share(snapshot, s)
    return mean_rate(share, snapshot.beta) / share / EFFICIENCY_SCALE


def equal_share(snapshot: Snapshot, s: Scenario) -> Tensor:
    """The bandwidth of each server that a task gets if all tasks are sent and spread evenly, (B, 1, K) Hz."""
    return snapshot.B_k[:, None] / max(1.0, s.users * s.tasks / s.servers)


def limited_state(snapshot: Snapshot, s: Scenario) -> Tensor:
    """Limited global state ŝ, (B, 2K + 5): resources of the servers, counts and total demand, but no tasks of single users."""
    count = s.users * s.tasks
    active = snapshot.active.sum((1, 2))
    counts = torch.stack(
        [
            active / count,
            (snapshot.D.sum((1, 2)) / (count * s.data_span[1])),
            (snapshot.C.sum((1, 2)) / (count * s.cycle_span[1])),
            (snapshot.weight.sum((1, 2)) / count),
            torch.full_like(active, math.log2(s.users + 1) / 4, dtype=snapshot.D.dtype),
        ],
        dim=1,
    )
    return torch.cat([_capacities(snapshot, s), counts.to(snapshot.D.dtype)], dim=1)


def mixer_observation(snapshot: Snapshot, s: Scenario) -> Tensor:
    """Corrected observations ô_i for the mixer, (B, U, 6): sums over a user's tasks, P_tr, F_i and battery charge."""
    j = s.tasks
    return torch.stack(
        [
            snapshot.D.sum(-1) / (j * s.data_span[1]),
            snapshot.C.sum(-1) / (j * s.cycle_span[1]),
            snapshot.weight.sum(-1) / j,
            snapshot.P_tr / s.largest["P_tr"],
            snapshot.F_i / s.largest["F_i"],
            snapshot.battery / snapshot.battery.new_tensor(s.device_values["Cap"]),
        ],
        dim=-1,
    )
