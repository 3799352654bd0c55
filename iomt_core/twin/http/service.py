"""What all requests share: the gate, the open twins, and the threads that do the work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import torch
from cachetools import LRUCache

from iomt_core.scenario import PRESETS, Scenario, ScenarioError, check_known, collect_notes
from iomt_core.scenario.files import DEEPEST, is_too_deep, parse_scenario
from iomt_core.twin.access import AuditLog, Gate, Grant, Resource
from iomt_core.twin.access.hooks import AUDIT_FOLDER as FOLDER
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.access.identity import KEY
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.access.ledger import BUDGET, Answer, PrivateAggregates
from iomt_core.twin.access.privacy import clamps
from iomt_core.twin.access.verification import Verification, verify_log
from iomt_core.twin.http.errors import StatusError
from iomt_core.twin.http.twins import HttpLimits, TwinStore
from iomt_core.twin.mapping.synchronisation import Synchronisation
from iomt_core.twin.northbound import Twin
from iomt_core.twin.warehouse.reading import Warehouse

T = TypeVar("T")
SESSIONS = 4096  # tokens and what they may do, that are remembered
MOST_ROWS = 10_000  # of a response


class Threads:
    """A few threads for one kind of work, each with one torch thread."""

    def __init__(self, count: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        self._most, self._now = count + waiting, 0

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """The result of the work. Raises `StatusError` if too many requests wait already."""
        if self._now >= self._most:
            raise StatusError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy: try again in a second.")
        self._now += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._now -= 1

    def close(self) -> None:
        """Ends the threads after what they do now."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Service:
    """The server's state for one warehouse.

    folder: of the warehouse; its audit log records every decision. budget: ε, where the warehouse has no budget yet. Raises
    `ScenarioError` if warehouse, log or keys cannot be used.
    """

    def __init__(self, folder: Path, limits: HttpLimits | None = None, budget: float = BUDGET) -> None:
        self.folder, self.limits, self._budget = folder, limits or HttpLimits(), budget
        self.identity = Warehouse(folder).identity
        key = signing_key(KEY)
        self.log = AuditLog(folder / FOLDER, self.identity)
        self.gate = Gate(self.log, key.public_key())
        self.twins = TwinStore(self.limits)
        waiting = self.limits.waiting
        self.steps = Threads(2, waiting)
        self.slow = Threads(1, waiting)  # opens twins and plans episodes, so that the steps of others need not wait
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
            self.gate.require(grant, action, resource)
        return grant

    def open_twin(
        self,
        scenario: str | Mapping[str, Any],
        policy: str,
        seed: int,
        shares: Any,
        episode: int,
        synchronisation: Synchronisation | None = None,
    ) -> tuple[Twin, list[str]]:
        """A twin, and notes about how the scenario was read. Raises `ScenarioError`."""
        with collect_notes() as notes:
            s = read_values(scenario)
        self.limits.check_size(s)
        return Twin(s, policy, seed, shares, episode, synchronisation), notes

    def tasks(self, grant: Grant, user: int, at: int | None, after: int, limit: int) -> dict[str, Any]:
        """The agent's own recorded tasks. Raises `RefusedError` with the reason if there are none."""
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
        return verify_log(self.folder / FOLDER, self.identity)

    def close(self) -> None:
        """Ends the threads and closes the log."""
        for threads in (self.steps, self.slow, self.store):
            threads.close()
        self.log.close()


def read_values(scenario: str | Mapping[str, Any]) -> Scenario:
    """A preset by its name, or a scenario of values as in a JSON file; never a path. Raises `ScenarioError`."""
    if isinstance(scenario, str):
        check_known("scenario", scenario, PRESETS)
        return PRESETS[scenario]
    if is_too_deep(scenario):
        raise ScenarioError(f"scenario is nested too deeply: allowed are {DEEPEST} levels.")
    return parse_scenario(json.dumps(scenario), "scenario")  # as text, since its limits are those of files
