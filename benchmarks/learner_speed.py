"""Time of a learner update, compared with a literal version and with one large matmul: `python -m benchmarks.learner_speed`.

Both compute (19), (21), (26) and (27) on one minibatch; `tests/algorithms/test_learner.py` shows that they give the same
losses. The update is timed with the networks' backend and without.
"""

from __future__ import annotations

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
from iomt_core.runs.process import prepare
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.settings import Settings
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import Trainer
from tests.algorithms.literal_learner import losses as literal_losses

BATCH = 32
TARGET_TIMES, TARGET_SHARE, TARGET_DECISION = 20, 0.30, 10.0


def learner_and_episodes(s: Scenario, batch: int = BATCH) -> tuple[Learner, Episodes]:
    """A fresh learner as the paper has it, and a minibatch that its untrained agents played."""
    settings = Settings(
        num_envs=batch, batch=batch, replay=batch, warm_up=0, rounds=0, critic_target="observed", team_weight=1.0
    )
    trainer = Trainer(ALGORITHMS["sae-mt-qmix"], s, settings, 0)
    trainer.play()
    return trainer.learner, trainer.replay.draw(batch, torch.Generator().manual_seed(0), counterfactual=False)


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


def matmul_speed(size: int = 2048) -> float:
    """FLOP/s of one large matmul."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    return 2 * size**3 / best_of(lambda: a @ b, 20)


def decision_milliseconds(s: Scenario, rounds: int) -> float:
    """One joint decision of all tasks of one ward, from the snapshot on."""
    spec = RunSpec("sae-mt-qmix", s, Settings(num_envs=1, rounds=rounds), seed=0)
    policy = TrainedPolicy.from_trainer(spec.trainer(), spec)
    snapshot = Environment(s, world_seeds(0, 0, 1)).snapshot
    return best_of(lambda: policy.step(snapshot, None), 20) * 1e3


def main() -> None:
    prepare(torch.get_num_threads())
    s = PRESETS["paper"]
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
    for rounds, name in ((0, "at once"), (4, "where the largest gain moves next")):
        with accelerated():
            own = decision_milliseconds(s, rounds)
        with accelerated(False):
            without = decision_milliseconds(s, rounds)
        comparison = f", without backend {without:.1f} ms" if rounds else ""
        print(f"\na joint decision of 64 tasks {name}: {own:.1f} ms{comparison} (wanted: {TARGET_DECISION:g})")


if __name__ == "__main__":
    main()
