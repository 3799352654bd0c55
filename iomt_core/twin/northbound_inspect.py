"""The northbound interface of the Inspect page: observations, values and regret of the agents.

All functions are about the episode of `northbound.play`, or about what is known of it in a large ward, where the whole takes
long. `user` is the number in the whole ward, `task` and `step` count from 1. Results are cached, so they must not be changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from torch import Tensor

from iomt_core.policies.base import Memory, Shares
from iomt_core.record import Record
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.catalogue import cached_by_checkpoint, entry, make_policy
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin import inspection, moves, regret
from iomt_core.twin.inspection import Inspection, TaskTurn
from iomt_core.twin.northbound import play, share_rule
from iomt_core.twin.perception import grants, hidden_tasks, observed_rest, observed_tasks

__all__ = [
    "Inspection",
    "Seen",
    "TaskTurn",
    "alternatives",
    "cost_unit",
    "grants",
    "hidden_tasks",
    "inspect_step",
    "observed_rest",
    "observed_tasks",
    "regrets",
]


@dataclass(frozen=True)
class Seen:
    """An episode as far as it is known: its record, without certificates until they are there, and that of the optimum.

    Two of the same episode are equal if as much is known.
    """

    record: Record = field(compare=False)
    optimum: Record | None = field(compare=False)
    known: tuple[bool, bool] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", (self.record.dual is not None, self.optimum is not None))


def _whole(s: Scenario, policy: str, seed: int, shares: Shares) -> Seen:
    return Seen(play(s, policy, seed, shares), play(s, "optimum", seed))


def _row_of(record: Record, step: int) -> int:
    """The row of a step in the record. Raises `ScenarioError` for a step that was not played."""
    if not 1 <= step <= len(record):
        raise ScenarioError(f"step = {step} was not played: allowed is 1 to {len(record)}.")
    return step - 1


@cached_by_checkpoint(maxsize=8)
def _memories(
    s: Scenario, policy: str, seed: int, shares: Shares, seen: Seen | None
) -> tuple[TrainedPolicy, list[Memory]]:
    trained = make_policy(policy, s)
    assert isinstance(trained, TrainedPolicy)
    return trained, inspection.memories(trained, seen.record if seen else play(s, policy, seed, shares))


@cached_by_checkpoint(maxsize=64)
def inspect_step(
    s: Scenario, policy: str, seed: int, shares: Shares, step: int, seen: Seen | None = None
) -> Inspection | None:
    """Values and requests of a trained policy's networks in a step; None for other policies. Raises `ScenarioError`."""
    record = seen.record if seen else play(s, policy, seed, shares)
    row = _row_of(record, step)
    if not entry(policy).trained:
        return None
    trained, memories = _memories(s, policy, seed, shares, seen)
    return inspection.inspect_step(trained, record, row, memories[row])


@cached_by_checkpoint(maxsize=512)
def regrets(
    s: Scenario, policy: str, seed: int, shares: Shares, step: int, user: int | None = None, seen: Seen | None = None
) -> pd.DataFrame:
    """See `regret.regrets`. Raises `ScenarioError`."""
    seen = seen or _whole(s, policy, seed, shares)
    row, optimum = _row_of(seen.record, step), None
    if seen.optimum is not None:
        optimum = moves.devices(seen.optimum, row)
    return regret.regrets(seen.record, row, share_rule(policy, shares), optimum, user)


@cached_by_checkpoint(maxsize=64)
def alternatives(
    s: Scenario, policy: str, seed: int, shares: Shares, step: int, user: int, task: int, seen: Seen | None = None
) -> Tensor:
    """See `regret.alternatives`. Raises `ScenarioError`."""
    record = seen.record if seen else play(s, policy, seed, shares)
    return regret.alternatives(record, _row_of(record, step), share_rule(policy, shares), user, task)


def cost_unit(s: Scenario, policy: str) -> float:
    """The factor of costs in a trained policy's networks; 1 for networks of one ward and for policies without networks."""
    trained = make_policy(policy, s)
    return trained.encoder.unit if isinstance(trained, TrainedPolicy) else 1.0
