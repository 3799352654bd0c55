"""The northbound interface: the one door through which dashboard and command line reach the simulated ward.

Give it a scenario, a policy and a seed, get a twin; step it, fork it, ask it why.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd
import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import SHARES, Policy, Shares, Sharing, with_shares
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.price_response import solve_with_mean_prices
from iomt_core.record import Record
from iomt_core.rollout import EpisodeSet, Rollout, decide_episodes, draw_episodes, play_episodes
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.catalogue import cached_by_checkpoint, entry, make_policy

LARGEST_SEED = 2**31 - 1


def checked_seed(seed: int) -> int:
    """The seed. Raises `ScenarioError` where it is out of range."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ScenarioError(f"seed = {seed} is out of range: allowed is 0 to {LARGEST_SEED}.")
    return seed


def checked_shares(shares: str) -> Shares:
    """The rule by which shares are made. Raises `ScenarioError` for an unknown one."""
    if shares not in SHARES:
        raise ScenarioError(f"shares = {shares!r} is not known: allowed is {', '.join(SHARES)}.")
    return shares


class Twin:
    """One episode of one ward under one policy, step by step.

    `fork` gives an independent continuation, under another policy if wanted; the original is not touched. Raises
    `ScenarioError` for an unknown policy, share rule or seed.
    """

    def __init__(
        self, s: Scenario, policy: str = "optimum", seed: int = 0, shares: Shares = "own", episode: int = 1
    ) -> None:
        self.scenario, self.policy, self.seed, self.episode = s, policy, checked_seed(seed), episode
        environment = Environment(s, world_seeds(seed, episode - 1, 1), torch.float64)
        self._rollout = Rollout(make_policy(policy, s), environment, checked_shares(shares))
        self._records: tuple[Record, ...] = ()

    @property
    def shares(self) -> Shares:
        """The rule by which shares are made."""
        return self._rollout.shares

    @property
    def done(self) -> bool:
        """Whether the episode is over, by its length or by an empty battery."""
        return self._rollout.done

    @property
    def next_step(self) -> int:
        """Number of the step that `step` would decide, from 1."""
        return self._rollout.environment.t + 1

    def step(self) -> pd.DataFrame:
        """Decides and prices one step; its table, one row a task. Raises `RuntimeError` after the end."""
        environment = self._rollout.environment
        if self.done:
            raise RuntimeError(f"the episode ended in step {environment.t}: open a new twin")
        step = self._rollout.step(solve_dual(environment.snapshot, self.scenario))
        record = step.record(self.scenario, torch.tensor([self.episode]))
        self._records = (*self._records, record)
        return record.table()

    def run(self) -> pd.DataFrame:
        """All steps that are left; the table of the whole episode so far."""
        while not self.done:
            self.step()
        return self.table()

    def record(self) -> Record:
        """All that has happened so far. Raises `RuntimeError` before the first step."""
        if not self._records:
            raise RuntimeError("nothing has happened yet: step the twin first")
        return concatenate(self._records)

    def table(self) -> pd.DataFrame:
        """All that has happened so far, one row a task."""
        return self.record().table()

    def fork(self, policy: str | None = None, shares: Shares | None = None) -> Twin:
        """An independent continuation from here, with the same tasks to come, under another policy or share rule if given.

        A policy other than the twin's begins without memory. Raises `ScenarioError` as `Twin` does.
        """
        twin = copy.copy(self)
        other = None if policy in (None, self.policy) else make_policy(policy, self.scenario)
        twin._rollout = self._rollout.fork(other, None if shares is None else checked_shares(shares))
        twin.policy = policy or self.policy
        return twin

    def why(self, step: int, user: int, task: int) -> Why:
        """See `why`."""
        return why(self.record(), self.policy, self.shares, step, user, task, self.episode)


@dataclass(frozen=True)
class Why:
    """Why a task went where it went: its alternatives, all else fixed.

    `alternatives` has one row for each device, with the task's delay, energy and cost there, the shares it requests and is
    granted, the shadow prices there, and `ward_change`: the change of the step's total weighted cost.
    """

    step: int
    user: int
    task: int
    chosen: int
    rule: Sharing
    alternatives: pd.DataFrame


def share_rule(policy: str, shares: Shares) -> Sharing:
    """The rule by which shares are made under this policy and option."""
    return entry(policy).sharing if shares == "own" else shares


