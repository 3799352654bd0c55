"""Compares A with B: two scenarios, two policies or both, on the same episode seeds, with the uncertainty of the difference.

Differences are paired, B - A in each episode, so that what both sides share (the draws of the same seed) cancels. The
interval is Student's over these differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Literal

import torch
from cachetools import LRUCache, cached
from torch import Tensor

from iomt_core.experiments.comparison.decisions import NO_TASK, decided
from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.evaluation import Summary
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.model.snapshot import Action
from iomt_core.policies.base import Policy, Shares
from iomt_core.record import Record
from iomt_core.rollout import EpisodeSet, decide_episodes, draw_episodes, play_episodes
from iomt_core.scenario import Scenario, check_range
from iomt_core.training.catalogue import cached_by_checkpoint, checkpoint_of, entry, make_policy
from iomt_core.twin.northbound import checked_seed, checked_shares, values_in_episode

MOST_EPISODES = 50
EPISODES = 10  # unless a person chooses another number
# Largest number of (task, device) pairs in a chunk of episodes: about 0.2 s with the slowest policies.
CHUNK = 40_000
# Number of chunks whose results are cached:
SUMS = 1000  # metrics and choices, a few kilobytes each
RECORDS = 6  # whole records, while they are played
SHOWN = 4  # whole records that the page shows
# Tasks times devices of an episode; a larger ward is compared without certificates, which would take minutes an episode.
MOST_CERTIFIED = 1_000_000
WARDS = 12  # drawn episodes with certificates, 1 to 5 MB each, shared by all policies and sharing rules


@dataclass(frozen=True)
class Side:
    """One side of the comparison."""

    scenario: Scenario
    policy: str
    shares: Shares = "own"

    @property
    def key(self) -> tuple[object, ...]:
        """All that the results depend on: sides of the same key have the same results."""
        return self.scenario.digest, self.policy, self.shares, checkpoint_of(self.policy)


@dataclass(frozen=True)
class Comparison:
    """Both sides on the same episodes."""

    a: Side
    b: Side
    seed: int
    episodes: int
    pairs: tuple[Paired, ...]  # one for each metric of `metrics.METRICS` that is known on both sides
    compared: int  # tasks that both sides decided in the same place (episode, step, user, task)
    changed: int  # of these, on different devices
    moved: int  # of these, from a user's own device to a server or back
    ended: tuple[int, int]  # episodes that an empty battery ended (C5)
    steps: tuple[float, float]  # mean number of steps played in an episode
    skipped: tuple[float, float]  # share of the tasks that were skipped

    @property
    def by(self) -> Literal["cost", "return"]:
        """The metric that the sides are compared by: the return if one of them did not do everything."""
        return "return" if any(self.ended) or any(self.skipped) else "cost"

    def has(self, name: str) -> bool:
        """Whether the metric of this name is known on both sides."""
        return any(pair.metric.name == name for pair in self.pairs)

    def pair(self, name: str) -> Paired:
        """The metric of this name on both sides."""
        return next(pair for pair in self.pairs if pair.metric.name == name)


def is_certified(s: Scenario) -> bool:
    """Whether the episodes of a ward are compared with certificates, so that gaps to the bound are among the metrics."""
    return values_in_episode(s) <= MOST_CERTIFIED


def chunk_size(s: Scenario) -> int:
    """Number of episodes in one batch: 1, 2 or 5. It depends only on the size of the ward.

    So an episode is in the same batch for every policy and every number of episodes, and all policies in a ward have exactly
    the same certificates.
    """
    values = values_in_episode(s)
    return next((n for n in (5, 2) if n * values <= CHUNK), 1)


def checked(side: Side, seed: int, episodes: int) -> None:
    """Raises `ScenarioError` if the policy is unknown or cannot decide in the ward, or if a number is out of range."""
    check_range("episodes", episodes, 1, MOST_EPISODES)
    checked_shares(side.shares)
    checked_seed(seed)
    if entry(side.policy).trained:  # others can decide everywhere, and some take seconds to make in a large ward
        make_policy(side.policy, side.scenario)


def finished(a: Side, b: Side, seed: int, episodes: int) -> int:
    """How many of the first `episodes` both sides have played already."""
    return min(_finished(side, seed, episodes) for side in (a, b))


def _finished(side: Side, seed: int, episodes: int) -> int:
    size, done = chunk_size(side.scenario), 0
    while done < episodes and _key(side, seed, done // size) in _SUMS:
        done += size
    return min(done, episodes)


def advance(a: Side, b: Side, seed: int, episodes: int, on_step: Callable[[], None] = lambda: None) -> Iterator[float]:
    """Plays the missing episodes in chunks. Yields the fraction done after each chunk; finished chunks stay cached.

    `on_step` is called after every step of a policy with memory; an exception from it ends the chunk, which is lost.
    Raises `ScenarioError` as `checked` does.
    """
    for side in (a, b):
        checked(side, seed, episodes)
    pieces = missing(a, b, seed, episodes)
    for n, (side, chunk) in enumerate(pieces, 1):
        _sums(side, seed, chunk, on_step)
        yield n / len(pieces)


def missing(a: Side, b: Side, seed: int, episodes: int) -> list[tuple[Side, int]]:
    """The chunks of both sides that are still to be played, in order."""
    found = [
        (first / episodes, side, first // chunk_size(side.scenario))
        for side in dict.fromkeys((a, b))
        for first in range(_finished(side, seed, episodes), episodes, chunk_size(side.scenario))
    ]
    # Both sides advance together, so that after a stop the episodes played so far can be compared.
    return [(side, chunk) for _, side, chunk in sorted(found, key=lambda piece: piece[0])]


def chunk_sums(s: Scenario, policy: str, shares: Shares, seed: int, chunk: int) -> Sums:
    """The results of a chunk of one side, for another process to `keep`. Raises `ScenarioError`."""
    return _sums(Side(s, policy, shares), seed, chunk)


def chunk_record(s: Scenario, policy: str, shares: Shares, seed: int, chunk: int) -> Record:
    """The record of a chunk of one side. Raises `ScenarioError`."""
    return _play(Side(s, policy, shares), seed, chunk)


def keep(side: Side, seed: int, chunk: int, sums: Sums) -> None:
    """Keeps what another process has played, as if this one had."""
    with _LOCK:
        _SUMS[_key(side, seed, chunk)] = sums


def compare(a: Side, b: Side, seed: int, episodes: int) -> Comparison:
    """Both sides on episodes 1 to `episodes` of the seed. Raises `ScenarioError` as `checked` does."""
    for _ in advance(a, b, seed, episodes):
        pass
    chunks = [[_sums(side, seed, n) for n in range(-(-episodes // chunk_size(side.scenario)))] for side in (a, b)]
    sums = [
        {name: [x for chunk in side for x in chunk.sums[name]][:episodes] for name in side[0].sums} for side in chunks
    ]
    compared = changed = moved = 0
    for left, right in zip(*([x for chunk in side for x in chunk.choice][:episodes] for side in chunks), strict=True):
        left, right = _common(left, right)
        both = (left != NO_TASK) & (right != NO_TASK)
        other = both & (left != right)
        compared, changed = compared + int(both.sum()), changed + int(other.sum())
        moved += int((other & ((left == 0) | (right == 0))).sum())
    ended = int(sum(sums[0]["ended"])), int(sum(sums[1]["ended"]))
    steps = math.fsum(sums[0]["steps"]) / episodes, math.fsum(sums[1]["steps"]) / episodes
    known = sums[0].keys() & sums[1].keys()
    pairs = tuple(Paired.of(m, *sums) for m in METRICS.values() if {m.numerator, m.denominator} <= known | {""})
    share = CONTEXT["skipped_share"]
    skipped = tuple(share.aggregate({name: math.fsum(values) for name, values in side.items()}) for side in sums)
    return Comparison(a, b, seed, episodes, pairs, compared, changed, moved, ended, steps, (skipped[0], skipped[1]))


@dataclass(frozen=True)
class Sums:
    """The results of a chunk of one side's episodes: sums an episode by name, and all choices."""

    sums: dict[str, list[float]]
    choice: Tensor  # (episodes, T, all users of the ward, J) int8, see `decisions.decided`


