"""Workers that each keep one object: processes of this machine, or the workers of a dask.distributed cluster.

A pool's or a cluster's tasks may run in any of its processes. What stays in a process needs that process: a pool of one process
on this machine, an actor on a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from iomt_core.experiments.sweeps.executors import checked_workers, cluster_client, default_workers, process_pool
from iomt_core.scenario import ScenarioError

if TYPE_CHECKING:
    from distributed import Client

SECONDS = 1.0  # between two looks at whether a worker that does not answer is still there


class Reply(Protocol):
    """A result that is still to come."""

    def result(self, timeout: float | None = None) -> Any:
        """The result, or what was raised. Raises `TimeoutError`."""


class Worker(Protocol):
    """A process that keeps one object."""

    name: str

    def start(self, kind: type, *arguments: Any) -> Reply:
        """Makes the object there; the reply is None."""

    def call(self, method: str, *arguments: Any) -> Reply:
        """Calls a method of the object there."""

    def is_lost(self) -> bool:
        """Whether the process is gone."""


@contextmanager
def resident_workers(workers: int | None = None, cluster: str | None = None) -> Iterator[Sequence[Worker]]:
    """New processes of one thread each on this machine, or all workers that a cluster has now.

    The objects are gone at the end. For trust in a cluster see `executor`. Raises `ScenarioError` for a bad number or address,
    where no scheduler answers, and for a cluster without workers.
    """
    with ExitStack() as stack:
        if cluster is None:
            count = checked_workers(default_workers() if workers is None else workers)
            pools = [process_pool(1) for _ in range(count)]
            for pool in pools:
                stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            yield [_ProcessWorker(pool, f"process {n}") for n, pool in enumerate(pools, 1)]
            return
        client = stack.enter_context(cluster_client(cluster))
        addresses = sorted(client.nthreads())
        if not addresses:
            raise ScenarioError(f"cluster = {cluster!r} has no worker: at least one is needed.")
        yield [_ClusterWorker(client, address) for address in addresses]


def results(workers: Sequence[Worker], replies: Sequence[Reply]) -> list[Any]:
    """Waits for the reply of each worker. Raises `ScenarioError` where a worker is lost or fails."""
    return [_result(worker, reply) for worker, reply in zip(workers, replies, strict=True)]


def lost(worker: Worker) -> ScenarioError:
    """The error for a worker that is gone."""
    return ScenarioError(
        f"workers: {worker.name} is lost, and its block of users with it, for lack of memory perhaps. Begin again, with fewer "
        "users, or more workers that have memory of their own."
    )


def _result(worker: Worker, reply: Reply) -> Any:
    while True:
        try:
            return reply.result(timeout=SECONDS)
        except ScenarioError:
            raise
        except TimeoutError:
            if worker.is_lost():
                raise lost(worker) from None
        except BrokenProcessPool:
            raise lost(worker) from None
        except Exception as error:
            if worker.is_lost():
                raise lost(worker) from None
            raise ScenarioError(
                f"workers: {worker.name} failed: {type(error).__name__}: {str(error)[:200]}. Its version of this package must be "
                "the same as here."
            ) from error


_resident: Any = None  # the object that a process of this machine keeps


def _start(kind: type, arguments: tuple[Any, ...]) -> None:
    global _resident
    _resident = kind(*arguments)


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_resident, method)(*arguments)


class _ProcessWorker:
    def __init__(self, pool: Executor, name: str) -> None:
        self._pool, self.name = pool, name

    def start(self, kind: type, *arguments: Any) -> Reply:
        return self._submit(_start, kind, arguments)

    def call(self, method: str, *arguments: Any) -> Reply:
        return self._submit(_call, method, arguments)

    def is_lost(self) -> bool:
        return False  # the pool itself breaks

    def _submit(self, *work: Any) -> Reply:
        try:
            return self._pool.submit(*work)
        except BrokenProcessPool:
            raise lost(self) from None


class _ClusterWorker:
    def __init__(self, client: Client, address: str) -> None:
        self._client, self.name = client, address
        self._made: Any = None

    def start(self, kind: type, *arguments: Any) -> Reply:
        self._made = self._client.submit(
            kind, *arguments, workers=[self.name], allow_other_workers=False, actor=True, pure=False
        )
        return _Made(self._made)

    def call(self, method: str, *arguments: Any) -> Reply:
        try:
            with self._client.as_current():  # an actor looks for its client
                found: Reply = getattr(self._made.result(timeout=SECONDS), method)(*arguments)
        except (RuntimeError, TimeoutError, OSError, CancelledError):  # of an actor whose worker has gone
            raise lost(self) from None
        return found

    def is_lost(self) -> bool:
        try:
            return self.name not in self._client.nthreads()
        except Exception:  # the scheduler has gone, and all workers with it
            return True


class _Made:
    """The reply of an actor that is made: None, not the actor."""

    def __init__(self, future: Any) -> None:
        self._future = future

    def result(self, timeout: float | None = None) -> None:
        self._future.result(timeout=timeout)
