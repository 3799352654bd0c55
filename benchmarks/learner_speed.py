"""A learner update beside the same written literally, and beside the machine's own matmul: `python -m benchmarks.learner_speed`.

Both compute (19), (21), (26) and (27) on one minibatch; `tests/algorithms/test_learner.py` shows that they give the same
losses. The update is timed with the networks' backend and without; with `--device cuda`, on a GPU and on this machine's CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from iomt_core.algorithms.episodes import Episodes
from iomt_core.algorithms.learner import Learner
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.nets.backend import accelerated
from iomt_core.nets.encoder import HEADS
from iomt_core.runs.process import device_named, prepare
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.settings import Settings
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import CPU, Trainer
from tests.algorithms.literal_learner import losses as literal_losses

BATCH = 32
TARGET_TIMES, TARGET_SHARE, TARGET_DECISION = 20, 0.30, 10.0


def learner_and_episodes(
    s: Scenario, batch: int = BATCH, device: torch.device = CPU, **changes: Any
) -> tuple[Learner, Episodes]:
    """A fresh learner as the paper has it, and a minibatch that its untrained agents played."""
    values: dict[str, Any] = {"rounds": 0, "critic_target": "observed", "team_weight": 1.0, **changes}
    settings = Settings(num_envs=batch, batch=batch, replay=batch, warm_up=0, **values)
    trainer = Trainer(ALGORITHMS["sae-mt-qmix"], s, settings, 0, device)
    trainer.play()
    generator = torch.Generator().manual_seed(0)
    return trainer.learner, trainer.replay.draw(
        batch, generator, counterfactual=settings.critic_target == "counterfactual"
    )


def work_of(learner: Learner, episodes: Episodes) -> int:
    """Floating-point operations of an update's matrix products.

    As tensors, attention's sums over heads are products by matrices of 0 and 1, most of which is nothing; they are left out, and
    attention with them.
    """

    def counted(a: torch.Size, b: torch.Size, **_: Any) -> int:
        return 0 if HEADS in (*a[-2:], *b[-2:]) else 2 * a.numel() * b[-1]

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mm: counted, torch.ops.aten.bmm: counted})
    with accelerated(False), counter:  # the counter sees tensors' operations only
        learner.update(episodes)
    return int(counter.get_total_flops())


def best_of(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def literal_update(learner: Learner, episodes: Episodes) -> None:
    """Losses, gradients and optimisers' steps of the literal version."""
    critics, actors = literal_losses(learner, episodes)
    for optimiser, loss in ((learner.critic_optimiser, critics), (learner.actor_optimiser, actors)):
        optimiser.zero_grad()
        loss.backward(retain_graph=True)
        optimiser.step()
    learner.update_targets()


def matmul_speed(size: int = 2048, device: torch.device = CPU) -> float:
    """FLOP/s of one large matmul."""
    a, b = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    return 2 * size**3 / best_of(lambda: a @ b, 20)


def decision_milliseconds(s: Scenario, rounds: int) -> float:
    """One joint decision of all tasks of one ward, from the snapshot on."""
    spec = RunSpec("sae-mt-qmix", s, Settings(num_envs=1, rounds=rounds), seed=0)
    policy = TrainedPolicy.from_trainer(spec.trainer(), spec)
    snapshot = Environment(s, world_seeds(0, 0, 1)).snapshot
    return best_of(lambda: policy.step(snapshot, None), 20) * 1e3


def on_gpu(s: Scenario, gpu: torch.device) -> None:
    """Prints how long an update of critics and actors takes on CPU and GPU, and playing a batch of episodes."""
    if gpu.index is not None:
        torch.cuda.set_device(gpu)
    print(
        f"an update with the settings of training, and playing as many episodes: {torch.get_num_threads()} CPU threads, {gpu}"
    )
    print(f"{'episodes':>9s} {'CPU ms':>8s} {'GPU ms':>8s} {'of its matmul':>14s} {'played, CPU s':>14s} {'GPU s':>7s}")
    peak, usual = matmul_speed(8192, gpu), default_settings("sae-mt-qmix")
    values = {name: getattr(usual, name) for name in ("rounds", "critic_target", "team_weight")}
    for batch in (2, 8, 32, 128):
        times, playing = [], []
        for device in (CPU, gpu):
            learner, episodes = learner_and_episodes(s, batch, device, **values)
            work = work_of(learner, episodes)
            times.append(best_of(partial(learner.update, episodes), 3))
            settings = default_settings("sae-mt-qmix", num_envs=batch, episodes=10 * batch, replay=10 * batch)
            trainer = Trainer(ALGORITHMS["sae-mt-qmix"], s, settings, 0, device)
            playing.append(best_of(trainer.play, 2))
        share = work / times[1] / peak
        print(
            f"{batch:9d} {times[0] * 1e3:8.0f} {times[1] * 1e3:8.0f} {share:14.1%} {playing[0]:14.2f} {playing[1]:7.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    device = device_named(parser.parse_args().device)
    prepare(torch.get_num_threads())
    s = PRESETS["paper"]
    if device != CPU:
        on_gpu(s, device)
        return
    print(
        f"{s.users} x {s.tasks} x {s.servers}, batch {BATCH} episodes of {s.T} steps; {torch.get_num_threads()} threads"
    )
    learner, episodes = learner_and_episodes(s)
    work = work_of(learner, episodes)
    times = {}
    for on in (False, True):
        with accelerated(on):
            learner.update(episodes)
            times[on] = best_of(lambda: learner.update(episodes), 5)
    fast, slow = times[True], best_of(lambda: literal_update(learner, episodes), 1)
    peak, reached = matmul_speed(), work / fast
    print(
        f"one update: grouped {fast:.2f} s (without backend {times[False]:.2f} s), literal {slow:.1f} s: {slow / fast:.0f} "
        f"times (wanted: {TARGET_TIMES})"
    )
    print(
        f"{work / 1e9:.1f} GFLOP an update, attention not counted: {reached / 1e9:.0f} GFLOP/s, {reached / peak:.0%} of the "
        f"{peak / 1e9:.0f} GFLOP/s of a large matmul (wanted: {TARGET_SHARE:.0%})"
    )
    print(f"\n{'users':>6s} {'tasks':>6s} {'servers':>8s} {'update ms':>10s}   (batch 8)")
    for users, tasks, servers in ((4, 8, 4), (8, 8, 4), (16, 8, 4), (8, 4, 4), (8, 16, 4), (8, 8, 2), (8, 8, 8)):
        learner, episodes = learner_and_episodes(s.changed(users=users, tasks=tasks, servers=servers), 8)
        learner.update(episodes)
        milliseconds = best_of(partial(learner.update, episodes), 3) * 1e3
        print(f"{users:6d} {tasks:6d} {servers:8d} {milliseconds:10.0f}")
    for rounds, name in ((0, "at once"), (4, "in turn, four rounds")):
        with accelerated():
            own = decision_milliseconds(s, rounds)
        with accelerated(False):
            without = decision_milliseconds(s, rounds)
        beside = f", without backend {without:.1f} ms" if rounds else ""
        print(f"\na joint decision of 64 tasks {name}: {own:.1f} ms{beside} (wanted: {TARGET_DECISION:g})")


if __name__ == "__main__":
    main()
