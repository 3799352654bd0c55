"""Whatever scenario is accepted: 0 <= bound <= cost of every policy, and every number that comes out is finite.

`python -m benchmarks.certificate` checks as many scenarios more as wanted.
"""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch

from iomt_core.adapters.pettingzoo_env import WardEnv
from iomt_core.model.outcome import outcome
from iomt_core.policies.demand import OwnCpuTasks, bandwidth_table
from iomt_core.policies.dual import DualProblem, prices_at, solve_dual
from iomt_core.policies.optimum import StepOptimum
from iomt_core.scenario import PRESETS, Places, Scenario
from tests.certificate import certificate_violations, number_violations, return_violations, training_violations
from tests.wards import steps, totals, whole_range

PARTS, GROUPS, SIZE = 4, 32, 25  # 800 scenarios
EPISODES = 7  # the returns of whole episodes are checked in every seventh group
TRAINED = 3
WEAK = PRESETS["lecture"].changed(channel="log-distance", area=2000, eta=6, PL0=120, N0=1e-12)
FAR = Places(users=((0, 0),) * 3, servers=((2000, 2000),) * 2)
WEAKEST = WEAK.changed(sigma2=0.01, D=(8e7, 8e7), P_tr=(1e-3, 1e-3), d0=0.1, places=FAR)


def _assert_none(found: list[tuple[Scenario, str]]) -> None:
    assert not found, "\n".join(f"{what}\n  {s.model_dump_json()}" for s, what in found[:5])


@pytest.mark.parametrize("part", range(PARTS))
def test_the_certificate_holds_and_numbers_are_finite_all_over_the_allowed_range(part: int) -> None:
    found = []
    for seed in range(part, GROUPS, PARTS):
        group = whole_range(seed, SIZE)
        found += [(group[n], what) for n, what in certificate_violations(group, seed)]
        if seed // PARTS % EPISODES == 0:
            found += [(group[n], what) for n, what in return_violations(group, seed)]
        found += [(s, what) for s in group[:2] for what in number_violations(s, seed)]
    _assert_none(found)


@pytest.mark.parametrize("seed", range(TRAINED))
def test_training_is_finite_all_over_the_allowed_range(seed: int) -> None:
    s = whole_range(seed)[0]
    _assert_none([(s, what) for what in training_violations(s, seed)])


@pytest.mark.parametrize("s", [WEAK, WEAKEST], ids=["weak", "weakest"])
def test_links_that_never_get_anything_through_have_a_tight_bound(s: Scenario) -> None:
    snapshot = steps(s, 10)
    dual = solve_dual(snapshot, s)
    action = StepOptimum(s).decide(snapshot, dual)
    gap = totals(snapshot, action, s) / dual.bound - 1
    assert float(gap.min()) >= 0
    assert float(gap.max()) < 0.01
    _assert_none([(s, what) for what in number_violations(s, 0)])


def test_an_unused_link_however_weak_leaves_local_tasks_alone() -> None:
    """The same tasks on the same devices, over the weakest links and over usual ones."""

    def everything_local(s: Scenario) -> list[float]:
        env = WardEnv(s)
        env.reset(seed=0)
        share = np.full(s.tasks, 1 / s.tasks, np.float32)
        local = {"choice": np.zeros(s.tasks, int), "cpu": share, "bandwidth": share}
        return [
            x for _ in range(3) for info in env.step(dict.fromkeys(env.agents, local))[4].values() for x in info["cost"]
        ]

    assert everything_local(WEAKEST) == everything_local(WEAKEST.changed(N0=4e-21, PL0=40.0, eta=3.0))


@pytest.mark.parametrize("seed", range(8))
def test_a_bound_holds_at_any_prices(seed: int) -> None:
    """The search for prices decides how high a bound is, never whether it holds."""
    group = whole_range(1000 + seed, 8)
    s = group[0]
    for one in group:
        snapshot = steps(one, 1)
        result = outcome(snapshot, StepOptimum(one).decide(snapshot), one)
        problem, cost = DualProblem(snapshot, one), (result.cost * snapshot.weight).sum((1, 2))
        skips = bool(result.skipped.any())  # a sensor without a CPU, of which a server would cost more
        found = solve_dual(snapshot, one).prices
        best = torch.cat([found.cpu, found.bandwidth, found.own], dim=1).clamp_min(1e-300).log()
        generator = torch.Generator().manual_seed(seed)
        for width in (0.1, 3.0, 30.0, 300.0):
            noise = torch.randn(best.shape, generator=generator, dtype=torch.float64)
            theta = (best + width * noise).clamp_max(300)
            bound = problem.bound(theta, problem.task_values(prices_at(theta, s.servers), 4), skips)
            assert bool((bound <= cost).all())


def test_the_bandwidth_problem_is_solved_from_below_at_both_ends_of_its_table_and_beyond() -> None:
    """Against 90 digits; the extremes of x = b / β that the allowed ranges hold are 1e-32 and 1e17."""
    prices, exact = [], []
    with mpmath.workdps(90):
        for x in (mpmath.mpf(10) ** (n / mpmath.mpf(3)) for n in range(-102, 61)):
            h = mpmath.exp(x) * mpmath.e1(x)
            y = ((1 + x) * h - 1) / (x * h) ** 2  # the price at which x is the best
            prices.append(float(y))
            exact.append(float(1 / (x * h) + y * x))
    ratio = bandwidth_table()(torch.tensor(prices, dtype=torch.float64))[0].numpy() / np.array(exact)
    assert ratio.max() <= 1 + 1e-11
    assert ratio.min() >= 0.97
    assert float(bandwidth_table()(torch.zeros(1, dtype=torch.float64))[0]) == pytest.approx(1, abs=1e-11)


def test_the_least_cost_on_the_own_cpu_is_exact_where_a_certificate_is_made_of_it() -> None:
    s = PRESETS["paper"]
    A, g = (torch.tensor(x, dtype=torch.float64) for x in (s.alpha_T / s.T_max, s.alpha_E / s.E_ref * s.k0))
    price = A * (2 * g / A) ** (2 / 3) * torch.logspace(-20, 20, 4001, dtype=torch.float64)
    task = OwnCpuTasks(A, g)
    f, exact = task.frequency(price, 4), task.frequency(price, 12)
    torch.testing.assert_close(task.cost(f) + price * f, task.cost(exact) + price * exact, rtol=1e-14, atol=0)


def test_a_bound_knows_the_precision_of_the_costs_it_is_compared_with() -> None:
    s = PRESETS["paper"]
    double = steps(s, 4)
    single = replace(double, **{name: getattr(double, name).float() for name in ("D", "C", "P", "weight", "beta")})
    assert bool((solve_dual(single, s).bound <= solve_dual(double, s).bound).all())
