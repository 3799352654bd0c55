"""Price response: what its users know of the prices, and what that is worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.city import city
from iomt_core.experiments.coupled.bursts import bursty
from iomt_core.policies.capacity_prices import TypicalDemand
from iomt_core.policies.episode_dual import EpisodeProblem
from iomt_core.policies.price_response import OLDEST, PriceResponse, battery_price, price_sample
from iomt_core.policies.registry import policy_type
from iomt_core.record import Record
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.training.catalogue import entry, make_policy
from tests.wards import steps

LOADED = PRESETS["paper"].changed(background=0.4, background_correlation=0.9)
MOVING = PRESETS["paper"].changed(background=0.5, burst=0.9, speed=1.5, channel="log-distance")
FIXED, FOLLOWING, BROADCAST = "price-response-fixed", "price-response", "price-response-broadcast"
ALL = (FIXED, FOLLOWING, BROADCAST)


def played(s: Scenario, *names: str, count: int = 1) -> list[Record]:
    """The first episodes of a seed under each of the policies."""
    episodes = draw_episodes(s, 3, 0, count)
    return [play_episodes(make_policy(name, s), episodes) for name in names]


def gap(record: Record) -> float:
    """How far the cost is above the bounds of the steps."""
    assert record.dual is not None
    return float(record.totals.sum() / record.dual.bound.sum()) - 1


def return_gap(record: Record) -> float:
    assert record.return_bound is not None
    return float(record.return_bound[record.step == 1].sum() / record.returns.sum()) - 1


@pytest.mark.parametrize("name", ["paper", "drained", "hospital"])
def test_where_capacities_are_constant_users_choose_servers_better_at_the_same_prices(name: str) -> None:
    s = PRESETS[name]
    fixed, following = played(s, FIXED, FOLLOWING, count=2)
    assert return_gap(following) <= return_gap(fixed) + 5e-4
    snapshot = steps(s, 2)
    policies = [make_policy(policy, s) for policy in (FIXED, FOLLOWING)]
    prices = [policy.prices(snapshot) for policy in policies if isinstance(policy, PriceResponse)]
    assert torch.equal(prices[0].cpu, prices[1].cpu)
    assert torch.equal(prices[0].bandwidth, prices[1].bandwidth)


@pytest.mark.parametrize("deadline", [1.0, 0.3])
def test_servers_that_no_task_may_be_sent_to_need_no_price_of_deadlines(deadline: float) -> None:
    """Agents are offered all servers, with the price of each deadline; price response looks only at those that matter."""
    s = city(60, 6, 12)
    s = s.changed(T_max=deadline * s.T_max, area=2 * s.area)
    snapshot, policy = steps(s, 3), PriceResponse(s)
    prices, kappa = policy.prices(snapshot), battery_price(snapshot, s, policy.known)
    problem = EpisodeProblem(snapshot, s, early=True)
    assert float(problem.late(problem.tasks(prices, kappa)).double().mean()) > 0.01
    decided, offered = policy.decide(snapshot), policy.offers(snapshot, prices, kappa).action
    sent = decided.choice > 0
    assert torch.equal(decided.choice, offered.choice)
    assert torch.equal(decided.cpu, offered.cpu)
    assert torch.equal(decided.bandwidth[sent], offered.bandwidth[sent])


def test_the_price_of_a_deadline_is_found_for_some_tasks_as_for_all() -> None:
    s = city(12, 4, 6)
    s = s.changed(area=3 * s.area)
    snapshot = steps(s, 3)
    known = PriceResponse(s).known
    kappa, problem = battery_price(snapshot, s, known), EpisodeProblem(snapshot, s, early=True)
    free = problem.tasks(known.prices, kappa)
    late, lateness, everywhere = problem.late(free), torch.zeros_like(free.delay), free
    assert 0 < int(late.sum()) < late.numel()
    for _ in range(8):
        lateness = problem.updated_lateness(lateness, everywhere)
        everywhere = problem.tasks(known.prices, kappa, lateness)
    found = problem.in_time(free, known.prices, kappa, late, 8)
    for name in ("value", "f", "band", "energy", "delay", "owed"):
        torch.testing.assert_close(getattr(found, name), getattr(everywhere, name), rtol=1e-12, atol=0)
    assert bool((found.value >= free.value * (1 - 1e-12)).all())


def test_in_a_large_ward_tasks_divide_among_servers_that_cost_about_the_same() -> None:
    s = city(60, 8, 16)
    (record,) = played(s, FOLLOWING)
    assert gap(record) <= 0.0125  # 1.5 % if each user only avoided servers that it has crowded itself


def test_prices_that_follow_capacities_are_worth_it_under_background_load() -> None:
    fixed, following = (gap(record) for record in played(LOADED, FIXED, FOLLOWING, count=2))
    assert following <= 0.04 < 0.08 < fixed


@pytest.mark.parametrize("name", ["paper", "lecture"])
def test_a_single_user_decides_nearly_as_well_as_the_optimum(name: str) -> None:
    s = PRESETS[name].changed(users=1)
    record, best = played(s, FOLLOWING, "optimum", count=3)
    assert gap(record) <= gap(best) + 0.01


def test_where_servers_get_few_tasks_prices_that_follow_capacities_do_not_lead_all_to_one_server() -> None:
    s = PRESETS["paper"].changed(
        users=7, tasks=1, servers=6, background=0.4, T=5, D=(4e5, 1.5e6), C=(1e5, 4e5), B_k=5e8, F_i=5e7
    )
    following, greedy = played(s, FOLLOWING, "greedy", count=4)
    assert gap(following) < 0.7 * gap(greedy)


def test_reckoning_with_own_load_is_kept_where_it_pays_and_other_steps_decide_that() -> None:
    for s in (PRESETS["lecture"], PRESETS["crowded"], PRESETS["paper"].changed(users=3, servers=6)):
        fixed, following = played(s, FIXED, FOLLOWING, count=3)
        assert gap(following) <= gap(fixed) + 1e-3


def test_fresher_prices_are_better_for_many_users() -> None:
    many = MOVING.changed(users=20)
    fixed, following, old, fresh, ideal = (
        gap(record) for record in played(many, FIXED, FOLLOWING, f"{BROADCAST}-5", BROADCAST, f"{BROADCAST}-0")
    )
    assert ideal < fresh < min(old, following)
    assert max(old, following) < fixed
    assert fresh < 0.03


@pytest.mark.parametrize("name", [FOLLOWING, BROADCAST, f"{BROADCAST}-0"])
def test_few_users_gain_more_by_reckoning_with_their_own_load(name: str) -> None:
    fixed, record = played(MOVING, FIXED, name, count=2)
    assert gap(record) <= 0.03 < 0.07 < gap(fixed)


@pytest.mark.parametrize("seed", [1, 2])
def test_on_a_bursty_workload_users_learn_the_load_from_their_own_tasks(seed: int) -> None:
    fixed, following, broadcast = (gap(record) for record in played(bursty(seed), *ALL))
    assert max(following, broadcast) <= 0.12
    assert fixed > 2 * following


@pytest.mark.parametrize("name", ["paper", "lecture", "crowded", "hospital", "drained"])
def test_prices_of_one_step_ago_are_good_on_bursts_of_single_users(name: str) -> None:
    s = PRESETS[name].changed(burst=0.8)
    (record,) = played(s, BROADCAST)
    assert not bool(record.ended.any())
    assert (return_gap(record) if name == "drained" else gap(record)) <= 0.05


def test_prices_of_one_step_ago_are_good_on_bursts_in_a_city() -> None:
    (record,) = played(PRESETS["city"].changed(burst=0.8, T=4), BROADCAST)
    assert not bool(record.ended.any())
    assert gap(record) <= 0.05


@pytest.mark.parametrize("name", ALL)
def test_batteries_last_under_background_load(name: str) -> None:
    (record,) = played(PRESETS["drained"].changed(background=0.4, background_correlation=0.9), name)
    assert not bool(record.ended.any())
    assert return_gap(record) <= 0.06


@pytest.mark.parametrize("T_max", [2e-3, 5e-3])
def test_where_servers_cannot_serve_all_in_time_few_tasks_are_sent_in_vain(T_max: float) -> None:
    s = PRESETS["paper"].changed(users=14, tasks=2, servers=1, T_max=T_max, T=4, C=(2.5e5, 5.4e5), D=(4e4, 1.4e5))
    best, record = played(s, "optimum", FOLLOWING, count=2)
    sent = (record.action.choice > 0) & record.snapshot.active
    assert float(record.returns.sum()) >= 0.75 * float(best.returns.sum())
    assert int((record.outcome.missed & sent).sum()) <= 0.4 * int(sent.sum())


@pytest.mark.parametrize("Cap", [2.5e-3, 4e-3])
def test_no_battery_ends_an_episode_though_all_run_low_in_its_last_step(Cap: float) -> None:
    many = {"users": 10, "tasks": 12, "servers": 5, "T": 5, "area": 180.0, "channel": "log-distance", "sigma2": 0.7}
    devices = {
        "F_i": 5e7,
        "F_k": 2.9e8,
        "k0": 3.8e-25,
        "B_k": 2.3e9,
        "P_tr": (0.8, 1.6),
        "PL0": 38.6,
        "eta": 3.24,
        "Cap": Cap,
    }
    tasks = {"D": (47e3, 138e3), "C": (43e3, 113e3), "P": (1, 2), "T_max": 0.045, "E_ref": 7.4e-4}
    s = PRESETS["paper"].changed(**many, **devices, **tasks, alpha_T=0.89, alpha_E=0.054, seed=429581353)
    best, record = played(s, "optimum", FOLLOWING, count=4)
    assert not bool(record.ended.any())
    assert float(record.returns.sum()) >= 0.9 * float(best.returns.sum())


def test_prices_of_typical_demand_rise_as_capacities_fall() -> None:
    """Less capacity everywhere means higher prices; at the mean load they are the mean prices; worlds are independent."""
    demand = TypicalDemand(LOADED, price_sample(LOADED))
    part = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2], dtype=torch.float64)[:, None].expand(-1, LOADED.servers)
    cpu, band = torch.stack(demand.relative_prices(LOADED.F_k * part, LOADED.B_k * part))
    torch.testing.assert_close(cpu[2], torch.ones_like(cpu[2]), rtol=0.05, atol=0)
    torch.testing.assert_close(band[2], torch.ones_like(band[2]), rtol=0.05, atol=0)
    assert bool((cpu.diff(dim=0) > 0).all())
    assert bool((band.diff(dim=0) > 0).all())
    snapshot = steps(LOADED, 8)
    together = torch.cat(demand.relative_prices(snapshot.F_k, snapshot.B_k), 1)
    alone = torch.cat(demand.relative_prices(snapshot.F_k[5:6], snapshot.B_k[5:6]), 1)
    torch.testing.assert_close(alone, together[5:6], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("s", [LOADED, bursty()], ids=["background", "bursts"])
def test_a_user_knows_only_its_own_row_capacities_and_what_was_broadcast(name: str, s: Scenario) -> None:
    first, snapshot = (
        draw_episodes(s, 0, certify=False).snapshot.select(slice(18, 20)).select(slice(0, 1)),
        steps(s, 20),
    )
    policy = make_policy(name, s)
    _, memory = policy.step(first, None)
    now = snapshot.select(slice(19, 20))
    before, _ = policy.step(now, memory)
    others = {
        field: torch.cat([getattr(now, field)[:, :1], getattr(now, field)[:, 1:].flip(1)], dim=1)
        for field in ("D", "C", "P", "weight", "active", "P_tr", "users_xy", "distance", "beta")
    }
    after, _ = policy.step(replace(now, **others), memory)
    assert torch.equal(before.choice[:, 0], after.choice[:, 0])
    torch.testing.assert_close(before.cpu[:, 0], after.cpu[:, 0])
    torch.testing.assert_close(before.bandwidth[:, 0], after.bandwidth[:, 0])


@pytest.mark.parametrize("name", ALL)
def test_a_world_is_decided_alone_as_in_a_batch(name: str) -> None:
    snapshot, policy = steps(MOVING, 12), make_policy(name, MOVING)
    together = policy.decide(snapshot)
    for row in (0, 7):
        alone = policy.decide(snapshot.select(slice(row, row + 1)))
        assert torch.equal(alone.choice, together.choice[row : row + 1])
        torch.testing.assert_close(alone.cpu, together.cpu[row : row + 1], rtol=1e-6, atol=1e-9)


def test_the_age_of_broadcast_prices_is_part_of_the_name() -> None:
    for age in range(OLDEST + 1):
        made = policy_type(f"{BROADCAST}-{age}")
        assert made is not None
        assert made.uses_past == ("memory" if age else "low batteries")
    assert entry(f"{BROADCAST}-1").name == BROADCAST
    assert entry(f"{BROADCAST}-7").label == "Price response, prices of 7 steps ago"
    for unknown in ("-21", "-01", "--1", "-x", "-"):
        with pytest.raises(ScenarioError, match="is not known"):
            entry(BROADCAST + unknown)
