"""The bound lies below every policy, and the optimum close above the bound."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar
from scipy.special import exp1

from iomt_core.model.snapshot import Action
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.registry import POLICIES
from iomt_core.policies.shares import optimal_shares
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.catalogue import make_policy
from tests.wards import anywhere, random_action, steps, totals


@pytest.mark.parametrize(
    ("name", "most"), [("paper", 0.02), ("crowded", 0.02), ("hospital", 0.04), ("drained", 0.02), ("lecture", 0.06)]
)
def test_the_optimum_is_close_to_its_own_bound(name: str, most: float) -> None:
    s = PRESETS[name]
    snapshot = steps(s, 50)
    dual = solve_dual(snapshot, s)
    action = StepOptimum(s).decide(snapshot, dual)
    gap = totals(snapshot, action, s) / dual.bound - 1
    assert float(gap.min()) >= 0
    assert float(gap.mean()) <= most


@pytest.mark.parametrize("name", list(PRESETS))
def test_no_policy_goes_below_the_bound(name: str) -> None:
    s = PRESETS[name]
    snapshot = steps(s, 1 if name == "city" else 20, seed=3)
    bound = solve_dual(snapshot, s).bound
    for policy in POLICIES:
        action = make_policy(policy, s).decide(snapshot)
        assert bool((totals(snapshot, action, s) >= bound).all()), policy
        assert bool((totals(snapshot, optimal_shares(snapshot, action.choice, s), s) >= bound).all()), policy
    for seed in range(20):
        assert bool((totals(snapshot, random_action(snapshot, seed), s) >= bound).all())


@pytest.mark.parametrize("seed", range(25))
def test_bound_and_optimum_hold_all_over_the_sliders(seed: int) -> None:
    s = anywhere(seed)
    snapshot = steps(s, 3)
    dual = solve_dual(snapshot, s)
    action = StepOptimum(s).decide(snapshot, dual)
    total = totals(snapshot, action, s)
    assert bool(torch.isfinite(dual.bound).all())
    assert bool((total >= dual.bound).all())
    # A bound can be loose where tasks are few, but the solver must stay near it wherever people put the sliders.
    assert float((total / dual.bound - 1).mean()) < 0.15
    for policy in ("all-local", "offload-evenly", "price-response"):
        choice = make_policy(policy, s).decide(snapshot).choice
        other = totals(snapshot, optimal_shares(snapshot, choice, s), s)
        assert bool((other >= dual.bound).all())
        assert float(total.sum()) <= float(other.sum()) * 1.0001


def _own_cost(tasks: list[int], w: np.ndarray, C: np.ndarray, s: Scenario) -> float:
    """Least cost of some tasks on one wearable, by bisection on the multiplier of Σ f <= F."""
    A, G = s.alpha_T / s.T_max, s.alpha_E / s.E_ref

    def best_f(price: float, n: int) -> float:
        def slope(f: float) -> float:
            return w[n] * C[n] * (-A / f**2 + 2 * G * s.k0 * f) + price

        return brentq(slope, 1e3, 1e12, xtol=1e-3, rtol=1e-14)

    def used(price: float) -> float:
        return sum(best_f(price, n) for n in tasks) - s.F_i

    price = 0.0 if used(0.0) <= 0 else brentq(used, 0.0, 1e-3, xtol=1e-18, rtol=1e-14)
    fs = {n: best_f(price, n) for n in tasks}
    return sum(w[n] * C[n] * (A / f + G * s.k0 * f * f) for n, f in fs.items())


def _server_cost(
    tasks: list[int], w: np.ndarray, C: np.ndarray, D: np.ndarray, P: np.ndarray, beta: np.ndarray, s: Scenario
) -> float:
    """Least cost of some tasks on one server: CPU in closed form, bandwidth by bisection on its multiplier."""
    A, G = s.alpha_T / s.T_max, s.alpha_E / s.E_ref
    cpu = sum(math.sqrt(w[n] * A * C[n]) for n in tasks) ** 2 / s.F_k

    def cost(n: int, b: float) -> float:
        x = b / beta[n]
        return w[n] * (A + G * P[n]) * D[n] * math.log(2) / (b * math.exp(x) * exp1(x))

    if len(tasks) == 1:
        return cpu + cost(tasks[0], s.B_k)

    def best_b(price: float, n: int) -> float:
        found = minimize_scalar(
            lambda z: cost(n, math.exp(z)) + price * math.exp(z), bounds=(math.log(1e4), math.log(1e11)), method="bounded",
            options={"xatol": 1e-11},
        )  # fmt: skip
        return math.exp(found.x)

    def used(z: float) -> float:
        return sum(best_b(math.exp(z), n) for n in tasks) - s.B_k

    price = math.exp(brentq(used, math.log(1e-14), math.log(1e-6), xtol=1e-9))
    bands = {n: best_b(price, n) for n in tasks}
    scale = s.B_k / sum(bands.values())
    return cpu + sum(cost(n, b * scale) for n, b in bands.items())


@pytest.mark.parametrize("channel", ["paper", "log-distance"])
def test_tiny_wards_agree_with_brute_force(channel: str) -> None:
    s = PRESETS["paper"].changed(users=2, tasks=3, servers=2, channel=channel, T=2, F_i=4e7)
    snapshot = steps(s, 2, seed=5)
    found = totals(snapshot, StepOptimum(s).decide(snapshot), s)
    bound = solve_dual(snapshot, s).bound
    for step in range(2):
        w, C, D = (getattr(snapshot, x)[step].flatten().numpy() for x in ("weight", "C", "D"))
        P = snapshot.P_tr[step].repeat_interleave(3).numpy()
        beta = snapshot.beta[step].repeat_interleave(3, dim=0).numpy()
        sets = [list(t) for size in range(1, 7) for t in itertools.combinations(range(6), size)]
        server = [{tuple(t): _server_cost(t, w, C, D, P, beta[:, k], s) for t in sets} | {(): 0.0} for k in range(2)]
        own = {
            tuple(t): _own_cost(list(t), w, C, s)
            for user in (range(3), range(3, 6)) for size in range(1, 4) for t in itertools.combinations(user, size)
        } | {(): 0.0}  # fmt: skip
        best = min(
            own[tuple(n for n in range(3) if c[n] == 0)] + own[tuple(n for n in range(3, 6) if c[n] == 0)]
            + sum(server[k][tuple(n for n in range(6) if c[n] == k + 1)] for k in range(2))
            for c in itertools.product(range(3), repeat=6)
        )  # fmt: skip
        assert float(found[step]) == pytest.approx(best, rel=1e-6)
        assert float(bound[step]) <= best * (1 + 1e-9)


def test_best_shares_cannot_be_improved_by_small_changes() -> None:
    for name in ("paper", "hospital"):
        s = PRESETS[name]
        snapshot = steps(s, 10)
        choice = random_action(snapshot, 1).choice
        best = optimal_shares(snapshot, choice, s)
        least = totals(snapshot, best, s)
        generator = torch.Generator().manual_seed(0)
        for scale in (1e-3, 1e-2, 0.1):
            for _ in range(10):
                noise = [
                    torch.exp(scale * torch.randn(choice.shape, generator=generator, dtype=torch.float64))
                    for _ in range(2)
                ]
                other = Action(choice, best.cpu * noise[0], best.bandwidth * noise[1])
                assert bool((totals(snapshot, other, s) >= least * (1 - 1e-7)).all())


def test_a_price_is_what_one_more_unit_saves() -> None:
    s = PRESETS["paper"]
    more = s.changed(F_k=s.F_k * 1.02)
    now, then = solve_dual(steps(s, 20), s), solve_dual(steps(more, 20), more)
    saved = (now.bound - then.bound) / (0.02 * s.F_k)
    expected = (now.prices.cpu.sum(1) + then.prices.cpu.sum(1)) / 2
    assert float((saved / expected).mean()) == pytest.approx(1, abs=0.05)
