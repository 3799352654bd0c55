"""What all requests share: the gate, the open twins, and the threads that do the work."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from heapq import heappop, heappush
from http import HTTPStatus
from itertools import count as count_up
from pathlib import Path
from typing import Any, TypeVar

import torch
from cachetools import LRUCache

from iomt_core.policies.base import Policy
from iomt_core.scenario import PRESETS, Scenario, ScenarioError, check_known, collect_notes
from iomt_core.scenario.files import DEEPEST, is_too_deep, parse_scenario
from iomt_core.twin.access import Gate, Grant, Resource, TokenError, warehouse_of
from iomt_core.twin.access.hooks import AUDIT_FOLDER, audit_hook
from iomt_core.twin.access.identity import KEY
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.access.ledger import BUDGET, Answer, PrivateAggregates
from iomt_core.twin.access.privacy import clamps
from iomt_core.twin.access.table import PROMOTIONS, TABLE
from iomt_core.twin.access.verification import Verification, verify_log
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.http.errors import StatusError, to_json
from iomt_core.twin.http.twins import HttpLimits, TwinStore
from iomt_core.twin.http.views import step_view
from iomt_core.twin.management import registry
from iomt_core.twin.mapping.synchronisation import Synchronisation
from iomt_core.twin.northbound import Twin, advance_together
from iomt_core.twin.warehouse.reading import Warehouse

T = TypeVar("T")
SESSIONS = 4096  # tokens and what they may do, that are remembered
MOST_ROWS = 10_000  # of a response
PATIENCE = 2.0  # seconds that a request which is not urgent lets others overtake it
MOST_TOGETHER = 16  # steps that are decided together
SMALL = 10_000  # users × tasks × devices × steps of a twin that opens in some 20 ms


class Threads:
    """A few threads for one kind of work, each with one torch thread.

    Work waits in the order of its deadlines: urgent work overtakes other work that waits for less than `PATIENCE`. waiting: how
    much may wait.
    """

    def __init__(self, count: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        self._free, self._most = count, waiting
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []  # (deadline, order, turn)
        self._order = count_up()

    async def run(self, work: Callable[..., T], *arguments: Any, urgent: bool = True) -> T:
        """The result of the work. Raises `StatusError` if too many requests wait already."""
        async with self.turn(urgent) as run:
            result: T = await run(work, *arguments)
            return result

    @asynccontextmanager
    async def turn(self, urgent: bool = True) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """Waits for a thread. Gives a function that runs work in it. Raises `StatusError` as `run` does."""
        if self._free:
            self._free -= 1
        elif len(self._queue) < self._most:
            await self._wait(urgent)
        else:
            raise StatusError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy: try again in a second.")
        try:
            yield partial(asyncio.get_running_loop().run_in_executor, self._pool)
        finally:
            self._leave()

    async def _wait(self, urgent: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + PATIENCE * (not urgent)
        heappush(self._queue, (deadline, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the thread was given to a request that is gone
                self._leave()
            raise

    def _leave(self) -> None:
        """Gives the thread to the next request that waits."""
        while self._queue:
            turn = heappop(self._queue)[-1]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Ends the threads after what they do now."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Steps:
    """Plays steps of twins. Those that wait for a thread and have the same policy are decided together."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._waiting: dict[Policy, list[tuple[Twin, asyncio.Future[bytes]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # an event loop keeps no reference to its tasks

    async def play(self, twin: Twin) -> bytes:
        """The next step of a twin as JSON. Raises `ScenarioError` if the episode is over, `StatusError` as `Threads.run` does."""
        if twin.done:
            raise ScenarioError(f"the episode ended in step {int(twin.record().step.max())}: open a new twin.")
        waiting = self._waiting.setdefault(twin.decider, [])
        played: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting.append((twin, played))
        if len(waiting) % MOST_TOGETHER == 1:
            task = asyncio.create_task(self._play(twin.decider))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await played

    async def _play(self, decider: Policy) -> None:
        """Plays the first that wait for this policy."""
        group: list[tuple[Twin, asyncio.Future[bytes]]] = []

        def leave() -> None:
            waiting = self._waiting.pop(decider, [])
            group.extend(waiting[:MOST_TOGETHER])
            if waiting[MOST_TOGETHER:]:
                self._waiting[decider] = waiting[MOST_TOGETHER:]

        try:
            async with self._threads.turn() as run:
                leave()
                answers = await run(play_steps, [twin for twin, _ in group])
            for (_, played), answer in zip(group, answers, strict=True):
                if not played.done():  # the request is still there
                    played.set_result(answer)
        except Exception as error:
            if not group:
                leave()
            for _, played in group:
                if not played.done():
                    played.set_exception(error)
        finally:
            for _, played in group:
                played.cancel()  # the server ends; nothing happens to those that are done


def play_steps(twins: Sequence[Twin]) -> list[bytes]:
    """Plays a step of twins with the same policy. Returns `step_view` of each, as JSON."""
    records = advance_together(twins)
    return [to_json(step_view(record, twin.done)) for twin, record in zip(twins, records, strict=True)]


