"""The certificate of a step beyond one machine, beside the solver of one machine: `python -m benchmarks.blocks`.

Two workers are processes of this machine. The last part measures what the process that searches the prices does for each worker,
from which `docs/blocks.md` says what a million users need.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch

from benchmarks.city import city, timed
from benchmarks.optimum import steps
from iomt_core.experiments.blocks.block import WardStep, tensors
from iomt_core.experiments.blocks.bound import ward_bound
from iomt_core.model.batch import add_up
from iomt_core.policies.dual import Slopes, solve_dual
from iomt_core.scenario import Scenario

LARGE = ((2_500, 4, 250), (5_000, 4, 250), (10_000, 4, 250), (20_000, 4, 250))
REPLIES = 50


def beside_one_machine() -> None:
    print(f"\n{'channel':13s} {'workers':>8s} {'bound':>16s} {'difference':>11s} {'seconds':>8s} {'CPU of each':>12s}")
    for channel in ("paper", "log-distance"):
        s = city(816, 8, 125, channel)
        whole, clock, processor = timed(lambda: solve_dual(steps(s, 1, 0), s))  # noqa: B023
        bound = float(whole.bound)
        print(f"{channel:13s} {'none':>8s} {bound:16.10f} {'':11s} {clock:8.1f} {processor:12.1f}")
        for workers in (1, 2, 3):
            found = ward_bound(WardStep(s, s.users), workers)
            each = max(one.cpu for one in found.workers)
            difference = found.bound / bound - 1
            print(f"{'':13s} {workers:8d} {found.bound:16.10f} {difference:11.0e} {found.seconds:8.1f} {each:12.1f}")
    print("Target: a relative difference of at most 1e-6.")


def large() -> None:
    print(
        f"\n{'users x tasks x servers':>23s} {'bound':>11s} {'gap':>7s} {'seconds':>8s} {'iterations':>11s} {'s each':>7s} "
        f"{'CPU of each worker':>19s} {'peak memory of each':>20s} {'MB/iteration':>13s}"
    )
    for users, tasks, servers in LARGE:
        found = ward_bound(WardStep(ward_without_users(tasks, servers), users), 2)
        count = found.iterations + 1
        cpu, memory = (
            " ".join(texts)
            for texts in zip(*((f"{x.cpu:.1f}", f"{x.peak / 1e6:.0f}") for x in found.workers), strict=True)
        )
        print(
            f"{f'{users} x {tasks} x {servers}':>23s} {found.bound:11.4f} {100 * found.gap:6.2f}% {found.seconds:8.1f} "
            f"{found.iterations:11d} {found.seconds / count:7.2f} {cpu:>19s} {memory + ' MB':>20s} "
            f"{found.bytes_exchanged / 2 / count / 1e6:13.2f}"
        )
    print("Two workers; MB/iteration: with each of them.")


def ward_without_users(tasks: int, servers: int) -> Scenario:
    """The ward of `city` with this many servers; the number of users is given apart from it."""
    return city(1, tasks, servers)


def searching(servers: int = 250) -> None:
    """Time that the searching process takes for a worker's reply, and for the prices once an iteration."""
    n = 2 * servers
    noise = np.random.default_rng(0).random((1, n, n))
    reply = {
        "smooth": noise[:, 0, 0], "own_slope": noise[:, 0, 0], "spent": noise[:, 0], "diagonal": noise[:, 0],
        "complement": noise + n * np.eye(n), "eliminated": noise[:, 0],
    }  # fmt: skip
    begun = time.perf_counter()
    total = add_up(Slopes(**tensors(reply)) for _ in range(REPLIES))
    summed = (time.perf_counter() - begun) / REPLIES
    begun = time.perf_counter()
    torch.linalg.solve_ex(total.complement, total.spent)
    solved = time.perf_counter() - begun
    print(
        f"\n{servers} servers: {1e3 * summed:.2f} ms to add a worker's sums, {1e3 * solved:.1f} ms to solve for the prices"
    )


def main() -> None:
    torch.set_num_threads(1)
    print(f"One step, one thread in each process, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    beside_one_machine()
    large()
    searching()


if __name__ == "__main__":
    main()
