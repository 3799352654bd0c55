"""One step of many worlds as a single kernel, which torch.compile makes from the functions of model/ and this folder.

Every eager operation reads and writes memory; the fused kernel does so once in a step. It needs a C++ compiler, some seconds
to compile, and a scenario without dynamics, task kinds, own workload or users that are switched off. Otherwise steps run
eagerly.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from iomt_core.environment import counter
from iomt_core.environment.observation import observe
from iomt_core.environment.world import World
from iomt_core.model.outcome import Outcome, evaluate_step
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.special import short_series
from iomt_core.scenario import Scenario

log = logging.getLogger(__name__)

STATE = ("D", "C", "P", "weight", "P_tr", "battery", "F_i", "F_k", "B_k", "latency", "beta")
DRAWN = ("D", "C", "P", "weight", "battery")
# Floats only: with one bool among the outputs the compiler generates scalar code for the whole kernel.
RESULT = tuple(field.name for field in fields(Outcome) if field.name not in ("missed", "skipped"))


@dataclass(frozen=True)
class Stepped:
    """Result of one fused step."""

    outcome: Outcome
    charge: Tensor  # (B, U) J in the batteries after the step, negative where it was too low
    agent_reward: Tensor  # (B, U)
    next_snapshot: Snapshot
    observation: Tensor  # (B, U, n) of `next_snapshot`, eq. (14)


class Kernel:
    """The fused step of one scenario. Creating it compiles; raises `RuntimeError` if that fails."""

    def __init__(self, world: World) -> None:
        s = self.scenario = world.scenario
        self._ranges = world.ranges
        _ = (
            s.data_span,
            s.cycle_span,
            s.priority_span,
            s.mean_P,
            s.largest,
            s.has_latency,
            s.deadlines_differ,
        )  # cached properties, whose first access cannot be traced
        # Without isolation all kernels would share one recompilation limit. torch's stubs lack the option.
        self._step = torch.compile(_step, fullgraph=True, dynamic=False, isolate_recompiles=True)  # type: ignore[call-overload]
        first = world.snapshot(world.initial_state(), 0)
        zero = torch.zeros_like(first.D)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*lru_cache")  # it caches constants only
            self(first, Action(zero.long(), zero, zero), world.task_keys[0])

    def __call__(self, snapshot: Snapshot, action: Action, key: Tensor) -> Stepped:
        """Evaluates the action and draws the next tasks from `key`, (B,) int64."""
        s = self.scenario
        state = tuple(getattr(snapshot, name).contiguous() for name in STATE)  # one layout, one kernel
        # The exact value would be compiled into the kernel, which would then be recompiled for every layout.
        max_ratio = 0.0 if short_series(snapshot.max_ratio, snapshot.D.dtype) else math.inf
        *results, charge, rewards, D, C, P, weight, battery, observation = self._step(
            s, key, self._ranges, state, action, max_ratio
        )
        result = dict(zip(RESULT, results, strict=True))
        following = replace(snapshot, **dict(zip(DRAWN, (D, C, P, weight, battery), strict=True)))
        missed, skipped = result["delay"] > s.T_max, (action.choice == 0) & (result["f"] <= 0)
        return Stepped(Outcome(**result, missed=missed, skipped=skipped), charge, rewards, following, observation)


def fits(s: Scenario) -> bool:
    """Whether the steps of a scenario can be fused: one kind of task, no dynamics, no own workload, no user switched off."""
    return s.workload is None and not (s.kinds or s.burst or s.speed or s.background or s.users_off)


@lru_cache(maxsize=8)
def kernel(s: Scenario, num_envs: int, dtype: torch.dtype, device: torch.device) -> Kernel | None:
    """The kernel for `num_envs` worlds of a scenario; `None`, with a log message, if the step cannot be fused."""
    if not fits(s):
        log.warning(
            "steps are not fused: moving users, bursts, task kinds, background load, an own workload or a user off"
        )
        return None
    try:
        return Kernel(World(s, counter.world_seeds(0, 0, num_envs, device), dtype))
    except RuntimeError as error:  # raised by torch.compile, also without a compiler
        log.warning("steps are not fused, torch.compile failed: %s", str(error).partition("\n")[0])
        return None


def _step(
    s: Scenario,
    key: Tensor,
    ranges: tuple[counter.Range, counter.Range, counter.Range],
    state: tuple[Tensor, ...],
    action: Action,
    max_ratio: float,
) -> tuple[Tensor, ...]:
    """`RESULT` of the action, charge after it and rewards of agents, then `DRAWN` and the observations of the next step."""
    snapshot = _snapshot(state, max_ratio)
    result, charge, rewards = evaluate_step(snapshot, action, s)
    D, C, P = (x.view(snapshot.D.shape) for x in counter.uniform_triples(key, ranges, s.users * s.tasks))
    P = P.floor()
    drawn = (D, C, P, P / s.mean_P, snapshot.P_tr, charge.clamp_min(0.0), *state[6:])
    following = _snapshot(drawn, max_ratio)
    results = (cast(Tensor, getattr(result, name)) for name in RESULT)
    return (*results, charge, rewards, D, C, P, following.weight, following.battery, observe(following, s))


def _snapshot(state: tuple[Tensor, ...], max_ratio: float) -> Snapshot:
    """A snapshot of the tensors of `STATE`; fields that the kernel does not use are placeholders."""
    D, C, P, weight, P_tr, battery, F_i, F_k, B_k, latency, beta = state
    return Snapshot(
        D=D, C=C, P=P, weight=weight, P_tr=P_tr, battery=battery, F_i=F_i, F_k=F_k, B_k=B_k,
        latency=latency, beta=beta,
        active=D, kind=D, deadline=D, users_xy=D, servers_xy=D, distance=D, key=D, steps_left=D, max_ratio=max_ratio,
        all_active=True,
    )  # fmt: skip
