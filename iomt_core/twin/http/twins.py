"""The twins that callers have open: whose they are, how many, and when they expire."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.twin.access.errors import RefusedError
from iomt_core.twin.http.errors import StatusError
from iomt_core.twin.northbound import Twin


@dataclass(frozen=True)
class HttpLimits:
    """What callers may use.

    twins_each: twins of one identity at the same time. twins: of all. idle: seconds without a request after which a twin is
    closed. body: bytes of a request. decisions: of an episode, users × tasks × devices × steps. streams: event streams of one
    twin. waiting: requests that wait for a thread.
    """

    twins_each: int = 8
    twins: int = 256
    idle: float = 900.0
    body: int = 1_000_000
    decisions: int = 50_000
    streams: int = 4
    waiting: int = 512

    def check_size(self, s: Scenario) -> int:
        """Decisions of an episode of the scenario. Raises `ScenarioError` if these are too many."""
        count = s.users * s.tasks * (s.servers + 1) * s.T
        if count > self.decisions:
            raise ScenarioError(
                f"scenario = {s.name[:60]!r} has {count} users × tasks × devices × steps: allowed over HTTP is {self.decisions}."
            )
        return count


@dataclass
class OpenTwin:
    """A twin of a caller, with the steps that were played, as JSON, for its event streams."""

    name: str
    owner: str
    twin: Twin
    used: float
    steps: list[bytes] = field(default_factory=list)
    planned: bool = False  # its policy has decided once since it was opened or forked
    closed: bool = False
    streams: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add_step(self, step: bytes) -> None:
        """Keeps a played step and wakes the event streams."""
        self.steps.append(step)
        self.notify()

    def notify(self) -> None:
        """Wakes everybody who waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()


class TwinStore:
    """All open twins. It belongs to one event loop."""

    def __init__(self, limits: HttpLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._twins: dict[str, OpenTwin] = {}
        self._reserved: list[str] = []  # owners of twins that are being made

    def __len__(self) -> int:
        return len(self._twins)

    def of(self, owner: str) -> Iterator[OpenTwin]:
        """The twins of an identity."""
        self.close_idle()
        return (one for one in self._twins.values() if one.owner == owner)

    def reserve(self, owner: str) -> None:
        """Takes a place for a twin that is then given to `add` or `release`. Raises `StatusError` if there is none."""
        own = sum(1 for _ in self.of(owner)) + self._reserved.count(owner)
        if own >= self.limits.twins_each:
            raise StatusError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{owner} has {own} twins open, the most that are allowed: close one, or wait until one expires.",
            )
        if len(self._twins) + len(self._reserved) >= self.limits.twins:
            raise StatusError(HTTPStatus.SERVICE_UNAVAILABLE, "the server has as many twins open as it may: try later.")
        self._reserved.append(owner)

    def release(self, owner: str) -> None:
        """Gives a reserved place back."""
        self._reserved.remove(owner)

    def add(self, owner: str, twin: Twin, steps: list[bytes]) -> OpenTwin:
        """Holds a twin in a reserved place."""
        self.release(owner)
        one = OpenTwin(secrets.token_urlsafe(12), owner, twin, self._clock(), list(steps))
        self._twins[one.name] = one
        return one

    def find(self, name: str, owner: str | None) -> OpenTwin:
        """The twin of this name, if it is the owner's; None for the twins of all.

        Raises `RefusedError`, the same for a twin that is not there and for one of another.
        """
        self.close_idle()
        one = self._twins.get(name)
        if one is None or (owner is not None and one.owner != owner):
            raise RefusedError("the twin does not exist, was idle for too long, or is not yours.")
        if owner is not None:
            one.used = self._clock()
        return one

    def close(self, one: OpenTwin) -> None:
        """Closes a twin and ends its event streams."""
        self._twins.pop(one.name, None)
        one.closed = True
        one.notify()

    def close_idle(self) -> None:
        """Closes the twins that were idle for too long; not those that are being stepped."""
        now = self._clock()
        for one in [*self._twins.values()]:
            if now - one.used >= self.limits.idle and not one.lock.locked():
                self.close(one)
