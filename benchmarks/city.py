"""Wards up to the size of a city: time, gap and memory; and the same step by a general solver: `python -m benchmarks.city`."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from benchmarks.optimum import gap, steps
from iomt_core.model.channel import mean_rate
from iomt_core.model.snapshot import Snapshot
from iomt_core.policies.demand import UnitCosts
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.price_response import PriceResponse
from iomt_core.policies.shares import optimal_shares, own_cpu_costs
from iomt_core.scenario import PRESETS, Scenario

SIZES = ((8, 8, 4), (32, 8, 8), (100, 8, 20), (300, 8, 50), (816, 8, 125))
# Seconds and % at most: optimum with certificate, its gap, a decision of price response, its gap.
TARGETS = {(100, 8, 20): (1.0, 1.0, None, None), (816, 8, 125): (15.0, 1.5, 0.5, 3.0)}
LEVELS = 24  # of each share, for the general solver
TIME_LIMIT = 30.0  # s
T = TypeVar("T")


def city(users: int, tasks: int, servers: int, channel: str = "log-distance") -> Scenario:
    """The paper's ward at this size. On the log-distance channel as many servers a square kilometre as in Melbourne's centre."""
    s = PRESETS["paper"].changed(users=users, tasks=tasks, servers=servers, T=4)
    return (
        s if channel == "paper" else s.changed(channel=channel, E_ref=1e-3, Cap=0.1, area=1000 * (servers / 20) ** 0.5)
    )


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """The result of a call, and its seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - clock, time.process_time() - processor


def sizes() -> None:
    """Times, gaps and memory as wards grow."""
    print(f"One step, torch with one thread, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    print(
        "Seconds by the clock (of the processor); gap to the certified bound; ns: processor time per user, task and server."
    )
    print(
        f"{'channel':13s} {'users x tasks x servers':>23s} {'certificate':>14s} {'search':>14s} {'gap':>7s} {'ns':>6s} "
        f"{'prices, once':>14s} {'response':>14s} {'gap':>7s} {'memory':>8s}"
    )
    for channel in ("paper", "log-distance"):
        for size in SIZES:
            s = city(*size, channel)
            snapshot = steps(s, 1, 0)
            solve_dual(steps(city(4, 4, 2), 1, 0), city(4, 4, 2))  # warms up
            dual, *bound_time = timed(lambda: solve_dual(snapshot, s))  # noqa: B023
            action, *search_time = timed(lambda: StepOptimum(s).decide(snapshot, dual))  # noqa: B023
            policy, *price_time = timed(lambda: PriceResponse(s))  # noqa: B023
            response, *response_time = timed(lambda: policy.decide(snapshot))  # noqa: B023
            times = [
                f"{clock:.2f} ({processor:.2f})"
                for clock, processor in (bound_time, search_time, price_time, response_time)
            ]
            gaps = [float(gap(snapshot, a, dual.bound, s)) for a in (action, response)]
            cell = 1e9 * (bound_time[1] + search_time[1]) / (size[0] * size[1] * size[2])
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(
                f"{channel:13s} {' x '.join(map(str, size)):>23s} {times[0]:>14s} {times[1]:>14s} {gaps[0]:6.2f}% {cell:6.0f} "
                f"{times[2]:>14s} {times[3]:>14s} {gaps[1]:6.2f}% {memory:5.2f} GB"
            )
            if size in TARGETS:
                seconds, most, decision, response_most = TARGETS[size]
                rest = "" if decision is None else f"; response {decision:g} s, {response_most:g} %"
                print(f"{'':13s} {'target':>23s} certificate and search {seconds:g} s, gap {most:g} %{rest}")


@dataclass(frozen=True)
class GeneralSolution:
    """What a general solver found for a step."""

    value: float  # the weighted cost
    choice: torch.Tensor | None  # (1, U, J) with whole tasks, None for the relaxation or if there is none in time
    finished: bool


