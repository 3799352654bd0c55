"""What every policy owes: decisions of its own, world by world and, where it says so, user by user."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from iomt_core.policies.base import SHARES, with_shares
from iomt_core.policies.registry import POLICIES
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.catalogue import make_policy
from iomt_core.twin.northbound import play
from tests.wards import steps, totals


@pytest.mark.parametrize("name", list(POLICIES))
@pytest.mark.parametrize("preset", ["lecture", "hospital"])
def test_a_decision_does_not_depend_on_the_rest_of_the_batch(name: str, preset: str) -> None:
    s = PRESETS[preset]
    snapshot = steps(s, 12)
    policy = make_policy(name, s)
    together = policy.decide(snapshot)
    for world in (0, 7):
        alone = policy.decide(snapshot.select(slice(world, world + 1)))
        assert torch.equal(alone.choice, together.choice[world : world + 1])
        torch.testing.assert_close(alone.cpu, together.cpu[world : world + 1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [n for n, p in POLICIES.items() if p.decentralised])
def test_a_decentralised_user_does_not_look_at_the_others(name: str) -> None:
    s = PRESETS["hospital"]
    snapshot = steps(s, 10)
    policy = make_policy(name, s)
    before = policy.decide(snapshot)
    scrambled = {
        field: torch.cat([getattr(snapshot, field)[:, :1], getattr(snapshot, field)[:, 1:].flip(0)], dim=1)
        for field in ("D", "C", "P", "weight", "kind", "P_tr", "battery", "users_xy", "distance", "beta")
    }
    after = policy.decide(replace(snapshot, **scrambled))
    assert torch.equal(before.choice[:, 0], after.choice[:, 0])
    if policy.sharing == "requests":
        torch.testing.assert_close(before.cpu[:, 0], after.cpu[:, 0])
        torch.testing.assert_close(before.bandwidth[:, 0], after.bandwidth[:, 0])


@pytest.mark.parametrize("name", list(POLICIES))
@pytest.mark.parametrize("shares", SHARES)
def test_choices_and_shares_are_in_range(name: str, shares: str) -> None:
    s = PRESETS["crowded"].changed(users=5, servers=2)
    snapshot = steps(s, 4)
    action = with_shares(make_policy(name, s).decide(snapshot), snapshot, s, shares)  # type: ignore[arg-type]
    assert int(action.choice.min()) >= 0
    assert int(action.choice.max()) <= s.servers
    for asked in (action.cpu, action.bandwidth):
        assert bool(((asked >= 0) & (asked <= 1 + 1e-12)).all())


def test_a_policy_that_uses_one_device_only_is_said_to_have_collapsed() -> None:
    s = PRESETS["lecture"]
    found = {name: play(s, name, 0).collapse for name in ("all-local", "optimum", "offload-evenly")}
    assert found == {"all-local": "keeps everything local", "optimum": "", "offload-evenly": "offloads everything"}
    record = play(s, "offload-evenly", 0)
    to_server = replace(record, action=replace(record.action, choice=torch.full_like(record.action.choice, 2)))
    assert to_server.collapse == "sends everything to server 2"
    assert play(s.changed(servers=1), "offload-evenly", 0).collapse == "offloads everything"


def test_best_shares_are_never_worse_than_even_ones() -> None:
    s = PRESETS["paper"]
    snapshot = steps(s, 10)
    for name in POLICIES:
        action = make_policy(name, s).decide(snapshot)
        even = totals(snapshot, with_shares(action, snapshot, s, "equal"), s)
        best = totals(snapshot, with_shares(action, snapshot, s, "optimal"), s)
        assert bool((best <= even * (1 + 1e-9)).all()), name


def test_price_response_is_within_four_per_cent_on_paper() -> None:
    from iomt_core.policies.dual import solve_dual

    s = PRESETS["paper"]
    snapshot = steps(s, 100, seed=11)
    action = make_policy("price-response", s).decide(snapshot)
    gap = totals(snapshot, action, s) / solve_dual(snapshot, s).bound - 1
    assert float(gap.mean()) <= 0.04


def test_price_response_knows_a_given_workload_as_a_whole() -> None:
    """Bursts of 31 tasks after steps of a single one: prices of the first step alone would send everything away."""
    sizes = [{"D": 2e5 + 6e3 * n, "C": 1e5 + 3e3 * n, "P": 1 + n % 3} for n in range(31)]
    tasks = [
        {"step": t, "user": 1 + n % 8, **size}
        for t in range(1, 11)
        for n, size in enumerate(sizes[: 31 if t % 2 == 0 else 1])
    ]
    s = PRESETS["paper"].changed(T=10, workload=tasks)
    record = play_episodes(make_policy("price-response", s), draw_episodes(s, 0))
    assert record.dual is not None
    assert float(record.totals.sum() / record.dual.bound.sum()) - 1 <= 0.15


def test_the_simple_policies_do_what_their_names_say() -> None:
    s = PRESETS["paper"].changed(users=5, tasks=7, servers=3)
    snapshot = steps(s, 6)
    assert int(make_policy("all-local", s).decide(snapshot).choice.max()) == 0
    choice = make_policy("offload-evenly", s).decide(snapshot).choice
    counts = torch.stack([(choice == k).sum((1, 2)) for k in range(4)])
    assert int(counts[0].max()) == 0
    assert int((counts[1:].amax(0) - counts[1:].amin(0)).max()) <= 1
    nearest = make_policy("nearest", s).decide(snapshot).choice - 1
    reached = snapshot.distance.gather(2, nearest)
    assert torch.equal(reached, snapshot.distance.amin(2, keepdim=True).expand_as(reached))
    drawn = make_policy("random", s).decide(steps(s, 200)).choice
    assert {int(k) for k in drawn.unique()} == {0, 1, 2, 3}


def test_greedy_gives_the_first_task_what_is_cheapest_alone() -> None:
    s = PRESETS["hospital"].changed(users=1, tasks=1, servers=3)
    snapshot = steps(s, 20)
    policy = make_policy("greedy", s)
    chosen = totals(snapshot, policy.decide(snapshot), s)
    for k in range(4):
        action = with_shares(policy.decide(snapshot), snapshot, s, "own")
        other = replace(action, choice=torch.full_like(action.choice, k))
        assert bool((chosen <= totals(snapshot, other, s) * (1 + 1e-12)).all())


def test_an_unknown_policy_is_named_with_what_is_allowed() -> None:
    with pytest.raises(
        ScenarioError, match=r"policy = 'optimun' .*allowed is sae-mt-qmix.*optimum.*Did you mean 'optimum'"
    ):
        make_policy("optimun", PRESETS["paper"])
