"""The northbound interface, through which dashboard and command line use the simulated ward.

`Twin` plays an episode of a scenario under a policy: it can be stepped, forked, and asked why a task runs where it does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import pandas as pd
import torch
from cachetools import LRUCache, cached
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model import progress
from iomt_core.model.batch import B, concatenate
from iomt_core.model.snapshot import Action, device_name
from iomt_core.policies.base import BatteryAware, Planner, Policy, Shares
from iomt_core.policies.base import checked_shares as checked_shares
from iomt_core.policies.episode_dual import EpisodeDual, solve_episodes
from iomt_core.policies.price_response import solve_with_mean_prices
from iomt_core.policies.registry import policy_type
from iomt_core.record import Record
from iomt_core.rollout import EpisodeSet, Rollout, decide_episodes, draw_episodes, play_episodes, step_together
from iomt_core.scenario import Scenario, ScenarioError, check_range
from iomt_core.training.catalogue import cached_by_checkpoint, entry, make_policy
from iomt_core.training.run_spec import LARGEST_SEED as LARGEST_SEED
from iomt_core.training.run_spec import checked_seed as checked_seed
from iomt_core.twin.mapping.stale_policy import on_twin
from iomt_core.twin.mapping.synchronisation import FRESH, Synchronisation, SynchronisedTwin, staleness
from iomt_core.twin.moves import SKIPPED, UNKNOWN, Moves, ShareRule, battery_prices

if TYPE_CHECKING:
    from iomt_core.twin.management.trace import Trace

MOST_VALUES = 40_000_000  # tasks times devices of the episodes that are kept with their certificates, about 1 GB


class Twin:
    """One episode of a ward under a policy, step by step.

    policy: a name in `training.catalogue`. episode: number of the seed's episode, from 1. synchronisation: how what the policy
    sees is synchronised from the ward; None if it sees the ward itself. Raises `ScenarioError` for an unknown policy, share rule
    or seed, and for a policy that cannot decide on a synchronised twin.
    """

    def __init__(
        self,
        s: Scenario,
        policy: str = "optimum",
        seed: int = 0,
        shares: Shares = "own",
        episode: int = 1,
        synchronisation: Synchronisation | None = None,
    ) -> None:
        self.scenario, self.policy, self.seed, self.episode = s, policy, checked_seed(seed), episode
        self.synchronisation = synchronisation
        environment = Environment(s, world_seeds(seed, episode - 1, 1), torch.float64)
        decider = on_twin(_decider(s, policy), synchronisation)
        self._rollout = Rollout(decider, environment, checked_shares(shares))
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

    @property
    def decider(self) -> Policy:
        """The policy; twins of one scenario and policy share it."""
        return self._rollout.policy

    @property
    def plans_ahead(self) -> bool:
        """Whether the policy plans the rest of the episode in its first step here, which then takes longer than others."""
        return isinstance(self.decider, Planner)

    def step(self) -> pd.DataFrame:
        """Plays one step. Returns its table, one row for each task. Raises `RuntimeError` after the end."""
        return self.advance().table()

    def advance(self) -> Record:
        """Plays one step. Returns its record. Raises `RuntimeError` after the end."""
        return advance_together([self])[0]

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

        Another policy starts without memory, but sees what this one would see. The original does not change. Raises
        `ScenarioError` as `Twin` does.
        """
        twin = copy.copy(self)
        other = None
        if policy is not None and policy != self.policy:
            other = on_twin(_decider(self.scenario, policy), self.synchronisation, self._synchronised())
        twin._rollout = self._rollout.fork(other, None if shares is None else checked_shares(shares))
        twin.policy = policy or self.policy
        return twin

    def staleness(self) -> dict[str, Tensor]:
        """How old and how wrong what the policy saw was in each step so far, see `synchronisation.staleness`.

        Raises `RuntimeError` before the first step.
        """
        return staleness(self.record(), self.synchronisation or FRESH)

    def _synchronised(self) -> SynchronisedTwin | None:
        """What the policy has seen so far; None if it sees the ward itself."""
        if self.synchronisation is None:
            return None
        seen = SynchronisedTwin(self.scenario, self.synchronisation)
        for record in self._records:
            seen = seen.synchronised(record.snapshot)
        return seen

    def why(self, step: int, user: int, task: int) -> Why:
        """The alternatives of a task in a played step; see the function `why`."""
        return why(self.record(), self.policy, self.shares, step, user, task, self.episode)

    def trace(self, step: int) -> Trace:
        """How management coordinated a played step: ô in, the mixer's weights, decisions out, and bytes across borders.

        ô are those of the ward; after a fork to another policy, earlier steps are weighted as that policy would have. Raises
        `ScenarioError`, and `RuntimeError` before the first step.
        """
        from iomt_core.twin.management.trace import trace  # imports the cryptography of access, which few need

        return trace(make_policy(self.policy, self.scenario), self.record(), step)


