"""The optimum's speed and its gap to its certified bound, compared with price response: `python -m benchmarks.optimum`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.optimum import StepOptimum
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.catalogue import make_policy

TARGETS = {"paper": 2.0, "lecture": 6.0, "crowded": 2.0, "hospital": 2.0, "drained": 2.0}


def steps(s: Scenario, count: int, seed: int) -> Snapshot:
    """`count` steps of the ward, from as many episodes as needed."""
    world = World(s, world_seeds(seed, 0, -(-count // s.T)))
    return concatenate(world.episode()).select(slice(0, count))


def milliseconds(work: Callable[[], object], runs: int = 9) -> float:
    """Median time of a call, after one call for warming up."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def gap(snapshot: Snapshot, action: Action, bound: torch.Tensor, s: Scenario) -> torch.Tensor:
    """Relative gap to the bound in each step, per cent."""
    total = (outcome(snapshot, action, s).cost * snapshot.weight).sum((1, 2))
    return 100 * (total / bound - 1)


def main() -> None:
    print("Gap to the certified bound over 50 steps of each of 3 seeds, %")
    print(f"{'preset':10s} {'optimum mean':>12s} {'min':>7s} {'max':>7s} {'target':>7s} {'price response mean':>20s}")
    for name, s in PRESETS.items():
        gaps, prices = [], []
        for seed in (0, 1, 2):
            snapshot = steps(s, 50, seed)
            dual = solve_dual(snapshot, s)
            gaps.append(gap(snapshot, StepOptimum(s).decide(snapshot, dual), dual.bound, s))
            prices.append(gap(snapshot, make_policy("price-response", s).decide(snapshot), dual.bound, s))
        g, p = torch.cat(gaps), torch.cat(prices)
        print(f"{name:10s} {g.mean():12.2f} {g.min():7.2f} {g.max():7.2f} {TARGETS[name]:7.1f} {p.mean():20.2f}")
    s = PRESETS["paper"]
    one, many = steps(s, 1, 0), steps(s, 256, 0)
    print(f"one 8 x 8 x 4 step: {milliseconds(lambda: StepOptimum(s).decide(one)):.1f} ms (target 100 ms)")
    print(f"a step in a batch of 256: {milliseconds(lambda: StepOptimum(s).decide(many), 3) / 256:.2f} ms (target 10 ms)")
    wide = s.changed(users=16, tasks=16, servers=8)
    big = steps(wide, 20, 0)
    print(f"an episode of 20 steps of 16 x 16 x 8: {milliseconds(lambda: StepOptimum(wide).decide(big), 3):.0f} ms")


if __name__ == "__main__":
    main()
