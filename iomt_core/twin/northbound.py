"""The northbound interface: the one door through which dashboard and command line reach the simulated ward.

Give it a scenario, a policy and a seed, get a twin; step it, fork it, ask it why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd
import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import SHARES, Memory, Policy, Shares, Sharing, with_shares
from iomt_core.policies.dual import Prices, solve_dual
from iomt_core.policies.price_response import PriceResponse, mean_prices, price_sample
from iomt_core.policies.shares import equal_shares, optimal_shares
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.catalogue import entry, kept_by_checkpoint
from iomt_core.training.catalogue import policy as make_policy
from iomt_core.twin.record import Draw, Record, decide, draw, run

LARGEST_SEED = 2**31 - 1


def checked_seed(seed: int) -> int:
    """The seed. Raises `ScenarioError` where it is out of range."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ScenarioError(f"seed = {seed} is out of range: allowed is 0 to {LARGEST_SEED}.")
    return seed


class Twin:
    """One episode of one world under one policy, step by step.

    `fork` gives an independent continuation, under another policy if wanted; the original is not touched. Raises
    `ScenarioError` for an unknown policy, share rule or seed.
    """

    def __init__(
        self, s: Scenario, policy: str = "optimum", seed: int = 0, shares: Shares = "own", episode: int = 1
    ) -> None:
        self.scenario = s
        self.seed = checked_seed(seed)
        self.episode = episode
        self._use(policy, shares)
        self._environment = Environment(s, world_seeds(seed, episode - 1, 1), torch.float64)
        self._past: tuple[Record, ...] = ()
        self._memory: Memory | None = None

    def _use(self, policy: str, shares: str) -> None:
        if shares not in SHARES:
            raise ScenarioError(f"shares = {shares!r} is not known: allowed is {', '.join(SHARES)}.")
        self.policy: Policy = make_policy(policy, self.scenario)
        self.shares: Shares = shares

    @property
    def done(self) -> bool:
        """Whether the episode is over, by its length or by an empty battery."""
        return self._environment.done

    @property
    def next_step(self) -> int:
        """Number of the step that `step` would decide, from 1."""
        return self._environment.t + 1

    def step(self) -> pd.DataFrame:
        """Decides and prices one step; its table, one row a task. Raises `RuntimeError` after the end."""
        if self.done:
            raise RuntimeError(f"the episode ended in step {self._environment.t}: open a new twin")
        now, t = self._environment.snapshot, self._environment.t
        own, self._memory = self.policy.step(now, self._memory)
        action = with_shares(own, now, self.scenario, self.shares)
        transition = self._environment.step(action)
        record = Record(
            self.scenario, torch.tensor([self.episode]), torch.tensor([t + 1]), now, action, transition.outcome,
            solve_dual(now, self.scenario), transition.terminated,
        )  # fmt: skip
        self._past = (*self._past, record)
        return record.table()

    def run(self) -> pd.DataFrame:
        """All steps that are left; the table of the whole episode so far."""
        while not self.done:
            self.step()
        return self.table()

    def record(self) -> Record:
        """All that has happened so far. Raises `RuntimeError` before the first step."""
        if not self._past:
            raise RuntimeError("nothing has happened yet: step the twin first")
        return concatenate(self._past)

    def table(self) -> pd.DataFrame:
        """All that has happened so far, one row a task."""
        return self.record().table()

    def fork(self, policy: str | None = None, shares: Shares | None = None) -> Twin:
        """An independent continuation from here, with the same tasks to come."""
        twin = object.__new__(Twin)
        twin.__dict__.update(self.__dict__)
        twin._environment = self._environment.fork()
        if policy is not None or shares is not None:
            twin._memory = None if policy not in (None, self.policy.name) else self._memory
            twin._use(policy or self.policy.name, shares or self.shares)
        return twin

    def why(self, step: int, user: int, task: int) -> Why:
        """See `why`."""
        return why(self.record(), self.policy.name, self.shares, step, user, task)


@dataclass(frozen=True)
class Why:
    """Why a task went where it went: its alternatives, all else fixed.

    `alternatives` has one row a device, with the task's delay, energy and cost there, what it asked for and got, the
    shadow prices it faces, and `ward_change`: by how much the step's total weighted cost would change.
    """

    step: int
    user: int
    task: int
    chosen: int
    rule: Sharing
    alternatives: pd.DataFrame


def share_rule(policy: str, shares: Shares) -> Sharing:
    """By which rule shares come about under this policy and option."""
    return entry(policy).sharing if shares == "own" else shares


def why(record: Record, policy: str, shares: Shares, step: int, user: int, task: int, episode: int = 1) -> Why:
    """The K + 1 alternatives of one task, each a full recomputation of the step with only that choice changed.

    The other tasks keep their devices. Shares follow the policy's rule: even and best shares are dealt anew on both
    devices concerned; requests stay as they are and are granted pro rata. Raises `ScenarioError` for a task that is
    not there.
    """
    s = record.scenario
    found = ((record.step == step) & (record.episode == episode)).nonzero().flatten()
    if not len(found):
        raise ScenarioError(f"step = {step} was not played: allowed is 1 to {int(record.step.max())}.")
    for name, value, most in (("user", user, s.users), ("task", task, s.tasks)):
        if not 1 <= value <= most:
            raise ScenarioError(f"{name} = {value} is not there: allowed is 1 to {most}.")
    snapshot, action = record.snapshot.worlds(found), record.action.worlds(found)
    i, j, k = user - 1, task - 1, s.servers
    if not bool(snapshot.active[0, i, j]):
        raise ScenarioError(f"task = {task}: user {user} has no such task in step {step}.")
    tiled = snapshot.worlds(torch.zeros(k + 1, dtype=torch.int64))
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
            "cpu_share_asked": moved.cpu[at],
            "cpu_hz": result.f[at],
            "bandwidth_share_asked": moved.bandwidth[at].clone().index_fill_(0, torch.tensor([0]), nan),
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
    if rule == "equal":
        return equal_shares(tiled, choice)
    if rule == "optimal":
        return optimal_shares(tiled, choice, s)
    return Action(choice, action.cpu.repeat(count, 1, 1), action.bandwidth.repeat(count, 1, 1))


@lru_cache(maxsize=8)
def _episode(s: Scenario, seed: int) -> tuple[Draw, Prices]:
    """One certified episode and the ward's mean prices, solved for in one batch; every policy is shown on the same."""
    drawn = draw(s, checked_seed(seed), certify=False)
    steps = len(drawn.snapshot.D)
    dual = solve_dual(concatenate([drawn.snapshot, price_sample(s)]), s)
    return replace(drawn, dual=dual.worlds(slice(0, steps))), mean_prices(dual.prices.worlds(slice(steps, None)))


@kept_by_checkpoint(maxsize=8)
def _decided(s: Scenario, policy: str, seed: int) -> tuple[Policy, Action | None]:
    """The policy, and what it decides whatever the shares; see `record.decide`."""
    drawn, prices = _episode(s, seed)
    decider = PriceResponse(s, prices) if policy == PriceResponse.name else make_policy(policy, s)
    return decider, decide(decider, drawn)


@kept_by_checkpoint(maxsize=40)
def play(s: Scenario, policy: str, seed: int, shares: Shares = "own") -> Record:
    """One whole episode under a policy: what a page shows; kept for the next who asks. Raises `ScenarioError`."""
    if shares not in SHARES:
        raise ScenarioError(f"shares = {shares!r} is not known: allowed is {', '.join(SHARES)}.")
    decider, decided = _decided(s, policy, seed)
    return run(decider, _episode(s, seed)[0], shares, decided)
