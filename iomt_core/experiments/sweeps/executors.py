"""Where work runs: a process pool of this machine, or a dask.distributed cluster; both are `concurrent.futures.Executor`s."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iomt_core.scenario import ScenarioError, check_range

if TYPE_CHECKING:
    from distributed import Client

ADDRESS = re.compile(r"tcp://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?):([0-9]{1,5})")
MOST_WORKERS = 64
SECONDS_TO_CONNECT = 10


def checked_workers(workers: int) -> int:
    """The number of processes. Raises `ScenarioError` where it is out of range."""
    check_range("workers", workers, 1, MOST_WORKERS)
    return workers


def default_workers() -> int:
    """Two processes, or one where the machine has one core."""
    return min(2, os.cpu_count() or 1)


def checked_address(cluster: str) -> str:
    """A scheduler's address. Raises `ScenarioError` where it is not one."""
    found = ADDRESS.fullmatch(cluster)
    if found is None or not 1 <= int(found[3]) <= 65535:
        raise ScenarioError(f"cluster = {cluster[:60]!r} is not a scheduler's address: allowed is tcp://HOST:PORT.")
    return cluster


@contextmanager
def executor(workers: int | None = None, cluster: str | None = None) -> Iterator[Executor]:
    """A pool of `workers` new processes of one thread each, or the cluster whose scheduler listens at `cluster`.

    A cluster's members unpickle what they send each other, here too: name only a scheduler that you trust, on a network
    that you trust. Its workers need the same version of this package. A task whose worker dies is repeated on another worker.
    Does not wait for tasks under way at its end.

    Raises `ScenarioError` for a bad number or address, and where no scheduler answers.
    """
    if cluster is not None:
        with cluster_client(cluster) as client:
            found = client.get_executor()
            try:
                yield found
            finally:
                found.shutdown(wait=False)
        return
    count = checked_workers(default_workers() if workers is None else workers)
    pool = process_pool(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def process_pool(count: int) -> Executor:
    """A pool of new processes, which ignore Ctrl-C and end with this process."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_prepare_worker)


@contextmanager
def cluster_client(cluster: str) -> Iterator[Client]:
    """A client of the cluster whose scheduler listens at this address. Raises `ScenarioError` as `executor` does."""
    address = checked_address(cluster)
    from distributed import Client  # an import of half a second that only a cluster needs

    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ScenarioError(f"cluster = {address!r} does not answer: {reason}.") from None
    try:
        yield client
    finally:
        client.close()


def _prepare_worker() -> None:
    """Runs in each process of the pool: ignores Ctrl-C, which the parent handles, and exits when the parent has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
