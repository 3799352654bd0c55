"""The loop that plays episodes, for training, the twin, evaluation and comparison.

`Rollout` plays the worlds of an environment step by step. `play_episodes` plays whole episodes: all steps in one batch if the
policy allows it, otherwise by a `Rollout`, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment, Transition
from iomt_core.environment.world import World
from iomt_core.model import progress
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import BatteryAware, Planner, Policy, Shares, with_shares
from iomt_core.policies.dual import DualSolution, solve_dual
from iomt_core.policies.episode_dual import solve_episodes
from iomt_core.policies.price_response import PriceResponse
from iomt_core.record import Record
from iomt_core.scenario import Scenario

# Part of a battery's capacity that is too small to change a decision: requests change by less than single precision.
BATTERY_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Step:
    """One played step of B worlds: the snapshot, the policy's action, and the environment's transition."""

    number: int  # from 1
    snapshot: Snapshot
    action: Action
    dual: DualSolution | None
    transition: Transition

    def record(self, s: Scenario, episode: Tensor) -> Record:
        """The step as a record, with a row for each world whose episode had not ended.

        episode: (B,) int64, the number of each world's episode.
        """
        transition = self.transition
        number = torch.full_like(episode, self.number)
        rows = Record(
            s, episode, number, self.snapshot, self.action, transition.outcome, self.dual, transition.terminated
        )
        return rows.select(transition.alive)


class Rollout:
    """Plays the worlds of an environment under one policy, step by step; `shares` as in `policies.base.with_shares`."""

    def __init__(self, policy: Policy, environment: Environment, shares: Shares = "own") -> None:
        self.policy, self.environment, self.shares = policy, environment, shares
        self._memory: Any = None
        self._plan: tuple[int, Action] | None = None  # the step from which on a planner has decided, and its decisions

    @property
    def done(self) -> bool:
        """Whether all episodes are over, at their last step or by an empty battery."""
        return self.environment.done

    def step(self, dual: DualSolution | None = None) -> Step:
        """Plays the next step. Raises `RuntimeError` after T steps.

        dual: the certificate of the step, if the caller has it.
        """
        if isinstance(self.policy, Planner):
            action = self._planned(self.policy)
        else:
            action, self._memory = self.policy.step(self.environment.snapshot, self._memory, dual)
        return self._play(action, dual)

    def _play(self, action: Action, dual: DualSolution | None) -> Step:
        environment, snapshot = self.environment, self.environment.snapshot
        action = with_shares(action, snapshot, environment.scenario, self.shares)
        transition = environment.step(action)
        return Step(environment.t, snapshot, action, dual, transition)

    def _planned(self, policy: Planner) -> Action:
        environment = self.environment
        if self._plan is None:
            future = environment.remaining()
            self._plan = environment.t, policy.plan(concatenate(future), len(future))
        first, plan = self._plan
        worlds = len(environment.alive)
        return plan.select(slice((environment.t - first) * worlds, (environment.t - first + 1) * worlds))

    def fork(self, policy: Policy | None = None, shares: Shares | None = None) -> Rollout:
        """An independent copy that continues from here with the same future tasks, under another policy or share rule if given.

        A new policy starts without memory, and a new planner plans from here.
        """
        fork = Rollout(policy or self.policy, self.environment.fork(), shares or self.shares)
        if policy is None:
            fork._memory, fork._plan = self._memory, self._plan
        return fork


def step_together(rollouts: Sequence[Rollout], duals: Sequence[DualSolution]) -> list[Step]:
    """Plays the next step of several rollouts that have the same policy object, which decides in one batch for all of them.

    The steps are those of `Rollout.step` with these certificates, up to rounding. One decision for ten worlds takes little more
    time than for one. Raises `RuntimeError` after T steps.
    """
    policy = rollouts[0].policy
    started = [rollout._memory is not None for rollout in rollouts]
    if len(rollouts) == 1 or isinstance(policy, Planner) or not policy.joins_rollouts:
        return [rollout.step(dual) for rollout, dual in zip(rollouts, duals, strict=True)]
    if len(set(started)) == 2:  # a policy with memory, at the first step of some episodes
        steps: dict[int, Step] = {}
        for now in (True, False):
            places = [place for place, one in enumerate(started) if one is now]
            part = step_together([rollouts[place] for place in places], [duals[place] for place in places])
            steps |= dict(zip(places, part, strict=True))
        return [steps[place] for place in range(len(rollouts))]
    memories = [rollout._memory for rollout in rollouts if rollout._memory is not None]
    joined = tuple(torch.cat(parts, 1) for parts in zip(*memories, strict=True)) if memories else None
    worlds = [len(rollout.environment.alive) for rollout in rollouts]
    snapshot = concatenate([rollout.environment.snapshot for rollout in rollouts])
    action, memory = policy.step(snapshot, joined, concatenate(duals))
    found, first = [], 0
    for rollout, dual, count in zip(rollouts, duals, worlds, strict=True):
        rows = slice(first, first + count)
        rollout._memory = None if memory is None else tuple(x[:, rows].contiguous() for x in memory)
        found.append(rollout._play(action.select(rows), dual))
        first += count
    return found


@dataclass(frozen=True)
class EpisodeSet:
    """All steps of some episodes before any decision, with their certificates; several policies can play the same set."""

    scenario: Scenario
    seed: int
    first: int  # the first episode, from 0
    count: int  # number of episodes
    snapshot: Snapshot  # (T · count, …) sorted by step, then episode; batteries are full
    dual: DualSolution | None


def draw_episodes(s: Scenario, seed: int, first: int = 0, count: int = 1, certify: bool = True) -> EpisodeSet:
    """Draws episodes `first` (from 0) to `first + count - 1` of a seed; `certify` also bounds their steps and their returns."""
    snapshot = concatenate(World(s, world_seeds(seed, first, count)).episode())
    dual = solve_episodes(snapshot, s, snapshot.battery[:count], solve_dual(snapshot, s)) if certify else None
    return EpisodeSet(s, seed, first, count, snapshot, dual)


def decide_episodes(policy: Policy, episodes: EpisodeSet) -> Action | None:
    """The policy's decisions in all steps, before any share rule; None if they depend on earlier steps."""
    if isinstance(policy, Planner):
        return policy.plan(episodes.snapshot, episodes.scenario.T, episodes.dual)
    return policy.decide(episodes.snapshot, episodes.dual) if policy.uses_past == "nothing" else None


