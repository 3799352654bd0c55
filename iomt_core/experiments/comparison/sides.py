"""A beside B: two scenarios, two policies or both on the same episode seeds, and how sure their difference is.

Differences are taken episode by episode, B - A, so that what both sides share (the draws of the same seed) cancels; the
interval is Student's over these paired differences.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Generic, TypeVar

import torch
from torch import Tensor

from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.evaluation import Summary
from iomt_core.metrics import METRICS, Metric
from iomt_core.model.snapshot import Action
from iomt_core.policies.base import SHARES, Policy, Shares
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.catalogue import checkpoint_of, kept_by_checkpoint
from iomt_core.training.catalogue import policy as make_policy
from iomt_core.twin.northbound import checked_seed
from iomt_core.twin.record import Draw, Record, decide, draw, run

MOST_EPISODES = 50
# Task values of a chunk of episodes: about a fifth of a second under the slowest policies.
CHUNK = 40_000
KEPT = 1000  # chunks: their figures and choices, some kilobytes each
RECORDS = 6  # whole chunks: those that are played now
LOOKED_AT = 4  # whole chunks: those that a person looks at
# Chunks of episodes whose draws are kept, one to five megabytes each: the usual ten episodes of a ward of any size, so that
# another policy or other shares draw and bound nothing anew.
WARDS = 12


@dataclass(frozen=True)
class Side:
    """What stands on one side of the comparison."""

    scenario: Scenario
    policy: str
    shares: Shares = "own"

    @property
    def key(self) -> tuple[object, ...]:
        """What decides the results: two sides of the same key play the same."""
        return self.scenario.digest, self.policy, self.shares, checkpoint_of(self.policy)


@dataclass(frozen=True)
class Comparison:
    """Both sides on the same episodes."""

    a: Side
    b: Side
    seed: int
    episodes: int
    pairs: tuple[Paired, ...]  # one a metric of `metrics.METRICS`
    compared: int  # tasks that both sides decided in the same place (episode, step, user, task)
    changed: int  # of these, decided otherwise
    moved: int  # of these, from a user's own device to a server or back
    ended: tuple[int, int]  # episodes that an empty battery ended (C5)
    steps: tuple[float, float]  # mean number of steps played in an episode

    def pair(self, name: str) -> Paired:
        """The metric of this name on both sides."""
        return next(pair for pair in self.pairs if pair.metric.name == name)


@dataclass(frozen=True)
class _Chunk:
    """What is kept of some episodes of one side: sums an episode by name, and all choices."""

    sums: dict[str, list[float]]
    choice: Tensor  # (E, T, U, J) int8, -1 where there is no task or the episode was over


T = TypeVar("T")


class _Kept(Generic[T]):
    """What was computed last of some chunks, by key; safe to share between sessions."""

    def __init__(self, most: int) -> None:
        self._chunks: OrderedDict[tuple[object, ...], T] = OrderedDict()
        self._lock, self._most = Lock(), most

    def get(self, key: tuple[object, ...]) -> T | None:
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
            return self._chunks.get(key)

    def ask(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What is kept, or else made and kept; two who ask at once may both make it."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def put(self, key: tuple[object, ...], chunk: T) -> None:
        with self._lock:
            self._chunks[key] = chunk
            while len(self._chunks) > self._most:
                self._chunks.popitem(last=False)


_KEPT = _Kept[_Chunk](KEPT)
_RECORDS = _Kept[tuple[Record, _Chunk]](RECORDS)
# Kept for themselves: playing on must not throw out what a person looks at meanwhile.
_LOOKED_AT = _Kept[Record](LOOKED_AT)


def chunk_size(s: Scenario) -> int:
    """Episodes that are played in one batch: 1, 2 or 5, a matter of the ward alone.

    So an episode is always played in the same batch, whoever decides and however many are asked for, and two policies on
    one ward share its certificates to the last bit.
    """
    values = s.T * s.users * s.tasks * (s.servers + 1)
    return next((n for n in (5, 2) if n * values <= CHUNK), 1)


def checked(side: Side, seed: int, episodes: int) -> None:
    """Raises `ScenarioError` for an unknown policy, one that cannot take the ward, or a number out of range."""
    if not 1 <= episodes <= MOST_EPISODES:
        raise ScenarioError(f"episodes = {episodes} is out of range: allowed is 1 to {MOST_EPISODES}.")
    if side.shares not in SHARES:
        raise ScenarioError(f"shares = {side.shares!r} is not known: allowed is {', '.join(SHARES)}.")
    checked_seed(seed)
    make_policy(side.policy, side.scenario)


def finished(a: Side, b: Side, seed: int, episodes: int) -> int:
    """How many of the first `episodes` both sides have played already."""
    return min(_finished(side, seed, episodes) for side in (a, b))


def _finished(side: Side, seed: int, episodes: int) -> int:
    size, done = chunk_size(side.scenario), 0
    while done < episodes and _KEPT.get((*side.key, seed, done // size)) is not None:
        done += size
    return min(done, episodes)


def advance(a: Side, b: Side, seed: int, episodes: int, between: Callable[[], None] = lambda: None) -> Iterator[float]:
    """Plays what is missing, piece by piece; yields the share done after each. What is played stays, should nobody go on.

    `between` is called after every step of a policy that remembers; what it raises ends the piece, which is lost.
    Raises `ScenarioError` as `checked` does.
    """
    for side in (a, b):
        checked(side, seed, episodes)
    pieces = [
        (first / episodes, side, first // chunk_size(side.scenario))
        for side in dict.fromkeys((a, b))
        for first in range(_finished(side, seed, episodes), episodes, chunk_size(side.scenario))
    ]
    # Both sides go forward together, so that what is there when somebody stops can be compared.
    pieces.sort(key=lambda piece: piece[0])
    for n, (_, side, chunk) in enumerate(pieces, 1):
        _chunk(side, seed, chunk, between)
        yield n / len(pieces)


def compare(a: Side, b: Side, seed: int, episodes: int) -> Comparison:
    """Both sides on episodes 1 to `episodes` of the seed. Raises `ScenarioError` as `checked` does."""
    for _ in advance(a, b, seed, episodes):
        pass
    chunks = [[_chunk(side, seed, n) for n in range(-(-episodes // chunk_size(side.scenario)))] for side in (a, b)]
    sums = [{name: _joined(side, name)[:episodes] for name in side[0].sums} for side in chunks]
    compared = changed = moved = 0
    for left, right in zip(*([x for c in side for x in c.choice][:episodes] for side in chunks), strict=True):
        left, right = _common(left, right)
        both = (left >= 0) & (right >= 0)
        other = both & (left != right)
        compared, changed = compared + int(both.sum()), changed + int(other.sum())
        moved += int((other & ((left == 0) | (right == 0))).sum())
    ended = int(sum(sums[0]["ended"])), int(sum(sums[1]["ended"]))
    steps = math.fsum(sums[0]["steps"]) / episodes, math.fsum(sums[1]["steps"]) / episodes
    pairs = tuple(_paired(metric, *sums) for metric in METRICS.values())
    return Comparison(a, b, seed, episodes, pairs, compared, changed, moved, ended, steps)


def episode(side: Side, seed: int, number: int) -> Record:
    """One side's episode `number`, from 1, as `compare` plays it."""
    checked(side, seed, number)
    chunk = (number - 1) // chunk_size(side.scenario)
    whole = _LOOKED_AT.ask((*side.key, seed, chunk), lambda: _play(side, seed, chunk)[0])
    return whole.worlds((whole.episode == number).nonzero().flatten())