def general_solver(snapshot: Snapshot, s: Scenario, whole: bool, time_limit: float = TIME_LIMIT) -> GeneralSolution:
    """The joint decision of one step by HiGHS (`scipy.optimize.milp`), which knows nothing of the problem's structure.

    The convex costs of shares are piecewise linear between `LEVELS` levels, so they are a little too high. whole: whether a task
    runs on one device only; otherwise the continuous relaxation, whose value the dual bound must not exceed.
    """
    _, u, j, k = snapshot.shape
    costs = UnitCosts.of(snapshot, s)
    delay, energy = (x.double().view(-1).numpy() for x in own_cpu_costs(snapshot, costs, s))
    per_bit = costs.second + costs.joule * snapshot.P_tr.double()[:, :, None]
    sent = (per_bit * snapshot.D).view(-1).numpy()
    ladder = np.geomspace(1.0 / (4 * u * j), 1.0, LEVELS)
    F, B, F_i = (x[0].double().numpy() for x in (snapshot.F_k, snapshot.B_k, snapshot.F_i))
    n, count = u * j, 0
    cost, rows, columns, values, low, high = [], [], [], [], [], []  # type: ignore[var-annotated]

    def variables(price: np.ndarray) -> np.ndarray:
        nonlocal count
        cost.append(price)
        count += len(price)
        return np.arange(count - len(price), count)

    def constraint(where: list[tuple[np.ndarray, np.ndarray | float]], least: float, most: float) -> None:
        row = len(low)
        for column, value in where:
            columns.append(column)
            values.append(np.broadcast_to(value, column.shape))
            rows.append(np.full(len(column), row))
        low.append(least)
        high.append(most)

    taken: list[list[tuple[np.ndarray, np.ndarray | float]]] = [[] for _ in range(u + 2 * k)]
    chosen = variables(np.zeros(n * (k + 1))).reshape(n, k + 1)
    rate = mean_rate(torch.tensor(B[:, None] * ladder), snapshot.beta[0].double()[..., None]).numpy()  # (U, K, levels)
    for task in range(n):
        i = task // j
        constraint([(chosen[task], 1.0)], 1, 1)
        f = F_i[i] * ladder
        level = variables(delay[task] / f + energy[task] * f * f)
        constraint([(level, 1.0), (chosen[task, :1], -1.0)], 0, 0)
        taken[i].append((level, ladder))
        for server in range(k):
            one = chosen[task, server + 1 : server + 2]
            for price, resource_ in ((delay[task] / (F[server] * ladder), u), (sent[task] / rate[i, server], u + k)):
                level = variables(price)
                constraint([(level, 1.0), (one, -1.0)], 0, 0)
                taken[resource_ + server].append((level, ladder))
    for where in taken:
        constraint(where, -np.inf, 1)
    matrix = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(len(low), count)
    )
    integral = np.zeros(count)
    integral[chosen.ravel()] = whole
    found = milp(
        np.concatenate(cost),
        constraints=LinearConstraint(matrix.tocsr(), low, high),
        bounds=Bounds(0, 1),
        integrality=integral,
        options={"time_limit": time_limit, "mip_rel_gap": 1e-4},
    )
    if found.x is None:
        return GeneralSolution(float("nan"), None, False)
    choice = torch.from_numpy(found.x[chosen].argmax(1)).view(1, u, j) if whole else None
    return GeneralSolution(float(found.fun), choice, found.status == 0)


def beside_general_solver() -> None:
    """The same steps by this project's solver and by HiGHS."""
    print(f"\nBeside HiGHS, {LEVELS} levels a share, at most {TIME_LIMIT:g} s (s: seconds by the clock)")
    print(
        f"{'users x tasks x servers':>23s} {'bound':>9s} {'relaxation':>10s} {'cost':>9s} {'MILP':>9s} {'ours s':>7s} "
        f"{'relax. s':>9s} {'MILP s':>7s} {'times':>7s}"
    )
    for size in ((2, 3, 2), (3, 4, 2), (8, 8, 4), (16, 8, 8)):
        s = city(*size, "paper")
        snapshot = steps(s, 1, 0)
        StepOptimum(s).decide(snapshot)
        (dual, action), ours, _ = timed(lambda: (d := solve_dual(snapshot, s), StepOptimum(s).decide(snapshot, d)))  # noqa: B023
        relaxed, relaxed_time, _ = timed(lambda: general_solver(snapshot, s, False))  # noqa: B023
        whole, whole_time, _ = timed(lambda: general_solver(snapshot, s, True))  # noqa: B023
        bound = float(dual.bound)
        cost = bound * (1 + float(gap(snapshot, action, dual.bound, s)) / 100)
        exact = float("nan")
        if whole.choice is not None:
            shares = optimal_shares(snapshot, whole.choice, s)
            exact = bound * (1 + float(gap(snapshot, shares, dual.bound, s)) / 100)
        marks = ["" if x.finished else "*" for x in (relaxed, whole)]
        print(
            f"{' x '.join(map(str, size)):>23s} {bound:9.4f} {relaxed.value:9.4f}{marks[0]:1s} {cost:9.4f} "
            f"{exact:8.4f}{marks[1]:1s} {ours:7.3f} {relaxed_time:9.2f} {whole_time:7.2f} {whole_time / ours:7.0f}"
        )
    print(
        "MILP: the exact cost of its choices with optimal shares; times: its time over ours. *: not finished in time; what it "
        "had found by then."
    )


def main() -> None:
    torch.set_num_threads(1)
    sizes()
    beside_general_solver()


if __name__ == "__main__":
    main()