def why(record: Record, policy: str, shares: Shares, step: int, user: int, task: int, episode: int = 1) -> Why:
    """The K + 1 alternatives of one task, each a full recomputation of the step with only that choice changed.

    The other tasks keep their devices. Shares follow the policy's rule: even and best shares are computed anew; requests
    stay as they are and are scaled down pro rata. Raises `ScenarioError` for a step or task that is not there.
    """
    s = record.scenario
    found = ((record.step == step) & (record.episode == episode)).nonzero().flatten()
    if not len(found):
        raise ScenarioError(f"step = {step} was not played: allowed is 1 to {int(record.step.max())}.")
    for name, value, most in (("user", user, s.users), ("task", task, s.tasks)):
        if not 1 <= value <= most:
            raise ScenarioError(f"{name} = {value} is not there: allowed is 1 to {most}.")
    snapshot, action = record.snapshot.select(found), record.action.select(found)
    i, j, k = user - 1, task - 1, s.servers
    if not bool(snapshot.active[0, i, j]):
        raise ScenarioError(f"task = {task}: user {user} has no such task in step {step}.")
    tiled = snapshot.select(torch.zeros(k + 1, dtype=torch.int64))
    rule = share_rule(policy, shares)
    moved = _moved(tiled, action, i, j, rule, s)
    result = outcome(tiled, moved, s)
    chosen = int(action.choice[0, i, j])
    total = (result.cost * tiled.weight).sum((1, 2))
    nan = float("nan")
    prices = record.prices
    lam, mu, nu = (nan,), (nan,), nan
    if prices is not None:
        row = int(found[0])
        lam, mu = tuple(prices.cpu[row].tolist()), tuple(prices.bandwidth[row].tolist())
        nu = float(prices.own[row, i])
    link = snapshot.distance[0, i].tolist()
    at = (slice(None), i, j)
    frame = pd.DataFrame(
        {
            "choice": range(k + 1),
            "device": ["own device", *(f"server {n}" for n in range(1, k + 1))],
            "chosen": [n == chosen for n in range(k + 1)],
            "delay_s": result.delay[at],
            "delay_tx_s": result.delay_tx[at],
            "delay_exe_s": result.delay_exe[at],
            "energy_j": result.energy[at],
            "cost": result.cost[at],
            "deadline_missed": result.missed[at],
            "ward_change": total - total[chosen],
            "cpu_share_requested": moved.cpu[at],
            "cpu_hz": result.f[at],
            "bandwidth_share_requested": moved.bandwidth[at].clone().index_fill_(0, torch.tensor([0]), nan),
            "bandwidth_hz": result.b[at],
            "rate_bps": result.rate[at].clone().index_fill_(0, torch.tensor([0]), nan),
            "distance_m": [nan, *link],
            "cpu_price": [nu, *(lam * (k if len(lam) == 1 else 1))],
            "bandwidth_price": [nan, *(mu * (k if len(mu) == 1 else 1))],
        }
    )
    return Why(step, user, task, chosen, rule, frame)


def _moved(tiled: Snapshot, action: Action, i: int, j: int, rule: Sharing, s: Scenario) -> Action:
    """The step's action K + 1 times, with task (i, j) on device 0 … K."""
    count = s.servers + 1
    choice = action.choice.repeat(count, 1, 1)
    choice[:, i, j] = torch.arange(count)
    moved = Action(choice, action.cpu.repeat(count, 1, 1), action.bandwidth.repeat(count, 1, 1))
    return with_shares(moved, tiled, s, rule)


@lru_cache(maxsize=8)
def _episode(s: Scenario, seed: int) -> EpisodeSet:
    """One certified episode; every policy is shown on the same."""
    drawn = draw_episodes(s, checked_seed(seed), certify=False)
    return replace(drawn, dual=solve_with_mean_prices(drawn.snapshot, s))


@cached_by_checkpoint(maxsize=8)
def decisions(s: Scenario, policy: str, seed: int) -> tuple[Policy, Action | None]:
    """The policy, and its decisions in all steps of the episode, see `rollout.decide_episodes`. Raises `ScenarioError`."""
    episode, decider = _episode(s, seed), make_policy(policy, s)
    return decider, decide_episodes(decider, episode)


@cached_by_checkpoint(maxsize=40)
def play(s: Scenario, policy: str, seed: int, shares: Shares = "own") -> Record:
    """The first episode of a seed under a policy, which pages show; cached. Raises `ScenarioError`."""
    checked_shares(shares)
    decider, decided = decisions(s, policy, seed)
    return play_episodes(decider, _episode(s, seed), shares, decided)
