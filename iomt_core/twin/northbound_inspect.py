"""The northbound interface of the Inspect page: observations, values and regret of the agents.

All functions are about the episode of `northbound.play`. `user` is the number in the whole ward, `task` and `step` count
from 1. Results are cached, so they must not be changed.
"""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from iomt_core.policies.base import Memory, Shares
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.catalogue import cached_by_checkpoint, entry, make_policy
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.twin import inspection, regret
from iomt_core.twin.inspection import Inspection, TaskTurn
from iomt_core.twin.northbound import play, share_rule
from iomt_core.twin.perception import grants, hidden_tasks, observed_rest, observed_tasks

__all__ = [
    "Inspection",
    "TaskTurn",
    "alternatives",
    "cost_unit",
    "grants",
    "hidden_tasks",
    "inspect_step",
    "observed_rest",
    "observed_tasks",
    "optimum_choices",
    "regrets",
]


def _row_of(s: Scenario, policy: str, seed: int, shares: Shares, step: int) -> int:
    """The row of a step in the record. Raises `ScenarioError` for a step that was not played."""
    played = len(play(s, policy, seed, shares))
    if not 1 <= step <= played:
        raise ScenarioError(f"step = {step} was not played: allowed is 1 to {played}.")
    return step - 1


@cached_by_checkpoint(maxsize=8)
def _memories(s: Scenario, policy: str, seed: int, shares: Shares) -> tuple[TrainedPolicy, list[Memory]]:
    trained = make_policy(policy, s)
    assert isinstance(trained, TrainedPolicy)
    return trained, inspection.memories(trained, play(s, policy, seed, shares))


@cached_by_checkpoint(maxsize=64)
def inspect_step(s: Scenario, policy: str, seed: int, shares: Shares, step: int) -> Inspection | None:
    """Values and requests of a trained policy's networks in a step; None for other policies. Raises `ScenarioError`."""
    row = _row_of(s, policy, seed, shares, step)
    if not entry(policy).trained:
        return None
    trained, memories = _memories(s, policy, seed, shares)
    return inspection.inspect_step(trained, play(s, policy, seed, shares), row, memories[row])


def optimum_choices(s: Scenario, policy: str, seed: int, shares: Shares) -> Tensor:
    """The optimum's choices in the steps that this policy played, (R, U, J), see `regret.devices`. Raises `ScenarioError`."""
    plan = play(s, "optimum", seed)
    choice = plan.action.choice.masked_fill(plan.outcome.skipped, regret.SKIPPED)
    return choice[play(s, policy, seed, shares).step - 1]


@cached_by_checkpoint(maxsize=512)
def regrets(s: Scenario, policy: str, seed: int, shares: Shares, step: int) -> pd.DataFrame:
    """See `regret.regrets`. Raises `ScenarioError`."""
    row = _row_of(s, policy, seed, shares, step)
    optimum = optimum_choices(s, policy, seed, shares)[row]
    return regret.regrets(play(s, policy, seed, shares), row, share_rule(policy, shares), optimum)


@cached_by_checkpoint(maxsize=64)
def alternatives(s: Scenario, policy: str, seed: int, shares: Shares, step: int, user: int, task: int) -> Tensor:
    """See `regret.alternatives`. Raises `ScenarioError`."""
    row = _row_of(s, policy, seed, shares, step)
    return regret.alternatives(play(s, policy, seed, shares), row, share_rule(policy, shares), user, task)


def cost_unit(s: Scenario, policy: str) -> float:
    """The factor of costs in a trained policy's networks; 1 for networks of one ward and for policies without networks."""
    trained = make_policy(policy, s)
    return trained.encoder.unit if isinstance(trained, TrainedPolicy) else 1.0
