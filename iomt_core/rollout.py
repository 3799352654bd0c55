"""The one loop that plays episodes: training, the twin, evaluation and comparison all use it.

`Rollout` plays the worlds of an environment step by step. `play_episodes` plays whole episodes: all steps in one batch
where the policy allows it, else by a `Rollout`; the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment, Transition
from iomt_core.environment.world import World
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import Outcome, outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Memory, Policy, Shares, with_shares
from iomt_core.policies.dual import DualSolution, solve_dual
from iomt_core.policies.price_response import PriceResponse
from iomt_core.record import Record
from iomt_core.scenario import Scenario

SETTLED = 1e-5  # part of a battery's capacity that changes no decision: requests move by less than single precision


@dataclass(frozen=True)
class Step:
    """One played step of B worlds: what stood before the policy, what it did, and what came of it."""

    number: int  # from 1
    snapshot: Snapshot
    action: Action
    dual: DualSolution | None
    transition: Transition

    def record(self, s: Scenario, episode: Tensor) -> Record:
        """The step as rows of a record, one for each world whose episode had not ended; `episode` (B,) their numbers."""
        done = self.transition
        number = torch.full_like(episode, self.number)
        rows = Record(s, episode, number, self.snapshot, self.action, done.outcome, self.dual, done.terminated)
        return rows.select(done.alive)


class Rollout:
    """Plays the worlds of one environment under one policy, step by step."""

    def __init__(self, policy: Policy, environment: Environment, shares: Shares = "own") -> None:
        self.policy, self.environment, self.shares = policy, environment, shares
        self._memory: Memory | None = None

    @property
    def done(self) -> bool:
        """Whether all episodes are over, by their length or by an empty battery."""
        return self.environment.done

    def step(self, dual: DualSolution | None = None) -> Step:
        """Decides and prices the next step; `dual` is its certificate, where the caller has it.

        Raises `RuntimeError` after T steps.
        """
        environment, snapshot = self.environment, self.environment.snapshot
        action, self._memory = self.policy.step(snapshot, self._memory, dual)
        action = with_shares(action, snapshot, environment.scenario, self.shares)
        transition = environment.step(action)
        return Step(environment.t, snapshot, action, dual, transition)

    def fork(self, policy: Policy | None = None, shares: Shares | None = None) -> Rollout:
        """An independent continuation from here, with the same tasks to come; another policy begins without memory."""
        fork = Rollout(policy or self.policy, self.environment.fork(), shares or self.shares)
        fork._memory = self._memory if policy is None else None
        return fork


@dataclass(frozen=True)
class EpisodeSet:
    """All steps of some episodes before anybody decides, with their certificates; many policies can play the same set."""

    scenario: Scenario
    seed: int
    first: int  # number of the first episode, from 0
    count: int  # of episodes
    snapshot: Snapshot  # (T · count, …): step by step, in each the episodes in order; batteries full
    dual: DualSolution | None


def draw_episodes(s: Scenario, seed: int, first: int = 0, count: int = 1, certify: bool = True) -> EpisodeSet:
    """Draws episodes `first` (from 0) to `first + count - 1` of a seed, and certifies all their steps unless told not to."""
    snapshot = concatenate(World(s, world_seeds(seed, first, count)).episode())
    return EpisodeSet(s, seed, first, count, snapshot, solve_dual(snapshot, s) if certify else None)


def decide_episodes(policy: Policy, episodes: EpisodeSet) -> Action | None:
    """The policy's decisions in all steps, whatever rule makes the shares; None where they depend on earlier steps."""
    return policy.decide(episodes.snapshot, episodes.dual) if policy.uses_past == "nothing" else None


def play_episodes(
    policy: Policy,
    episodes: EpisodeSet,
    shares: Shares = "own",
    decisions: Action | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Record:
    """Plays each episode to its end. Returns one row a step played, sorted by episode and step.

    `decisions` is what `decide_episodes` returned, where the caller has it. `on_step` is called after every step of a policy
    with memory, which takes long; an exception from it ends the play.
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
    """Decides all steps at once. A policy that sees batteries decides again where they turn out other than expected.

    Each round settles at least one more step of every episode, so T rounds are enough; as decisions depend little on
    batteries, a few are.
    """
    s, count = episodes.scenario, episodes.count
    sees_batteries = policy.uses_past == "batteries"
    snapshot = _with_expected_batteries(episodes) if sees_batteries else episodes.snapshot
    action = policy.decide(snapshot, episodes.dual) if decisions is None else decisions
    decided_at = snapshot.battery
    for _ in range(s.T + 1):
        taken = with_shares(action, snapshot, s, shares)
        result = outcome(snapshot, taken, s)
        battery, spent = _batteries(episodes, result)
        snapshot = replace(snapshot, battery=battery)
        if not sees_batteries:
            break
        rows = ((decided_at - battery).abs().amax(-1) > SETTLED * s.Cap).nonzero().flatten()
        if not len(rows):
            break
        decided_at = decided_at.index_copy(0, rows, battery[rows])
        dual = None if episodes.dual is None else episodes.dual.select(rows)
        action = action.replace_rows(rows, policy.decide(snapshot.select(rows), dual))
    ended = (spent > s.Cap).any(-1)  # (T, count)
    played = (ended.cumsum(0) - ended.to(torch.int64)) == 0
    step = torch.arange(1, s.T + 1)[:, None].expand(s.T, count)
    episode = torch.arange(episodes.first + 1, episodes.first + count + 1).expand(s.T, count)
    record = Record(s, episode.flatten(), step.flatten(), snapshot, taken, result, episodes.dual, ended.flatten())
    order = torch.arange(s.T * count).view(s.T, count).T.flatten()  # from step by step to episode by episode
    return record.select(order[played.T.flatten()])


def _with_expected_batteries(episodes: EpisodeSet) -> Snapshot:
    """The steps with the batteries that they would find if all users answered to prices: a good first guess."""
    s = episodes.scenario
    result = outcome(episodes.snapshot, PriceResponse(s).decide(episodes.snapshot), s)
    return replace(episodes.snapshot, battery=_batteries(episodes, result)[0])


def _batteries(episodes: EpisodeSet, result: Outcome) -> tuple[Tensor, Tensor]:
    """Energy left before each step, J (T · count, U), and spent in all steps up to and with it, J (T, count, U)."""
    s = episodes.scenario
    used = result.energy.sum(-1).view(s.T, episodes.count, s.users)
    spent = used.cumsum(0)
    return (s.Cap - (spent - used)).clamp_min(0.0).flatten(0, 1), spent
