"""The synchronised twin: as old as it should be, as wrong as it should be, and exactly the ward where it is neither."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.world import World
from iomt_core.model.snapshot import Snapshot
from iomt_core.policies.base import Policy
from iomt_core.rollout import Rollout, Step, draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.training.catalogue import make_policy
from iomt_core.twin.mapping.stale_policy import StalePolicy
from iomt_core.twin.mapping.synchronisation import (
    FIELD_GROUPS,
    FRESH,
    Synchronisation,
    SynchronisedTwin,
    believed,
    errors,
    staleness,
)
from iomt_core.twin.northbound import Twin

PAPER = PRESETS["paper"].changed(T=6)
MOVING = PRESETS["lecture"].changed(T=8, speed=3.0, background=0.4, channel="log-distance")
RAGGED = PRESETS["lecture"].changed(
    users=2, tasks=2, T=2,
    workload=[{"step": 1, "user": 1, "D": 3e5, "C": 1e5, "P": 1}, {"step": 2, "user": 2, "D": 3e5, "C": 1e5, "P": 2}],
)  # fmt: skip
LATE = [name for group in FIELD_GROUPS.values() for name in group.fields]
EVERY = tuple(FIELD_GROUPS)


def episode(s: Scenario, worlds: int = 2) -> list[Snapshot]:
    return World(s, world_seeds(5, 0, worlds)).episode()


def twins(s: Scenario, sync: Synchronisation, steps: list[Snapshot]) -> list[SynchronisedTwin]:
    found, twin = [], SynchronisedTwin(s, sync)
    for snapshot in steps:
        twin = twin.synchronised(snapshot)
        found.append(twin)
    return found


def rolled(policy: Policy, s: Scenario, worlds: int = 2) -> list[Step]:
    rollout = Rollout(policy, Environment(s, world_seeds(0, 0, worlds), torch.float64))
    found = []
    while not rollout.done:
        found.append(rollout.step())
    return found


@pytest.mark.parametrize(
    ("policy", "s"),
    [
        ("sae-mt-qmix@paper", PAPER),  # carries a memory
        ("sae-mt-qmix", PAPER),
        ("pa-ddpg@paper", PAPER),
        ("price-response", PRESETS["drained"].changed(T=6)),
        ("optimum-step", MOVING),
        ("optimum-causal", MOVING),
        ("random", MOVING),
    ],
)
def test_on_a_fresh_twin_decisions_are_bit_for_bit_those_of_the_policy(policy: str, s: Scenario) -> None:
    decider = make_policy(policy, s)
    for plain, stale in zip(rolled(decider, s), rolled(StalePolicy(decider, FRESH), s), strict=True):
        for name in ("choice", "cpu", "bandwidth"):
            assert torch.equal(getattr(plain.action, name), getattr(stale.action, name))
        assert torch.equal(plain.transition.reward, stale.transition.reward)


@settings(max_examples=25, deadline=None)
@given(some.integers(1, 9), some.integers(0, 9), some.sets(some.sampled_from(EVERY), min_size=1))
def test_the_twin_has_the_last_measurement_that_arrived_and_all_else_as_it_is(
    interval: int, delay: int, groups: set[str]
) -> None:
    sync, steps = Synchronisation(interval, delay, groups=tuple(groups)), episode(MOVING)
    late = {name for group in groups for name in FIELD_GROUPS[group].fields}
    for t, twin in enumerate(twins(MOVING, sync, steps)):
        arrived = [m for m in range(0, t + 1, interval) if m + delay <= t]
        measured = arrived[-1] if arrived else 0
        assert twin.age == t - measured == int(sync.ages(torch.tensor(t)))
        assert len(twin.measurements) <= delay // interval + 2
        for name in (*LATE, "P_tr", "key", "steps_left"):
            source = steps[measured] if name in late else steps[t]
            assert torch.equal(getattr(twin.snapshot, name), getattr(source, name)), name


def test_noise_depends_on_world_and_step_alone_and_grows_in_proportion() -> None:
    (first, second), sync = episode(MOVING)[:2], Synchronisation(noise=0.1, groups=EVERY)
    noisy = believed(second, first, MOVING, sync)
    again = believed(second.select(slice(1, 2)), first.select(slice(1, 2)), MOVING, sync)
    double = believed(second, first, MOVING, Synchronisation(noise=0.2, groups=EVERY))
    for name in ("F_k", "B_k", "users_xy", "distance", "beta", "battery", "D", "C"):
        assert torch.equal(getattr(noisy, name)[1:], getattr(again, name)), name
        assert not torch.equal(getattr(noisy, name), getattr(first, name)), name
    torch.testing.assert_close(double.users_xy - first.users_xy, 2 * (noisy.users_xy - first.users_xy))
    for name in ("F_k", "D"):
        small, large = ((getattr(x, name) / getattr(first, name)).log() for x in (noisy, double))
        torch.testing.assert_close(large + 0.2**2 / 2, 2 * (small + 0.1**2 / 2))
    fewer = MOVING.changed(users_off=(1,), users=MOVING.users - 1)
    left = believed(*(one.keep(torch.tensor([1, 2]), torch.tensor([0, 1])) for one in (second, first)), fewer, sync)
    assert torch.equal(left.users_xy, noisy.users_xy[:, 1:])
    assert torch.equal(left.F_k, noisy.F_k)


def test_measured_values_have_the_noise_that_was_set() -> None:
    ward = MOVING.changed(Cap=10.0)
    (snapshot,) = episode(ward, 4000)[:1]
    noisy = believed(snapshot, snapshot, ward, Synchronisation(noise=0.1, groups=EVERY))
    for name in ("F_k", "B_k", "D", "C"):
        factor = getattr(noisy, name) / getattr(snapshot, name)
        assert float(factor.mean()) == pytest.approx(1.0, abs=0.005)
        assert float(factor.std()) == pytest.approx(0.1, rel=0.05)
    moved = (noisy.users_xy - snapshot.users_xy) / ward.area
    assert float(moved.std()) == pytest.approx(0.1, rel=0.05)
    assert bool((noisy.battery <= ward.Cap).all())


def test_errors_are_relative_and_zero_where_the_twin_is_right() -> None:
    now = episode(MOVING)[3]
    assert all(not bool(value.any()) for value in errors(now, now, MOVING).values())
    twin = believed(now, now, MOVING, FRESH)
    twin = type(now)(**{**vars(twin), "F_k": now.F_k * 1.5, "users_xy": now.users_xy + torch.tensor([3.0, 4.0]),
                        "battery": now.battery - 0.1 * MOVING.Cap, "D": now.D * 0.5})  # fmt: skip
    found = errors(now, twin, MOVING)
    expected = {
        "capacity_error": 0.25,
        "position_error_m": 5.0,
        "battery_error": 0.1,
        "task_error": 0.25,
        "rate_error": 0.0,
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], torch.full_like(found[name], value))


def test_a_task_that_the_twin_does_not_know_is_skipped() -> None:
    late = Synchronisation(delay=5, groups=("tasks",))
    steps = rolled(StalePolicy(make_policy("greedy", RAGGED), late), RAGGED, worlds=1)
    assert [int(step.transition.outcome.skipped.sum()) for step in steps] == [0, 1]
    record = play_episodes(StalePolicy(make_policy("greedy", RAGGED), late), draw_episodes(RAGGED, 0, certify=False))
    assert staleness(record, late)["task_error"].tolist() == [0.0, 1.0]


def test_actions_are_carried_out_in_the_ward() -> None:
    stale = play_episodes(
        StalePolicy(make_policy("greedy", MOVING), Synchronisation(4, 2, 0.3)), draw_episodes(MOVING, 0)
    )
    plain = play_episodes(make_policy("greedy", MOVING), draw_episodes(MOVING, 0))
    for name in ("D", "F_k", "users_xy", "beta"):
        assert torch.equal(getattr(stale.snapshot, name), getattr(plain.snapshot, name))
    assert not torch.equal(stale.action.choice, plain.action.choice)


def test_a_twin_of_the_interface_steps_while_it_is_stale_and_forks_see_the_same() -> None:
    sync = Synchronisation(3, 1, 0.2)
    twin = Twin(MOVING, "all-local", synchronisation=sync)
    for _ in range(4):
        twin.step()
    other, same = twin.fork("greedy"), twin.fork()
    assert torch.equal(other.advance().action.choice, _steps(sync, "greedy")[4].action.choice)
    assert torch.equal(same.advance().outcome.cost, twin.advance().outcome.cost)
    found = twin.staleness()
    assert found["age_steps"].tolist() == [0, 1, 2, 3, 1]
    assert torch.equal(found["age_s"], found["age_steps"] * MOVING.step_time)
    assert bool((found["capacity_error"] > 0).all())
    with pytest.raises(ScenarioError, match="plans the whole episode"):
        twin.fork("optimum")


def _steps(sync: Synchronisation, policy: str) -> list[Step]:
    return rolled(StalePolicy(make_policy(policy, MOVING), sync), MOVING, worlds=1)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"interval": 0}, "interval = 0 is out of range: allowed is 1 to 1000"),
        ({"interval": 1.5}, "interval = 1.5 is not a whole number"),
        ({"delay": -1}, "delay = -1 is out of range: allowed is 0 to 1000"),
        ({"delay": True}, "delay = True is not a whole number"),
        ({"noise": -0.1}, "noise = -0.1 is out of range: allowed is 0 to 1"),
        ({"noise": float("nan")}, "noise = nan is out of range"),
        ({"noise": "x"}, "noise = 'x' is out of range"),
        ({"groups": ()}, "groups is empty"),
        ({"groups": ("server",)}, "Did you mean 'servers'"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        Synchronisation(**values)  # type: ignore[arg-type]