def play_episodes(
    policy: Policy,
    episodes: EpisodeSet,
    shares: Shares = "own",
    decisions: Action | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Record:
    """Plays each episode to its end. Returns a record with a row for each played step, sorted by episode and step.

    shares: see `policies.base.with_shares`. decisions: the result of `decide_episodes`, if the caller has it. on_step: called
    after every step of a policy with memory, which is slow; it may raise an exception to stop.
    """
    if policy.uses_past == "memory":
        return _play_step_by_step(policy, episodes, shares, on_step)
    return _play_in_one_batch(policy, episodes, shares, decisions)


def _play_step_by_step(policy: Policy, episodes: EpisodeSet, shares: Shares, on_step: Callable[[], None]) -> Record:
    s, first, count = episodes.scenario, episodes.first, episodes.count
    environment = Environment(s, world_seeds(episodes.seed, first, count), torch.float64)
    rollout, numbers = Rollout(policy, environment, shares), torch.arange(first + 1, first + count + 1)
    parts = []
    while not rollout.done:
        rows = slice(environment.t * count, (environment.t + 1) * count)
        step = rollout.step(None if episodes.dual is None else episodes.dual.select(rows))
        parts.append(step.record(s, numbers))
        on_step()
    record = concatenate(parts)
    return record.select((record.episode * (s.T + 1) + record.step).argsort())


def _play_in_one_batch(policy: Policy, episodes: EpisodeSet, shares: Shares, decisions: Action | None) -> Record:
    """Decides all steps at once. A policy that depends on batteries decides again where their charge differs from the expected.

    After each round at least one more step of every episode is final, so T rounds are enough. A few are enough in practice,
    because decisions of networks depend little on the charge. A battery-aware policy decides the episodes in which it has to
    save once more, step by step.
    """
    s, full = episodes.scenario, _full_batteries(episodes)
    snapshot = _with_expected_batteries(episodes) if policy.uses_past == "batteries" else episodes.snapshot
    action = decisions or decide_episodes(policy, episodes) or policy.decide(snapshot, episodes.dual)
    decided_at = snapshot.battery
    for _ in range(s.T + 1):
        final = with_shares(action, snapshot, s, shares)
        result = outcome(snapshot, final, s)
        battery, spent = _batteries(episodes, result)
        snapshot = replace(snapshot, battery=battery)
        if policy.uses_past != "batteries":
            break
        rows = ((decided_at - battery).abs() > BATTERY_TOLERANCE * full[:1]).any(-1).nonzero().flatten()
        if not len(rows):
            break
        decided_at = decided_at.index_copy(0, rows, battery[rows])
        dual = None if episodes.dual is None else episodes.dual.select(rows)
        action = action.replace_rows(rows, policy.decide(snapshot.select(rows), dual))
    if isinstance(policy, BatteryAware):
        saving = policy.depends_on_charge(snapshot, result.energy.sum(-1)).view(s.T, -1).any(0).nonzero().flatten()
        if len(saving):
            rows = torch.arange(len(battery)).view(s.T, -1)[:, saving].flatten()
            final = final.replace_rows(rows, _decide_in_turn(policy, snapshot.select(rows), len(saving), shares))
            result = outcome(snapshot, final, s)
            battery, spent = _batteries(episodes, result)
            snapshot = replace(snapshot, battery=battery)
    return _record(episodes, snapshot, final, result, spent)


def _decide_in_turn(policy: Policy, snapshot: Snapshot, count: int, shares: Shares) -> Action:
    """The decisions in all steps of some episodes, each with the charge that the steps before it leave."""
    s, parts = policy.scenario, []
    battery = snapshot.battery[:count]
    steps = torch.arange(len(snapshot.D)).split(count)
    for t, step in enumerate(steps):
        now = replace(snapshot.select(step), battery=battery)
        with progress.part(t / len(steps), (t + 1) / len(steps)):
            action = with_shares(policy.decide(now), now, s, shares)
        parts.append(action)
        battery = (battery - outcome(now, action, s).energy.sum(-1)).clamp_min(0.0)
    return concatenate(parts)


def _record(episodes: EpisodeSet, snapshot: Snapshot, final: Action, result: Outcome, spent: Tensor) -> Record:
    """The record of the played steps; spent: energy up to the end of each step, (T, count, U) J."""
    s, count = episodes.scenario, episodes.count
    ended = (spent > _full_batteries(episodes)).any(-1)  # (T, count)
    played = (ended.cumsum(0) - ended.to(torch.int64)) == 0
    step = torch.arange(1, s.T + 1)[:, None].expand(s.T, count)
    episode = torch.arange(episodes.first + 1, episodes.first + count + 1).expand(s.T, count)
    dual = episodes.dual and episodes.dual.without_tasks()  # a record would need much memory with them
    record = Record(s, episode.flatten(), step.flatten(), snapshot, final, result, dual, ended.flatten())
    if count == 1 and bool(played.all()):
        return record
    order = torch.arange(s.T * count).view(s.T, count).T.flatten()  # sorted by episode, then step
    return record.select(order[played.T.flatten()])


def _with_expected_batteries(episodes: EpisodeSet) -> Snapshot:
    """The steps with the charge that batteries would have under price response, a good first guess."""
    s = episodes.scenario
    result = outcome(episodes.snapshot, PriceResponse(s).decide(episodes.snapshot), s)
    return replace(episodes.snapshot, battery=_batteries(episodes, result)[0])


def _batteries(episodes: EpisodeSet, result: Outcome) -> tuple[Tensor, Tensor]:
    """Charge before each step (T · count, U), and energy spent up to the end of each step (T, count, U), in J."""
    s = episodes.scenario
    used = result.energy.sum(-1).view(s.T, episodes.count, s.users)
    spent = used.cumsum(0)
    return (_full_batteries(episodes) - (spent - used)).clamp_min(0.0).flatten(0, 1), spent


def _full_batteries(episodes: EpisodeSet) -> Tensor:
    """What every battery holds at the start, (count, U) J."""
    return episodes.snapshot.battery[: episodes.count]
