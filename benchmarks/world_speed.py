"""Task decisions per second: the tensor environment and the same step without tensors: `python -m benchmarks.world_speed`.

One decision means that a task is drawn, its cost computed and the result observed; actions are drawn beforehand. Times are
the best of several alternating rounds, because other work on the machine can only make a round slower. `tests/environment`
tests that both compute the same numbers.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.scenario import PRESETS, Scenario
from tests.environment.plain_world import plain_requests, plain_world
from tests.wards import random_action

BATCHES = (1, 64, 1024, 8192)
TARGET_BATCH, TARGET_RATIO = 1024, 300
ROUNDS = 6
ROUND_SECONDS = 0.25


def plain_round(s: Scenario, seconds: float) -> float:
    """Task decisions per second of the plain version."""
    snapshot = Environment(s, world_seeds(0, 0, 1), torch.float64).snapshot
    world, requests = plain_world(s, snapshot), [plain_requests(random_action(snapshot, n)) for n in range(s.T)]
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for wanted in requests:
            world.step(wanted)
            world.draw_tasks()
            world.observe()
        steps += len(requests)
    return steps * s.users * s.tasks / (time.perf_counter() - start)


def seconds_to_compile(s: Scenario, batch: int) -> float:
    """Seconds until a fused environment is ready."""
    start = time.perf_counter()
    assert Environment(s, world_seeds(0, 0, batch), fuse=True).fused, "the step could not be compiled: see the log"
    return time.perf_counter() - start


def tensor_round(s: Scenario, batch: int, seconds: float, fuse: bool = False) -> float:
    """Task decisions per second of `batch` worlds in float32, including the time to draw new worlds for new episodes."""
    environment = Environment(s, world_seeds(0, 0, batch), fuse=fuse)
    actions = [random_action(environment.snapshot, n) for n in range(4)]
    steps, start = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - start < seconds:
        environment.reset()
        for t in range(s.T):
            environment.step(actions[t % len(actions)])
            assert environment.observation is not None
        steps += s.T
    return steps * batch * s.users * s.tasks / (time.perf_counter() - start)


def _peaks(batch: int) -> tuple[int, int]:
    s = PRESETS["paper"]
    tensor_round(s, 1, 0.0)
    before = _resident_peak()
    tensor_round(s, batch, 0.0)
    return before, _resident_peak()


def _resident_peak() -> int:
    """The peak memory of this process so far, bytes. Linux only; `getrusage` would include the parent's."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def memory_a_world(batch: int) -> float:
    """Peak memory of an episode of `batch` worlds, bytes per world. Runs in a new process, because a peak never goes down."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, after = pool.apply(_peaks, (batch,))
    return (after - before) / batch


def main() -> None:
    s = PRESETS["paper"]
    print(f"{s.users} users x {s.tasks} tasks x {s.servers} servers; {torch.get_num_threads()} threads")
    compiling = {batch: seconds_to_compile(s, batch) for batch in BATCHES}
    plain = 0.0
    fastest = {(batch, fuse): 0.0 for batch in BATCHES for fuse in (False, True)}
    for _ in range(ROUNDS):
        plain = max(plain, plain_round(s, ROUND_SECONDS))
        for batch, fuse in fastest:
            fastest[batch, fuse] = max(fastest[batch, fuse], tensor_round(s, batch, ROUND_SECONDS, fuse))
    print(
        f"\n{'worlds':>8s} {'':7s} {'task decisions/s':>18s} {'x plain':>9s} {'to compile':>11s} {'peak KB a world':>16s}"
    )
    print(f"{'plain':>8s} {'':7s} {plain:18,.0f} {1:9.1f}")
    for (batch, fuse), rate in fastest.items():
        # Below some hundred worlds the interpreter's own comings and goings are larger than the worlds.
        memory = f"{memory_a_world(batch) / 1e3:16.1f}" if batch >= 1024 and not fuse else ""
        seconds = f"{compiling[batch]:9.1f} s" if fuse else f"{'':11s}"
        print(f"{batch:8d} {'fused' if fuse else 'eager':7s} {rate:18,.0f} {rate / plain:9.1f} {seconds} {memory}")
    for batch in (16384, 32768):
        print(f"{batch:8d} {'eager':7s} {'':18s} {'':9s} {'':11s} {memory_a_world(batch) / 1e3:16.1f}")
    for fuse in (False, True):
        times = fastest[TARGET_BATCH, fuse] / plain
        print(
            f"{'fused' if fuse else 'eager'} at {TARGET_BATCH} worlds: {times:.0f} times plain (wanted: {TARGET_RATIO})"
        )


if __name__ == "__main__":
    main()
