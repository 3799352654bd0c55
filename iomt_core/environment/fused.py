"""One step of many worlds as a single compiled kernel: the functions of model/ and this folder, fused by torch.compile.

Step by step, eager tensors pass through memory once an operation; fused they pass once. It takes a C++ compiler, some
seconds the first time, and a ward whose tasks are drawn plainly. Everything else goes the eager way.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from functools import lru_cache

import torch
from torch import Tensor

from iomt_core.environment import counter
from iomt_core.environment.observation import observe
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import Scenario

log = logging.getLogger(__name__)

STATE = ("D", "C", "P", "weight", "P_tr", "battery", "F_i", "F_k", "B_k", "beta")
RESULT = tuple(field.name for field in fields(Outcome))


def fits(s: Scenario) -> bool:
    """Whether the scenario's steps can be fused: fresh uniform tasks, nothing that moves."""
    return s.workload is None and not (s.kinds or s.burst or s.speed or s.background)


def step(s: Scenario, key: Tensor, spans: tuple[counter.Span, ...], state: tuple[Tensor, ...], action: Action, most: float) -> tuple[Tensor, ...]:
    """Outcome of the action, battery left, rewards of agents, and the next step's tasks and observations."""
    now = snapshot_of(state, most)
    done = outcome(now, action, s)
    left = now.battery - done.energy.sum(-1)
    rewards = (done.reward * now.weight).sum(-1)
    D, C, P = (x.view(now.D.shape) for x in counter.keyed_parts(key, spans, s.users * s.tasks))  # type: ignore[arg-type]
    P = P.floor()
    weight = P / s.mean_P
    battery = left.clamp_min(0.0)
    later = snapshot_of((D, C, P, weight, now.P_tr, battery, *state[6:]), most)
    return (*(getattr(done, name) for name in RESULT), left, rewards, D, C, P, weight, battery, observe(later, s))


def snapshot_of(state: tuple[Tensor, ...], most: float) -> Snapshot:
    """What prices and observations need of a snapshot, in the order of `STATE`."""
    D = state[0]
    return Snapshot(
        **dict(zip(STATE, state, strict=True)),  # type: ignore[arg-type]
        active=D, kind=D, users_xy=D, servers_xy=D, distance=D, key=D, most=most, complete=True,
    )  # fmt: skip


@lru_cache(maxsize=8)
def compiled(s: Scenario, worlds: int):  # type: ignore[no-untyped-def]
    """The kernel of a scenario for a number of worlds."""
    del worlds
    return torch.compile(step, fullgraph=True, dynamic=False)
