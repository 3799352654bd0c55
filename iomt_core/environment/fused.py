"""One step of many worlds as a single kernel, compiled by torch.compile from the functions of model/ and this folder.

Eager operations each read and write memory; the fused kernel does so once per step. It needs a C++ compiler, some
seconds to compile, and a scenario without dynamics, task kinds or own workload. Otherwise steps run eagerly.
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
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.special import short_series
from iomt_core.scenario import Scenario

log = logging.getLogger(__name__)

STATE = ("D", "C", "P", "weight", "P_tr", "battery", "F_i", "F_k", "B_k", "beta")
DRAWN = ("D", "C", "P", "weight", "battery")
# Floats only: with one bool among the outputs the compiler generates scalar code for the whole kernel.
RESULT = tuple(field.name for field in fields(Outcome) if field.name != "missed")


@dataclass(frozen=True)
class Stepped:
    """Result of one fused step."""

    outcome: Outcome
    left: Tensor  # (B, U) J in the batteries, negative where a user could not pay
    agent_reward: Tensor  # (B, U)
    later: Snapshot
    observation: Tensor  # (B, U, n) of `later`, eq. (14)


class Kernel:
    """The fused step of one scenario. Creating it compiles; raises `RuntimeError` if that fails."""

    def __init__(self, world: World) -> None:
        s = self.scenario = world.scenario
        self._spans = world.spans
        _ = (
            s.data_span,
            s.cycle_span,
            s.priority_span,
            s.mean_P,
        )  # cached properties: the compiler cannot trace their first access
        # Without isolation all kernels would share one recompilation limit. torch's stubs lack the option.
        self._step = torch.compile(_step, fullgraph=True, dynamic=False, isolate_recompiles=True)  # type: ignore[call-overload]
        first = world.snapshot(world.initial_state(), 0)
        nothing = torch.zeros_like(first.D)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*lru_cache")  # it caches constants only
            self(first, Action(nothing.long(), nothing, nothing), world.task_keys[0])

    def __call__(self, snapshot: Snapshot, action: Action, key: Tensor) -> Stepped:
        """Evaluates the action and draws the next tasks from `key`, (B,) int64."""
        s = self.scenario
        state = tuple(getattr(snapshot, name).contiguous() for name in STATE)  # one layout, one kernel
        # The exact value would be compiled into the kernel, which would then be recompiled for every layout.
        max_ratio = 0.0 if short_series(snapshot.max_ratio, snapshot.D.dtype) else math.inf
        *priced, left, rewards, D, C, P, weight, battery, seen = self._step(
            s, key, self._spans, state, action, max_ratio
        )
        result = dict(zip(RESULT, priced, strict=True))
        later = replace(snapshot, **dict(zip(DRAWN, (D, C, P, weight, battery), strict=True)))
        return Stepped(Outcome(**result, missed=result["delay"] > s.T_max), left, rewards, later, seen)


def fits(s: Scenario) -> bool:
    """Whether the scenario's steps can be fused: uniform tasks, no dynamics, no own workload."""
    return s.workload is None and not (s.kinds or s.burst or s.speed or s.background)


@lru_cache(maxsize=8)
def kernel(s: Scenario, num_envs: int, dtype: torch.dtype, device: torch.device) -> Kernel | None:
    """The kernel for `num_envs` worlds of a scenario; `None`, with a log message, if the step cannot be fused."""
    if not fits(s):
        log.warning("steps are not fused: moving users, bursts, task kinds, background load or an own workload")
        return None
    try:
        return Kernel(World(s, counter.world_seeds(0, 0, num_envs, device), dtype))
    except RuntimeError as error:  # raised by torch.compile, also without a compiler
        log.warning("steps are not fused, torch.compile failed: %s", str(error).partition("\n")[0])
        return None


def _step(
    s: Scenario,
    key: Tensor,
    spans: tuple[counter.Span, counter.Span, counter.Span],
    state: tuple[Tensor, ...],
    action: Action,
    max_ratio: float,
) -> tuple[Tensor, ...]:
    """`RESULT` of the action, batteries after it, agents' rewards, then `DRAWN` and observations of the next step."""
    now = _snapshot(state, max_ratio)
    done = outcome(now, action, s)
    left = now.battery - done.energy.sum(-1)
    rewards = (done.reward * now.weight).sum(-1)
    D, C, P = (x.view(now.D.shape) for x in counter.keyed_parts(key, spans, s.users * s.tasks))
    P = P.floor()
    drawn = (D, C, P, P / s.mean_P, now.P_tr, left.clamp_min(0.0), *state[6:])
    later = _snapshot(drawn, max_ratio)
    result = (cast(Tensor, getattr(done, name)) for name in RESULT)
    return (*result, left, rewards, D, C, P, later.weight, later.battery, observe(later, s))


def _snapshot(state: tuple[Tensor, ...], max_ratio: float) -> Snapshot:
    """A snapshot from the tensors of `STATE`; the fields that the kernel does not use are placeholders."""
    D, C, P, weight, P_tr, battery, F_i, F_k, B_k, beta = state
    return Snapshot(
        D=D, C=C, P=P, weight=weight, P_tr=P_tr, battery=battery, F_i=F_i, F_k=F_k, B_k=B_k, beta=beta,
        active=D, kind=D, users_xy=D, servers_xy=D, distance=D, key=D, max_ratio=max_ratio, all_active=True,
    )  # fmt: skip