@lru_cache(maxsize=WARDS)
def _drawn(s: Scenario, seed: int, chunk: int) -> Draw:
    size = chunk_size(s)
    return draw(s, seed, chunk * size, size)


@kept_by_checkpoint(maxsize=2 * WARDS)
def _decided(s: Scenario, policy: str, seed: int, chunk: int) -> tuple[Policy, Action | None]:
    """The policy, and what it decides whatever the shares; see `record.decide`."""
    decider = make_policy(policy, s)
    return decider, decide(decider, _drawn(s, seed, chunk))


def _play(side: Side, seed: int, chunk: int, between: Callable[[], None] = lambda: None) -> tuple[Record, _Chunk]:
    """A chunk of one side's episodes, whole, and its figures and choices, which are kept beyond it."""
    key = (*side.key, seed, chunk)
    found = _RECORDS.ask(key, lambda: _played(side, seed, chunk, between))
    _KEPT.put(key, found[1])
    return found


def _played(side: Side, seed: int, chunk: int, between: Callable[[], None]) -> tuple[Record, _Chunk]:
    s = side.scenario
    decider, decided = _decided(s, side.policy, seed, chunk)
    record = run(decider, _drawn(s, seed, chunk), side.shares, decided, between)
    summary = Summary(s, side.policy, side.shares, seed)
    summary.add(record)
    choice = torch.full((chunk_size(s), s.T, s.users, s.tasks), -1, dtype=torch.int8)
    place = record.episode - 1 - chunk * chunk_size(s), record.step - 1
    choice[place] = torch.where(record.snapshot.active, record.action.choice, -1).to(torch.int8)
    return record, _Chunk(summary.sums, choice)


def _chunk(side: Side, seed: int, number: int, between: Callable[[], None] = lambda: None) -> _Chunk:
    """What is kept of a chunk; played where it is not there yet, or was dropped in between."""
    return _KEPT.ask((*side.key, seed, number), lambda: _play(side, seed, number, between)[1])


def _joined(chunks: Sequence[_Chunk], name: str) -> list[float]:
    return [x for chunk in chunks for x in chunk.sums[name]]


def _common(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The steps, users and tasks that both have."""
    most = tuple(slice(0, min(n, m)) for n, m in zip(left.shape, right.shape, strict=True))
    return left[most], right[most]


def _paired(metric: Metric, a: dict[str, list[float]], b: dict[str, list[float]]) -> Paired:
    values = zip(metric.per_episode(a), metric.per_episode(b), strict=True)
    pairs = [(x, y) for x, y in values if math.isfinite(x) and math.isfinite(y)]
    return Paired(metric, tuple(x for x, _ in pairs), tuple(y for _, y in pairs))
