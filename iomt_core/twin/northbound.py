"""The northbound interface, through which dashboard and command line use the simulated ward.

`Twin` plays an episode of a scenario under a policy: it can be stepped, forked, and asked why a task runs where it does.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd
import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.batch import concatenate
from iomt_core.model.snapshot import Action, device_name
from iomt_core.policies.base import SHARES, Policy, Shares, Sharing
from iomt_core.policies.episode_dual import solve_episodes
from iomt_core.policies.price_response import solve_with_mean_prices
from iomt_core.record import Record
from iomt_core.rollout import EpisodeSet, Rollout, decide_episodes, draw_episodes, play_episodes
from iomt_core.scenario import Scenario, ScenarioError, check_known, check_range
from iomt_core.training.catalogue import cached_by_checkpoint, entry, make_policy
from iomt_core.training.run_spec import LARGEST_SEED as LARGEST_SEED
from iomt_core.twin.regret import move_tasks


def checked_seed(seed: int) -> int:
    """Returns the seed. Raises `ScenarioError` if it is out of range."""
    check_range("seed", seed, 0, LARGEST_SEED)
    return seed


def checked_shares(shares: Shares) -> Shares:
    """Returns the share rule, see `policies.base.with_shares`. Raises `ScenarioError` for an unknown one."""
    check_known("shares", shares, SHARES)
    return shares


class Twin:
    """One episode of a ward under a policy, step by step.

    policy: a name in `training.catalogue`. episode: number of the seed's episode, from 1. Raises `ScenarioError` for an unknown
    policy, share rule or seed.
    """

    def __init__(
        self, s: Scenario, policy: str = "optimum", seed: int = 0, shares: Shares = "own", episode: int = 1
    ) -> None:
        self.scenario, self.policy, self.seed, self.episode = s, policy, checked_seed(seed), episode
        environment = Environment(s, world_seeds(seed, episode - 1, 1), torch.float64)
        self._rollout = Rollout(make_policy(policy, s), environment, checked_shares(shares))
        self._records: tuple[Record, ...] = ()
        steps = concatenate(environment.remaining())
        self._certificate = solve_episodes(steps, s, environment.snapshot.battery)

    @property
    def shares(self) -> Shares:
        """The share rule, see `policies.base.with_shares`."""
        return self._rollout.shares

    @property
    def done(self) -> bool:
        """Whether the episode is over, at its last step or by an empty battery."""
        return self._rollout.done

    def step(self) -> pd.DataFrame:
        """Plays one step. Returns its table, one row for each task. Raises `RuntimeError` after the end."""
        environment = self._rollout.environment
        if self.done:
            raise RuntimeError(f"the episode ended in step {environment.t}: open a new twin")
        step = self._rollout.step(self._certificate.select(slice(environment.t, environment.t + 1)))
        record = step.record(self.scenario, torch.tensor([self.episode]))
        self._records = (*self._records, record)
        return record.table()

    def run(self) -> pd.DataFrame:
        """Plays all remaining steps. Returns the table of the whole episode."""
        while not self.done:
            self.step()
        return self.table()

    def record(self) -> Record:
        """The record of all steps so far. Raises `RuntimeError` before the first step."""
        if not self._records:
            raise RuntimeError("no step was played yet: step the twin first")
        return concatenate(self._records)

    def table(self) -> pd.DataFrame:
        """The table of all steps so far, one row for each task."""
        return self.record().table()

    def fork(self, policy: str | None = None, shares: Shares | None = None) -> Twin:
        """An independent twin that continues from here with the same future tasks, under another policy or share rule if given.

        Another policy starts without memory. The original does not change. Raises `ScenarioError` as `Twin` does.
        """
        twin = copy.copy(self)
        other = None if policy in (None, self.policy) else make_policy(policy, self.scenario)
        twin._rollout = self._rollout.fork(other, None if shares is None else checked_shares(shares))
        twin.policy = policy or self.policy
        return twin

    def why(self, step: int, user: int, task: int) -> Why:
        """The alternatives of a task in a played step; see the function `why`."""
        return why(self.record(), self.policy, self.shares, step, user, task, self.episode)


@dataclass(frozen=True)
class Why:
    """The answer to why a task runs on its device: a comparison with the other devices, all other choices unchanged.

    `alternatives` has one row for each device: delay, energy and cost of the task there, requested and granted shares, shadow
    prices, and `ward_change`, the change of the step's total weighted cost. User and devices have their numbers in the whole
    ward.
    """

    step: int
    user: int
    task: int
    chosen: int
    rule: Sharing
    alternatives: pd.DataFrame


def share_rule(policy: str, shares: Shares) -> Sharing:
    """The share rule that applies to this policy: its own, or the one given."""
    return entry(policy).sharing if shares == "own" else shares


def why(record: Record, policy: str, shares: Shares, step: int, user: int, task: int, episode: int = 1) -> Why:
    """Evaluates the K + 1 alternatives of a task; for each, the whole step is computed again with only this choice changed.

    The other tasks stay on their devices. Equal and optimal shares are computed again; requests do not change and are scaled
    down pro rata. `user` is the number in the whole ward; `step`, `task` and `episode` count from 1. Raises `ScenarioError`
    if there is no such step or task.
    """
    s = record.scenario
    found = ((record.step == step) & (record.episode == episode)).nonzero().flatten()
    if not len(found):
        raise ScenarioError(f"step = {step} was not played: allowed is 1 to {int(record.step.max())}.")
    check_range("user", user, 1, s.ward_users)
    if user in s.users_off:
        raise ScenarioError(f"user = {user} is switched off.")
    check_range("task", task, 1, s.tasks)
    row, i, j = int(found[0]), s.user_numbers.index(user), task - 1
    if not bool(record.snapshot.active[row, i, j]):
        raise ScenarioError(f"task = {task}: user {user} has no such task in step {step}.")
    rule = share_rule(policy, shares)
    moved, result = move_tasks(record, row, rule, torch.tensor([i * s.tasks + j]))
    chosen = int(record.action.choice[row, i, j])
    total = (result.cost * record.snapshot.weight[row]).sum((1, 2))
    nan = [math.nan]
    cpu_prices = bandwidth_prices = nan * (s.servers + 1)
    if record.prices is not None:
        cpu_prices = [float(record.prices.own[row, i]), *record.prices.cpu[row].tolist()]
        bandwidth_prices = nan + record.prices.bandwidth[row].tolist()
    frame = pd.DataFrame(
        {
            "choice": s.device_numbers,
            "device": [device_name(n) for n in s.device_numbers],
            "chosen": [k == chosen for k in range(s.servers + 1)],
            "delay_s": result.delay[:, i, j],
            "delay_tx_s": result.delay_tx[:, i, j],
            "delay_exe_s": result.delay_exe[:, i, j],
            "energy_j": result.energy[:, i, j],
            "cost": result.cost[:, i, j],
            "deadline_missed": result.missed[:, i, j],
            "ward_change": total - total[chosen],
            "cpu_share_requested": moved.cpu[:, i, j],
            "cpu_hz": result.f[:, i, j],
            "bandwidth_share_requested": nan + moved.bandwidth[1:, i, j].tolist(),
            "bandwidth_hz": result.b[:, i, j],
            "rate_bps": nan + result.rate[1:, i, j].tolist(),
            "distance_m": nan + record.snapshot.distance[row, i].tolist(),
            "cpu_price": cpu_prices,
            "bandwidth_price": bandwidth_prices,
        }
    )
    return Why(step, user, task, s.device_numbers[chosen], rule, frame)


@lru_cache(maxsize=8)
def _episode(s: Scenario, seed: int) -> EpisodeSet:
    """The first episode of a seed with certificates; all policies are compared on it."""
    drawn = draw_episodes(s, checked_seed(seed), certify=False)
    steps = solve_with_mean_prices(drawn.snapshot, s)
    return replace(drawn, dual=solve_episodes(drawn.snapshot, s, drawn.snapshot.battery[:1], steps))


@cached_by_checkpoint(maxsize=8)
def decisions(s: Scenario, policy: str, seed: int) -> tuple[Policy, Action | None]:
    """A policy and its decisions in the episode of `play`, see `rollout.decide_episodes`. Raises `ScenarioError`."""
    episode, decider = _episode(s, seed), make_policy(policy, s)
    return decider, decide_episodes(decider, episode)


@cached_by_checkpoint(maxsize=40)
def play(s: Scenario, policy: str, seed: int, shares: Shares = "own") -> Record:
    """The record of the first episode of a seed under a policy; cached. Raises `ScenarioError`."""
    checked_shares(shares)
    decider, decided = decisions(s, policy, seed)
    return play_episodes(decider, _episode(s, seed), shares, decided)
