"""Task decisions a second: the tensor environment beside the same step written plainly: `python -m benchmarks.world_speed`.

A decision is one task drawn, priced and observed; actions are drawn beforehand on both sides. Times are the best of
several rounds, plain and tensors in turn, for whatever else the machine does only adds to them. First both are shown
to compute the same numbers, field by field.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import fields
from pathlib import Path

import torch
from numpy.testing import assert_allclose

from benchmarks.plain_world import PlainWorld, Request, Result, Server, Task, User
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.observation import observe
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import PRESETS, Scenario

BATCHES = (1, 64, 1024, 8192)
TARGET_BATCH, TARGET_RATIO = 1024, 300
ROUNDS = 6
ROUND_SECONDS = 0.25


def random_actions(s: Scenario, batch: int, count: int, dtype: torch.dtype = torch.float32) -> list[Action]:
    """`count` joint actions of random devices and shares."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, s.users, s.tasks)

    def shares() -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    return [
        Action(torch.randint(0, s.servers + 1, shape, generator=generator), shares(), shares()) for _ in range(count)
    ]


def plain_requests(action: Action) -> list[list[Request]]:
    """The first world's action as the plain version reads it."""
    columns = (action.choice[0].tolist(), action.cpu[0].tolist(), action.bandwidth[0].tolist())
    return [[Request(*one) for one in zip(*rows, strict=True)] for rows in zip(*columns, strict=True)]


def plain_tasks(snapshot: Snapshot) -> list[list[Task]]:
    """The first world's tasks as the plain version reads them."""
    columns = [getattr(snapshot, name)[0].tolist() for name in ("D", "C", "P", "weight")]
    return [[Task(*one) for one in zip(*rows, strict=True)] for rows in zip(*columns, strict=True)]


def plain_world(s: Scenario, snapshot: Snapshot) -> PlainWorld:
    """The first world of a snapshot, plainly."""
    columns = [getattr(snapshot, name)[0].tolist() for name in ("F_i", "P_tr", "battery", "beta")]
    users = [User(*one, tasks) for one, tasks in zip(zip(*columns, strict=True), plain_tasks(snapshot), strict=True)]
    servers = [Server(*one) for one in zip(snapshot.F_k[0].tolist(), snapshot.B_k[0].tolist(), strict=True)]
    return PlainWorld(s, users, servers, random.Random(0))


def check_agreement(s: Scenario) -> None:
    """Plays one episode both ways. Raises `AssertionError` where any number differs by more than 1e-9, relatively."""
    environment = Environment(s, world_seeds(0, 0, 1), torch.float64)
    plain = plain_world(s, environment.snapshot)
    for action in random_actions(s, 1, s.T, torch.float64):
        for user, tasks in zip(plain.users, plain_tasks(environment.snapshot), strict=True):
            user.tasks = tasks
        assert_allclose(observe(environment.snapshot, s)[0], plain.observe(), rtol=1e-9)
        done = environment.step(action)
        results, rewards = plain.step(plain_requests(action))
        for field in fields(Result):
            found = [[getattr(one, field.name) for one in row] for row in results]
            assert_allclose(getattr(done.outcome, field.name)[0], found, rtol=1e-9, err_msg=field.name)
        assert_allclose(done.agent_reward[0], rewards, rtol=1e-9)
        assert (bool(done.terminated[0]), bool(done.truncated[0])) == (plain.terminated, plain.truncated)
        if plain.terminated:
            return


def plain_round(s: Scenario, seconds: float) -> float:
    """Task decisions a second of the plain version."""
    world = plain_world(s, Environment(s, world_seeds(0, 0, 1), torch.float64).snapshot)
    requests = [plain_requests(action) for action in random_actions(s, 1, s.T)]
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for wanted in requests:
            world.step(wanted)
            world.draw_tasks()
            world.observe()
        steps += len(requests)
    return steps * s.users * s.tasks / (time.perf_counter() - start)


def check_fused(s: Scenario, batch: int) -> float:
    """Plays one episode fused and eagerly and gives the seconds of compiling. Raises `AssertionError` beyond 1e-4."""
    start = time.perf_counter()
    fused = Environment(s, world_seeds(0, 0, batch), fuse=True)
    seconds = time.perf_counter() - start
    assert fused.fused, "the step could not be compiled: see the log"
    eager = Environment(s, world_seeds(0, 0, batch))
    for action in random_actions(s, batch, s.T):
        one, other = fused.step(action), eager.step(action)
        for field in fields(one.outcome):
            pair = (getattr(x.outcome, field.name).double() for x in (one, other))
            torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.reward, other.reward, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(fused.observation, eager.observation, rtol=1e-4, atol=1e-6)
    return seconds


def tensor_round(s: Scenario, batch: int, seconds: float, fuse: bool = False) -> float:
    """Task decisions a second of `batch` worlds in float32; drawing new worlds for a new episode counts."""
    environment = Environment(s, world_seeds(0, 0, batch), fuse=fuse)
    actions = random_actions(s, batch, 4)
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
    """The most memory this process has ever had, bytes. Linux; `getrusage` would count its parent's."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def memory_a_world(batch: int) -> float:
    """Bytes a world that an episode of `batch` worlds takes at its peak; in a process of its own, for peaks stay."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, after = pool.apply(_peaks, (batch,))
    return (after - before) / batch


def main() -> None:
    s = PRESETS["paper"]
    print(f"{s.users} users x {s.tasks} tasks x {s.servers} servers; {torch.get_num_threads()} threads")
    check_agreement(s)
    print("plain and tensors agree to 1e-9 in every number of an episode")
    compiling = {batch: check_fused(s, batch) for batch in BATCHES}
    print("fused and eager agree to 1e-4 in every number of an episode")
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