class Service:
    """The server's state for one warehouse.

    folder: of the warehouse; its audit log records every decision. budget: ε, where the warehouse has no budget yet. promotions:
    whether operators may change what aliases of models mean, for the whole lab. Raises `ScenarioError` if warehouse, log or keys
    cannot be used.
    """

    def __init__(
        self, folder: Path, limits: HttpLimits | None = None, budget: float = BUDGET, promotions: bool = False
    ) -> None:
        self.folder, self.limits, self._budget = folder, limits or HttpLimits(), budget
        self.identity = Warehouse(folder).identity
        key = signing_key(KEY)
        self.log = open_audit_log(folder)
        self.gate = Gate(self.log, key.public_key(), TABLE | PROMOTIONS if promotions else TABLE)
        self.twins = TwinStore(self.limits)
        waiting = self.limits.waiting
        # One thread: the many small operations of two would wait for Python's lock most of their time.
        self.steps = Threads(1, waiting)
        self.played = Steps(self.steps)
        self.slow = Threads(1, waiting)  # large twins and plans of episodes, so that the steps of others need not wait
        self.planned = Steps(self.slow)
        self.store = Threads(2, waiting)  # warehouse and audit log
        self._sessions: LRUCache[tuple[str, str, Resource], Grant] = LRUCache(SESSIONS)

    async def authorise(self, token: str, action: str, resource: Resource) -> Grant:
        """Checks token and table at the first request of a session, and the expiry at every one. Raises as `Gate` does."""
        session = token, action, resource
        grant = self._sessions.get(session)
        if grant is None:
            grant = await self.store.run(self.gate.authorise, token, action, resource)
            self._sessions[session] = grant
        else:
            try:
                self.gate.require(grant, action, resource)
            except TokenError:  # has expired; from now on it is a token that is not accepted
                self._sessions.pop(session, None)
                raise
        return grant

    async def opened(
        self,
        scenario: str | Mapping[str, Any],
        policy: str,
        seed: int,
        shares: Any,
        episode: int,
        synchronisation: Synchronisation | None = None,
    ) -> tuple[Twin, list[str]]:
        """A new twin, and notes about how the scenario was read. Raises `ScenarioError`."""
        if isinstance(scenario, str) and scenario in PRESETS:
            s, notes = PRESETS[scenario], list[str]()
        else:
            s, notes = await self.slow.run(read_values, scenario)
        policy = await self.slow.run(registry.resolve, policy, s)
        threads = self.steps if self.limits.check_size(s) <= SMALL else self.slow
        return await threads.run(Twin, s, policy, seed, shares, episode, synchronisation, urgent=False), notes

    def fork_twin(self, twin: Twin, policy: str | None, shares: Any) -> Twin:
        """A fork, see `Twin.fork`; the policy may be an alias."""
        return twin.fork(None if policy is None else registry.resolve(policy, twin.scenario), shares)

    def promote(self, alias: str, model: str, who: str, why: str, scenario: Any) -> dict[str, Any]:
        """Lets an alias mean a version, see `registry.promote`."""
        s = None if scenario is None else read_values(scenario)[0]
        return registry.promote(alias, model, who, why, s).as_dict()

    def roll_back(self, alias: str, who: str, why: str, scenario: Any) -> dict[str, Any]:
        """Lets an alias mean what it meant before, see `registry.roll_back`."""
        s = None if scenario is None else read_values(scenario)[0]
        return registry.roll_back(alias, who, why, s).as_dict()

    def tasks(self, grant: Grant, user: int, at: int | None, after: int, limit: int) -> dict[str, Any]:
        """The agent's own recorded tasks. Raises `RefusedError`, with the reason if there are none, as `Gate.require` does."""
        self.gate.require(grant, "read", warehouse_of(user))
        warehouse = Warehouse(self.folder, audit=audit_hook(self.log, str(grant.identity)))
        if user not in warehouse.users:
            raise self.gate.absent(grant, "nothing of this user was recorded.")
        if user in warehouse.forgotten:
            raise self.gate.absent(grant, "the user was forgotten, and the key is destroyed.")
        table = warehouse.log(user).tasks(at, after=after)
        more = table.num_rows > limit
        return {"user": user, "more": more, "tasks": table.slice(0, limit).to_pydict()}

    def query(self, grant: Grant, name: str, epsilon: float, request: str) -> Answer:
        """A mean over all users with differential privacy, see `PrivateAggregates.query`."""
        warehouse = Warehouse(self.folder, audit=audit_hook(self.log, str(grant.identity)))
        aggregates = PrivateAggregates(warehouse, self.gate, clamps(warehouse.scenario), self._budget)
        return aggregates.query(grant, name, epsilon, request)

    def verify(self) -> Verification:
        """The proof of the audit log."""
        self.log.checkpoint()
        return verify_log(self.folder / AUDIT_FOLDER, self.identity)

    def close(self) -> None:
        """Ends the threads and closes the log."""
        for threads in (self.steps, self.slow, self.store):
            threads.close()
        try:
            self.gate.close()
        finally:
            self.log.close()


def read_values(scenario: str | Mapping[str, Any]) -> tuple[Scenario, list[str]]:
    """A preset by its name, or a scenario of values as in a JSON file, never a path; and notes about how it was read.

    Raises `ScenarioError`.
    """
    if isinstance(scenario, str):
        check_known("scenario", scenario, PRESETS)
        return PRESETS[scenario], []
    if is_too_deep(scenario):
        raise ScenarioError(f"scenario is nested too deeply: allowed are {DEEPEST} levels.")
    with collect_notes() as notes:  # as text, since its limits are those of files
        return parse_scenario(json.dumps(scenario), "scenario"), notes
