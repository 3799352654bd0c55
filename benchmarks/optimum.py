"""Gaps to the certified bounds and speed, beside price response; steps and whole episodes: `python -m benchmarks.optimum`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.medical import medical
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.experiments.coupled.bursts import SEEDS as BURST_SEEDS
from iomt_core.experiments.coupled.bursts import bursty
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import Policy
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.episode_dual import solve_episodes
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.plan import Optimum
from iomt_core.policies.price_response import PriceResponse
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.catalogue import make_policy

TARGETS = {"paper": 2.0, "lecture": 6.0, "crowded": 2.0, "hospital": 4.0, "drained": 2.0, "city": 2.0}
# Largest mean gap to the bound on the return, %: optimum, causal optimum above it, price response.
RETURN_TARGETS = {
    "paper": (0.3, 0.3, None), "lecture": (0.3, 0.3, None), "crowded": (0.3, 0.3, None), "hospital": (0.3, 0.3, None),
    "drained x 1.2": (0.3, 0.3, 1.0), "drained x 1": (0.3, 0.3, 1.0), "drained x 0.5": (0.3, 0.3, 1.0),
    "drained x 0.2": (0.6, 0.3, 3.5), "medical x 0.6": (1.5, 0.6, None),
}  # fmt: skip
EPISODES, PRICE_EPISODES, SEEDS = 10, 4, (0, 1, 2)


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


def returns(policy: Policy, s: Scenario) -> tuple[float, int]:
    """Gap of the mean return to its bound over all episodes, %, and the number of episodes that a battery ended."""
    earned, bound, ended = 0.0, 0.0, 0
    for seed in SEEDS:
        episodes = draw_episodes(s, seed, 0, EPISODES)
        record = play_episodes(policy, episodes)
        assert record.return_bound is not None
        earned += float(record.returns.sum())
        bound += float(record.return_bound[record.step == 1].sum())
        ended += int(record.ended.sum())
    return 100 * (bound / earned - 1), ended


def wards() -> Iterator[tuple[str, Scenario]]:
    """The wards of `RETURN_TARGETS`."""
    for name in ("paper", "lecture", "crowded", "hospital"):
        yield name, PRESETS[name]
    drained = PRESETS["drained"]
    for part in (1.2, 1, 0.5, 0.2):
        yield f"drained x {part:g}", drained.changed(Cap=part * drained.Cap)
    free = medical()
    snapshot = draw_episodes(free, 0, 0, EPISODES).snapshot
    spent = outcome(snapshot, StepOptimum(free).decide(snapshot), free).energy.sum() / (EPISODES * free.users)
    yield "medical x 0.6", medical(Cap=0.6 * float(spent))


def episodes() -> None:
    """Whole episodes: gaps, deadlines and times."""
    print(f"\nGap to the certified bound on the return, {EPISODES} episodes of each of {len(SEEDS)} seeds, %")
    print(
        f"{'ward':16s} {'optimum':>8s} {'target':>7s} {'causal':>8s} {'target':>7s} {'price response':>15s} {'target':>7s} ended"
    )
    for name, s in wards():
        first, more, decentralised = RETURN_TARGETS[name]
        (a, n), (b, m), (c, k) = (
            returns(make_policy(p, s), s) for p in ("optimum", "optimum-causal", "price-response")
        )
        last = "" if decentralised is None else f"{decentralised:.1f}"
        print(f"{name:16s} {a:8.3f} {first:7.1f} {b:8.3f} {a + more:7.2f} {c:15.3f} {last:>7s} {n} {m} {k}")
    print("\nDeadlines of medical signals, 38,400 tasks: late or skipped, and cost")
    for speed in (1e9, 7e7):
        s = medical(speed)
        kinds = {
            "step by step": StepOptimum(s),
            "plan": Optimum(s),
            "plan, a late task costs 2 p": Optimum(s, skip=2.0),
        }
        for name, policy in kinds.items():
            records = [play_episodes(policy, draw_episodes(s, seed, 0, EPISODES)) for seed in SEEDS]
            late = sum(int(r.outcome.missed[r.snapshot.active].sum()) for r in records)
            cost = sum(float(r.totals.sum()) for r in records) / sum(float(r.snapshot.weight.sum()) for r in records)
            print(f"  servers of {speed / 1e9:g} GHz, {name:28s} {late:6d} {cost:9.5f}")
    s = PRESETS["drained"]
    print("\nTimes on `drained`, 8 x 8 x 4, T = 20, ms an episode")
    for count, target_bound, target_plan in ((1, 50, 250), (50, 35, None)):
        drawn = draw_episodes(s, 0, 0, count)
        capacity = drawn.snapshot.battery[:count]
        bound = milliseconds(lambda: solve_episodes(drawn.snapshot, s, capacity), 5) / count  # noqa: B023
        alone = milliseconds(lambda: solve_dual(drawn.snapshot, s), 5) / count  # noqa: B023
        plan = milliseconds(lambda: Optimum(s).plan(drawn.snapshot, s.T, drawn.dual), 5) / count  # noqa: B023
        response = PriceResponse(s)
        played = milliseconds(lambda: play_episodes(response, drawn), 5) / count  # noqa: B023
        print(
            f"  {count:2d} at once: bound {bound:.1f} (target {target_bound}; the bounds of the steps alone {alone:.1f}), "
            f"plan {plan:.1f}{f' (target {target_plan})' if target_plan else ''}, "
            f"price response {played:.1f}{' (target 30)' if count > 1 else ''}"
        )


def price_wards() -> Iterator[tuple[str, Scenario]]:
    """Wards in which prices change from step to step, and all presets."""
    paper = PRESETS["paper"]
    yield "background 0.4", paper.changed(background=0.4, background_correlation=0.9)
    yield "background, walking", paper.changed(background=0.5, burst=0.9, speed=1.5, channel="log-distance")
    for seed in BURST_SEEDS:
        yield f"own bursts {seed}", bursty(seed)
    for name, s in PRESETS.items():
        if name == "city":  # see `benchmarks.city`
            continue
        yield name, s
        yield f"{name}, burst 0.8", s.changed(burst=0.8)


def prices() -> None:
    """Price response by what users know of the prices."""
    names = {"price-response-fixed": "fixed", "price-response": "follow", "price-response-broadcast-5": "5 old"}
    names |= {"price-response-broadcast": "1 old", "price-response-broadcast-0": "ideal", "optimum-step": "optimum"}
    print("\nPrices of price response: fixed, following what users see, 5 and 1 steps old, and the step's own (ideal).")
    print(
        f"Cost above the bounds of the steps, {PRICE_EPISODES} episodes of each of {len(SEEDS)} seeds, %, with the return in ()."
    )
    print(f"{'ward':22s} " + " ".join(f"{label:>15s}" for label in names.values()))
    for ward, s in price_wards():
        cells = []
        episodes = [draw_episodes(s, seed, 0, 1 if s.workload else PRICE_EPISODES) for seed in SEEDS]
        for name in names:
            records = [play_episodes(make_policy(name, s), drawn) for drawn in episodes]
            cost, bound, earned, most = (
                sum(float(part) for part in parts)
                for parts in zip(
                    *(
                        (r.totals.sum(), r.dual.bound.sum(), r.returns.sum(), r.return_bound[r.step == 1].sum())
                        for r in records
                        if r.dual is not None and r.return_bound is not None
                    ),
                    strict=True,
                )
            )
            cells.append(f"{100 * (cost / bound - 1):6.2f} ({100 * (most / earned - 1):6.2f})")
        print(f"{ward:22s} " + " ".join(cells))
    s = next(price_wards())[1]
    snapshot = steps(s, 1000, 0)
    times = [milliseconds(lambda: make_policy(name, s).decide(snapshot), 3) / 1000 for name in list(names)[:2]]  # noqa: B023
    print(
        f"a step in a batch of 1,000 with background load: fixed {times[0]:.2f} ms, following capacities {times[1]:.2f} ms"
    )


def main() -> None:
    torch.set_num_threads(1)
    print("Gap to the certified bound over 50 steps of each of 3 seeds, %")
    print(f"{'preset':10s} {'optimum mean':>12s} {'min':>7s} {'max':>7s} {'target':>7s} {'price response mean':>20s}")
    for name, s in PRESETS.items():
        gaps, responses = [], []
        for seed in (0, 1, 2):
            snapshot = steps(s, 50, seed)
            dual = solve_dual(snapshot, s)
            gaps.append(gap(snapshot, StepOptimum(s).decide(snapshot, dual), dual.bound, s))
            responses.append(gap(snapshot, make_policy("price-response", s).decide(snapshot), dual.bound, s))
        g, p = torch.cat(gaps), torch.cat(responses)
        print(f"{name:10s} {g.mean():12.2f} {g.min():7.2f} {g.max():7.2f} {TARGETS[name]:7.1f} {p.mean():20.2f}")
    s = PRESETS["paper"]
    one, many = steps(s, 1, 0), steps(s, 256, 0)
    print(f"one 8 x 8 x 4 step: {milliseconds(lambda: StepOptimum(s).decide(one)):.1f} ms (target 100 ms)")
    print(
        f"a step in a batch of 256: {milliseconds(lambda: StepOptimum(s).decide(many), 3) / 256:.2f} ms (target 10 ms)"
    )
    wide = s.changed(users=16, tasks=16, servers=8)
    big = steps(wide, 20, 0)
    print(f"an episode of 20 steps of 16 x 16 x 8: {milliseconds(lambda: StepOptimum(wide).decide(big), 3):.0f} ms")
    episodes()
    prices()


if __name__ == "__main__":
    main()
