"""Wards of the size of a district: certificate, optimum and price response, and the same step by a general solver."""

from __future__ import annotations

import pytest
import torch

from benchmarks.city import city, general_solver
from iomt_core.policies import dual, plan, price_response, search
from iomt_core.policies.dual import solve_dual
from iomt_core.policies.optimum import StepOptimum
from iomt_core.policies.plan import Optimum
from iomt_core.policies.price_response import FixedPriceResponse, PriceResponse
from iomt_core.policies.shares import optimal_shares
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import Scenario
from iomt_core.training.catalogue import make_policy
from tests.wards import anywhere, steps, totals


@pytest.mark.parametrize("channel", ["paper", "log-distance"])
def test_a_district_is_decided_within_one_per_cent_of_its_bound(channel: str) -> None:
    s = city(100, 8, 20, channel)
    snapshot = steps(s, 1)
    certificate = solve_dual(snapshot, s)
    assert 1 <= totals(snapshot, StepOptimum(s).decide(snapshot, certificate), s) / certificate.bound <= 1.01
    assert totals(snapshot, PriceResponse(s).decide(snapshot), s) / certificate.bound <= 1.03


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    s = city(12, 3, 4)
    snapshot = steps(s, 2)

    def found() -> tuple[torch.Tensor, ...]:
        certificate = solve_dual(snapshot, s)
        actions = (StepOptimum(s).decide(snapshot, certificate), PriceResponse(s).decide(snapshot))
        return (certificate.bound, *(totals(snapshot, action, s) for action in actions))

    whole = found()
    for module in (dual, price_response, search):
        monkeypatch.setattr(module, "CELLS", 40)
    monkeypatch.setattr(dual, "MOST_CELLS", 150)
    for a, b in zip(whole, found(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_the_optimum_of_a_district_on_scarce_batteries_is_near_its_bound() -> None:
    """There some servers are so far away that no task could be in time, which the search must know."""
    s = city(100, 8, 20).changed(Cap=8e-4, T=2)
    drawn = draw_episodes(s, 0)
    for name, most in (("optimum", 1.015), ("price-response", 1.04)):
        record = play_episodes(make_policy(name, s), drawn)
        assert record.return_bound is not None
        assert not bool(record.ended.any())
        assert 1 <= float(record.return_bound[0] / record.returns.sum()) <= most


def test_a_plan_in_blocks_of_steps_is_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    s = city(30, 4, 6).changed(Cap=4e-4, T=4)
    drawn = draw_episodes(s, 0)
    whole = Optimum(s).plan(drawn.snapshot, s.T, drawn.dual)
    assert not torch.equal(whole.choice, StepOptimum(s).decide(drawn.snapshot, drawn.dual).choice)  # batteries bind
    monkeypatch.setattr(plan, "MOST_CELLS", 1)
    blocks = Optimum(s).plan(drawn.snapshot, s.T, drawn.dual)
    assert torch.equal(whole.choice, blocks.choice)
    torch.testing.assert_close(blocks.cpu, whole.cpu, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(blocks.bandwidth, whole.bandwidth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("users", "tasks", "most"), [(2, 3, 1e-3), (3, 3, 5e-3)])
def test_a_general_solver_finds_the_same(users: int, tasks: int, most: float) -> None:
    """The relaxation is that of the bound, but for its levels of shares; with whole tasks the costs agree."""
    s = city(users, tasks, 2, "paper")
    snapshot = steps(s, 1)
    certificate = solve_dual(snapshot, s)
    cost = totals(snapshot, StepOptimum(s).decide(snapshot, certificate), s)
    relaxed, whole = (general_solver(snapshot, s, x) for x in (False, True))
    assert relaxed.finished
    assert whole.finished
    assert whole.choice is not None
    assert 1 <= relaxed.value / float(certificate.bound) <= 1.01
    assert float(cost / totals(snapshot, optimal_shares(snapshot, whole.choice, s), s)) == pytest.approx(1, abs=most)


@pytest.mark.parametrize("s", [city(40, 4, 16, "paper"), anywhere(33), anywhere(50)], ids=["40x4x16", "33", "50"])
def test_price_response_is_never_much_worse_than_at_fixed_prices(s: Scenario) -> None:
    episodes = draw_episodes(s, 1, 0, 4, certify=False)
    fixed, default = (
        float(play_episodes(kind(s), episodes).returns.sum()) for kind in (FixedPriceResponse, PriceResponse)
    )
    assert default >= 0.97 * fixed