_SUMS: LRUCache[Hashable, Sums] = LRUCache(SUMS)
_LOCK = Lock()


def _key(side: Side, seed: int, chunk: int, on_step: object = None) -> Hashable:
    return side.key, seed, chunk


@cached(_SUMS, _key, _LOCK)
def _sums(side: Side, seed: int, chunk: int, on_step: Callable[[], None] = lambda: None) -> Sums:
    s, first, record = side.scenario, chunk * chunk_size(side.scenario), _play(side, seed, chunk, on_step)
    summary = Summary(s, side.policy, side.shares, seed)
    summary.add(record)
    choice = torch.full((chunk_size(s), s.T, s.ward_users, s.tasks), NO_TASK, dtype=torch.int8)
    rows, users = (record.episode[:, None] - 1 - first, record.step[:, None] - 1), torch.tensor(s.user_numbers) - 1
    choice[(*rows, users)] = decided(record).to(torch.int8)
    return Sums(summary.sums, choice)


@cached(LRUCache(RECORDS), _key, Lock())
def _play(side: Side, seed: int, chunk: int, on_step: Callable[[], None] = lambda: None) -> Record:
    policy, decided = _decided(side.scenario, side.policy, seed, chunk)
    return play_episodes(policy, _drawn(side.scenario, seed, chunk), side.shares, decided, on_step)


def episode(side: Side, seed: int, number: int) -> Record:
    """One side's episode `number`, from 1, as `compare` plays it."""
    checked(side, seed, number)
    record = _shown(side, seed, (number - 1) // chunk_size(side.scenario))
    return record.select((record.episode == number).nonzero().flatten())


@cached(LRUCache(SHOWN), _key, Lock())
def _shown(side: Side, seed: int, chunk: int) -> Record:
    """A chunk that the page shows. It has its own cache, so that chunks played meanwhile cannot remove it."""
    return _play(side, seed, chunk)


@lru_cache(maxsize=WARDS)
def _drawn(s: Scenario, seed: int, chunk: int) -> EpisodeSet:
    size = chunk_size(s)
    return draw_episodes(s, seed, chunk * size, size, is_certified(s))


@cached_by_checkpoint(maxsize=2 * WARDS)
def _decided(s: Scenario, policy: str, seed: int, chunk: int) -> tuple[Policy, Action | None]:
    """The policy, and its decisions, which do not depend on the sharing rule; see `rollout.decide_episodes`."""
    decider = make_policy(policy, s)
    return decider, decide_episodes(decider, _drawn(s, seed, chunk))


def _common(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Both cut to the steps, users and tasks that both have."""
    most = tuple(slice(0, min(n, m)) for n, m in zip(left.shape, right.shape, strict=True))
    return left[most], right[most]