def advance_together(twins: Sequence[Twin]) -> list[Record]:
    """Plays one step of several twins with the same `decider`, which decides once for all of them. Returns their records.

    Raises `RuntimeError`, before any twin is stepped, if an episode is over.
    """
    for twin in twins:
        if twin.done:
            raise RuntimeError(f"the episode ended in step {twin._rollout.environment.t}: open a new twin")
    duals = [twin._certificate.select(slice(t, t + 1)) for twin in twins for t in [twin._rollout.environment.t]]
    records = []
    for twin, step in zip(twins, step_together([twin._rollout for twin in twins], duals), strict=True):
        record = step.record(twin.scenario, torch.tensor([twin.episode]))
        twin._records = (*twin._records, record)
        records.append(record)
    return records


@cached_by_checkpoint(maxsize=40)
def _decider(s: Scenario, policy: str) -> Policy:
    """The policy, which keeps nothing from step to step itself."""
    return make_policy(policy, s)


@dataclass(frozen=True)
class Why:
    """The answer to why a task runs on its device: a comparison with the other devices, all other choices unchanged.

    `alternatives` has one row for each device: delay, energy and cost of the task there, its deadline and whether it would be
    late, the latency of the server, requested and granted shares, shadow prices; `energy_later`, the weighted cost in later
    steps of the energy that the task takes there, at the price of its user's battery; `ward_change`, the change of the step's
    total weighted cost; and `later_change`, the change of what the energy of all users costs later. A task that is skipped has
    a row for that too, of device `SKIPPED`. User and devices have their numbers in the whole ward.
    """

    step: int
    user: int
    task: int
    chosen: int
    rule: ShareRule
    alternatives: pd.DataFrame


def share_rule(policy: str, shares: Shares) -> ShareRule:
    """The share rule that applies to this policy: its own, or the one given."""
    sharing, made = entry(policy).sharing, policy_type(entry(policy).name)
    if shares != "own":
        return shares
    return "planned" if sharing == "optimal" and made and issubclass(made, (Planner, BatteryAware)) else sharing


def place_name(number: int) -> str:
    """Where a task runs, for people: `device_name`, or that it is skipped or not known yet."""
    return {SKIPPED: "nowhere (skipped)", UNKNOWN: "…"}.get(number) or device_name(number)


