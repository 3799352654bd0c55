"""The Dec-POMDP: batteries, endings, forks, and who sees what."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from numpy.testing import assert_allclose

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment, Transition
from iomt_core.environment.observation import limited_state, mixer_observation, names, observe, size
from iomt_core.scenario import PRESETS
from tests.environment.plain_world import Result, plain_requests, plain_tasks, plain_world
from tests.wards import random_action, steps


def whole(environment: Environment) -> list[Transition]:
    done = []
    while not environment.done:
        done.append(environment.step(random_action(environment.snapshot, environment.t)))
    return done


@pytest.mark.parametrize("name", ["paper", "drained"])
def test_an_episode_has_the_numbers_of_plain_loops(name: str) -> None:
    s = PRESETS[name]
    environment = Environment(s, world_seeds(0, 0, 1), torch.float64)
    plain = plain_world(s, environment.snapshot)
    while not environment.done:
        for user, tasks in zip(plain.users, plain_tasks(environment.snapshot), strict=True):
            user.tasks = tasks
        assert_allclose(observe(environment.snapshot, s)[0], plain.observe(), rtol=1e-9)
        action = random_action(environment.snapshot, environment.t)
        done = environment.step(action)
        results, rewards = plain.step(plain_requests(action))
        for field in fields(Result):
            found = [[getattr(one, field.name) for one in row] for row in results]
            assert_allclose(getattr(done.outcome, field.name)[0], found, rtol=1e-9, err_msg=field.name)
        assert_allclose(done.agent_reward[0], rewards, rtol=1e-9)
        assert (bool(done.terminated[0]), bool(done.truncated[0])) == (plain.terminated, plain.truncated)


def test_a_world_ends_in_the_step_in_which_somebody_cannot_pay() -> None:
    s = PRESETS["drained"].changed(Cap=3e-3)
    environment = Environment(s, world_seeds(0, 0, 40), torch.float64)
    spent = torch.zeros(40, s.users, dtype=torch.float64)
    for done in whole(environment):
        before = spent.clone()
        spent += done.outcome.energy.sum(-1) * done.alive[:, None]
        cannot = (spent > s.Cap).any(-1)
        assert torch.equal(done.terminated, done.alive & cannot)
        assert bool((before[done.alive] <= s.Cap).all())
        assert not bool((done.terminated & done.truncated).any())
        assert float(done.reward[~done.alive].abs().sum()) == 0
    assert bool((~environment.alive).any())


def test_an_episode_that_lasts_is_truncated_not_terminated() -> None:
    s = PRESETS["lecture"].changed(Cap=1000.0)
    done = whole(Environment(s, world_seeds(0, 0, 3)))
    assert len(done) == s.T
    assert done[-1].truncated.tolist() == [True] * 3
    assert not any(bool(d.terminated.any()) for d in done)
    assert not any(bool(d.truncated.any()) for d in done[:-1])


def test_the_reward_is_the_priority_weighted_sum() -> None:
    s = PRESETS["paper"]
    environment = Environment(s, world_seeds(0, 0, 2), torch.float64)
    snapshot = environment.snapshot
    done = environment.step(random_action(snapshot, 0))
    expected = (done.outcome.reward * snapshot.P / s.mean_P).sum((1, 2))
    torch.testing.assert_close(done.reward, expected)
    torch.testing.assert_close(done.agent_reward.sum(1), expected)


def test_the_same_seed_plays_the_same_episode_bit_by_bit_and_reset_starts_anew() -> None:
    s = PRESETS["hospital"].changed(speed=2.0, burst=0.5, background=0.3, T=6)
    environment = Environment(s, world_seeds(3, 0, 4))
    first = whole(environment)
    environment.reset()
    second = whole(environment)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.outcome.delay, b.outcome.delay)
        assert torch.equal(a.reward, b.reward)


def test_a_fork_continues_alike_and_leaves_the_original_alone() -> None:
    s = PRESETS["hospital"].changed(speed=2.0, burst=0.5, T=6)
    environment = Environment(s, world_seeds(3, 0, 2))
    environment.step(random_action(environment.snapshot, 0))
    fork = environment.fork()
    future = whole(fork)
    assert environment.t == 1
    for a, b in zip(whole(environment), future, strict=True):
        assert torch.equal(a.outcome.delay, b.outcome.delay)


def test_stepping_past_the_end_is_refused() -> None:
    environment = Environment(PRESETS["lecture"].changed(T=1), world_seeds(0, 0, 1))
    environment.step(random_action(environment.snapshot, 0))
    with pytest.raises(RuntimeError, match="ended after T = 1"):
        environment.step(random_action(environment.snapshot, 0))


@pytest.mark.parametrize("name", list(PRESETS))
def test_observations_are_scaled_named_and_ones_own(name: str) -> None:
    s = PRESETS[name]
    snapshot = steps(s, 10)
    seen = observe(snapshot, s)
    assert seen.shape == (10, s.users, size(s))
    assert len(names(s)) == size(s)
    assert float(seen.min()) >= 0
    assert float(seen.max()) <= 1.2
    others = {
        f: torch.cat([getattr(snapshot, f)[:, :1], getattr(snapshot, f)[:, 1:].flip(1) * 3], 1) for f in ("D", "C", "P")
    }
    assert torch.equal(observe(replace(snapshot, **others), s)[:, 0], seen[:, 0])


def test_nothing_of_a_single_task_reaches_mixer_or_state() -> None:
    s = PRESETS["hospital"]
    snapshot = steps(s, 5)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    shuffled = replace(snapshot, **{f: getattr(snapshot, f)[:, :, order] for f in ("D", "C", "P", "weight", "active")})
    torch.testing.assert_close(mixer_observation(shuffled, s), mixer_observation(snapshot, s))
    torch.testing.assert_close(limited_state(shuffled, s), limited_state(snapshot, s))
    swapped = replace(snapshot, **{f: getattr(snapshot, f).flip(1) for f in ("D", "C", "P", "weight", "active")})
    torch.testing.assert_close(limited_state(swapped, s), limited_state(snapshot, s))
