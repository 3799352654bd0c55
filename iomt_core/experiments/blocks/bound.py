"""The certified bound of one step of a ward whose users are divided among workers.

The search for prices is that of one machine (`search_prices`); only its sums come from elsewhere. In each iteration the prices of
servers and a step go out, and one matrix and some vectors, whose size depends on the number of servers alone, come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from iomt_core.experiments.blocks.block import Array, BlockWorker, WardStep, arrays, tensors
from iomt_core.experiments.blocks.workers import Worker, resident_workers, results
from iomt_core.model.batch import Batch, add_up
from iomt_core.model.memory import check_memory
from iomt_core.policies.dual import FirstSums, SearchState, Slopes, Totals, search_prices
from iomt_core.scenario import ScenarioError

B = TypeVar("B", bound=Batch)


@dataclass(frozen=True)
class WorkerUsage:
    """What one worker has used."""

    name: str
    users: int
    peak: int  # bytes in memory at the process's peak
    before: int  # bytes in memory before it had users
    cpu: float  # seconds of the processor


@dataclass(frozen=True)
class WardBound:
    """The certificate of a step, a decision to compare it with, and what they took."""

    bound: float  # lower bound on the total weighted cost of any policy that skips no task
    skip_bound: float  # the same for any policy
    cost: float  # of each task on a device that is cheapest at the prices found
    skipped: int  # tasks that this decision skips
    iterations: int
    seconds: float  # of the search, by the clock
    drawing: float  # seconds until all workers had drawn their users
    bytes_exchanged: int  # of the search, of all workers
    workers: Sequence[WorkerUsage]

    @property
    def gap(self) -> float:
        """How far the decision is above the bound, relative."""
        return self.cost / (self.skip_bound if self.skipped else self.bound) - 1


def ward_bound(
    ward: WardStep,
    workers: int | None = None,
    cluster: str | None = None,
    on_iteration: Callable[[int], None] = lambda count: None,
) -> WardBound:
    """Bounds the cost of a step from below, with its users in new processes of this machine or in a cluster's workers.

    on_iteration: receives the number of iterations so far. Raises `ScenarioError` for a bad value or address, for a lack of
    memory, and where a worker is lost.
    """
    with resident_workers(workers, cluster) as found:
        if cluster is None:  # on a cluster each worker looks at its own machine
            check_memory(f"certificates of {ward.size_words}", ward.memory(ward.users))
        return bound_of(ward, found, on_iteration)


def bound_of(
    ward: WardStep, workers: Sequence[Worker], on_iteration: Callable[[int], None] = lambda count: None
) -> WardBound:
    """`ward_bound` with these workers."""
    began = time.perf_counter()
    shares = ward.shares(len(workers))
    workers = workers[: len(shares)]
    results(workers, [w.start(BlockWorker, ward, users) for w, users in zip(workers, shares, strict=True)])
    users = RemoteUsers(workers, on_iteration)
    drawn = time.perf_counter()
    with torch.inference_mode():
        found = search_prices(users)
    searched, exchanged = time.perf_counter(), users.bytes_exchanged
    demands = users.call("demand", found.servers.numpy(), found.free.numpy())
    total = [sum(one[name] for one in demands) for name in ("root", "band")]
    decided = users.call("decide", *total)
    used = [
        WorkerUsage(w.name, int(one["users"]), int(one["peak"]), int(one["before"]), one["cpu"])
        for w, one in zip(workers, users.call("usage"), strict=True)
    ]
    return WardBound(
        float(found.bound), float(found.skip_bound), sum(cost for cost, _ in decided), sum(n for _, n in decided),
        found.iterations, searched - drawn, drawn - began, exchanged, used,
    )  # fmt: skip


class RemoteUsers:
    """Users whose blocks are kept by workers: `Users` whose sums are those of all workers."""

    def __init__(self, workers: Sequence[Worker], on_iteration: Callable[[int], None] = lambda count: None) -> None:
        self._workers, self._on_iteration, self._iterations = workers, on_iteration, 0
        self.bytes_exchanged = 0
        servers = [tensors(one) for one in self.call("servers")]
        self.F_k, self.B_k, self.margin = servers[0]["F_k"], servers[0]["B_k"], float(servers[0]["margin"])
        for worker, one in zip(workers, servers, strict=True):
            if not all(torch.equal(one[name], servers[0][name]) for name in one):
                raise ScenarioError(
                    f"workers: {worker.name} has other servers than {workers[0].name}; its version of this package or of torch "
                    "must be the same."
                )

    def first_sums(self) -> FirstSums:
        """See `Users`."""
        return self._sum(FirstSums, "first_sums")

    def begin(self, servers: Tensor) -> Totals:
        """See `Users`."""
        return self._sum(Totals, "begin", servers.numpy())

    def slopes(self, state: SearchState) -> Slopes:
        """See `Users`."""
        self._iterations += 1
        self._on_iteration(self._iterations)
        return self._sum(Slopes, "slopes", arrays(state))

    def trial(self, servers: Tensor, step: Tensor) -> Totals:
        """See `Users`."""
        return self._sum(Totals, "trial", servers.numpy(), step.numpy())

    def finish(self, servers: Tensor, state: SearchState) -> Totals:
        """See `Users`."""
        return self._sum(Totals, "finish", servers.numpy(), arrays(state))

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """The replies of all workers, which work at the same time. Raises `ScenarioError`."""
        return results(self._workers, [worker.call(method, *arguments) for worker in self._workers])

    def _sum(self, kind: type[B], method: str, *arguments: Array | Mapping[str, Array]) -> B:
        replies = self.call("ask", method, *arguments)
        self.bytes_exchanged += len(replies) * sum(map(_size, arguments)) + sum(map(_size, replies))
        return add_up(kind(**tensors(reply)) for reply in replies)


def _size(x: Array | Mapping[str, Array]) -> int:
    """Bytes of the numbers in arrays."""
    return sum(map(_size, x.values())) if isinstance(x, Mapping) else x.nbytes