def why(record: Record, policy: str, shares: Shares, step: int, user: int, task: int, episode: int = 1) -> Why:
    """Evaluates the K + 1 alternatives of a task; for each, the step is computed again with only this choice changed.

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
    place, moves = i * s.tasks + j, Moves(record, row, rule)
    (requested, result), (now, later) = moves.on_devices(place), moves.changes(torch.tensor([place]))[0].T
    skipped = bool(record.outcome.skipped[row, i, j])
    chosen = s.servers + 1 if skipped else int(record.action.choice[row, i, j])
    # What happened stands in the row of the chosen device, where a rule would make slightly other shares; a skipped task has one
    # more row for it.
    happened = torch.zeros_like(record.snapshot.active[row : row + 1])
    happened[0, i, j] = True
    one = slice(row, row + 1)
    requested = _with_row(requested, chosen, record.action.select(one).select(happened))
    result = _with_row(result, chosen, record.outcome.select(one).select(happened))
    if skipped:
        now, later = (torch.cat([x, x.new_zeros(1)]) for x in (now, later))
    numbers = (*s.device_numbers, SKIPPED)[: len(now)]
    delays = {
        name: getattr(result, name).masked_fill(result.skipped, math.nan) for name in ("delay", "delay_tx", "delay_exe")
    }
    cpu_prices = bandwidth_prices = torch.full((s.servers + 1,), math.nan)
    if record.prices is not None:
        cpu_prices = torch.cat([record.prices.own[row, i : i + 1], record.prices.cpu[row]])
        bandwidth_prices = torch.cat([torch.tensor([math.nan]), record.prices.bandwidth[row]])
    known = isinstance(record.dual, EpisodeDual)
    price = float(battery_prices(record, row)[i]) if known else math.nan

    def on_servers(values: Tensor) -> list[float]:
        """Values of the rows that are servers, (K,)."""
        return [math.nan, *values.tolist(), math.nan][: len(numbers)]

    def on_devices(values: Tensor) -> list[float]:
        """Values of the rows that are devices, (K + 1,)."""
        return [*values.tolist(), math.nan][: len(numbers)]

    servers = slice(1, s.servers + 1)
    frame = pd.DataFrame(
        {
            "choice": numbers,
            "device": [place_name(n) if n == SKIPPED else s.device_label(n) for n in numbers],
            "chosen": [k == chosen for k in range(len(numbers))],
            "delay_s": delays["delay"],
            "delay_tx_s": delays["delay_tx"],
            "delay_exe_s": delays["delay_exe"],
            "energy_j": result.energy,
            "cost": result.cost,
            "energy_later": price * result.energy,
            "deadline_s": float(record.snapshot.deadline[row, i, j]),
            "deadline_missed": result.missed,
            "latency_s": on_servers(torch.tensor(s.device_values["latency"], dtype=torch.float64)),
            "skipped": result.skipped,
            "ward_change": now,
            "later_change": later if known else torch.full_like(later, math.nan),
            "cpu_share_requested": on_devices(requested.cpu[: s.servers + 1]),
            "cpu_hz": on_devices(result.f[: s.servers + 1]),
            "bandwidth_share_requested": on_servers(requested.bandwidth[servers]),
            "bandwidth_hz": on_devices(result.b[: s.servers + 1]),
            "rate_bps": on_servers(result.rate[servers]),
            "distance_m": on_servers(record.snapshot.distance[row, i]),
            "cpu_price": on_devices(cpu_prices),
            "bandwidth_price": on_devices(bandwidth_prices),
        }
    )
    return Why(step, user, task, int(numbers[chosen]), rule, frame)


def _with_row(batch: B, row: int, new: B) -> B:
    """The batch with this row replaced, or with one more if it has as many rows; `new` has one."""
    if row == len(next(iter(vars(batch).values()))):
        return concatenate([batch, new])
    return batch.replace_rows(torch.tensor([row]), new)


def values_in_episode(s: Scenario) -> int:
    """Tasks times devices of all steps of an episode, which its certificate takes time and memory for."""
    return s.T * s.users * s.tasks * (s.servers + 1)


@cached(
    LRUCache(MOST_VALUES, getsizeof=lambda episode: max(MOST_VALUES // 8, values_in_episode(episode.scenario))),
    lock=Lock(),
)
def first_episode(s: Scenario, seed: int) -> EpisodeSet:
    """The first episode of a seed with certificates of its steps and of its return; all policies are compared on it. Cached."""
    drawn = drawn_episode(s, seed)
    with progress.part(0.0, 0.95):
        steps = solve_with_mean_prices(drawn.snapshot, s)
    with progress.part(0.95, 1.0):
        return replace(drawn, dual=solve_episodes(drawn.snapshot, s, drawn.snapshot.battery[:1], steps))


@lru_cache(maxsize=4)
def drawn_episode(s: Scenario, seed: int) -> EpisodeSet:
    """The episode of `first_episode` without certificates, which take nearly all of its time; cached."""
    return draw_episodes(s, checked_seed(seed), certify=False)


@cached_by_checkpoint(maxsize=8)
def decisions(s: Scenario, policy: str, seed: int, certify: bool = True) -> tuple[Policy, Action | None]:
    """A policy and its decisions in the episode of `play`, see `rollout.decide_episodes`. Raises `ScenarioError`."""
    with progress.part(0.0, 0.5):
        episode = first_episode(s, seed) if certify else drawn_episode(s, seed)
        decider = make_policy(policy, s)
    with progress.part(0.5, 0.95):
        return decider, decide_episodes(decider, episode)


@cached_by_checkpoint(maxsize=40)
def play(s: Scenario, policy: str, seed: int, shares: Shares = "own", certify: bool = True) -> Record:
    """The record of the first episode of a seed under a policy; cached. Raises `ScenarioError`.

    certify: with certificates; without them it is there much sooner.
    """
    checked_shares(shares)
    decider, decided = decisions(s, policy, seed, certify)
    with progress.part(0.5, 1.0):
        return play_episodes(decider, first_episode(s, seed) if certify else drawn_episode(s, seed), shares, decided)
