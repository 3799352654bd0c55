"""Worlds are functions of their seed, and draw what the scenario says."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import stats

from iomt_core.environment.counter import Stream, bits, normal, uniform, world_seeds
from iomt_core.environment.world import World, layout
from iomt_core.model.snapshot import Snapshot
from iomt_core.scenario import PRESETS, Places, Scenario, WorkloadTask
from tests.wards import BY_USER, whole_range

DYNAMIC = PRESETS["hospital"].changed(background=0.4, speed=3.0, burst=0.7, T=8)


def episode(s: Scenario, seeds: torch.Tensor, dtype: torch.dtype = torch.float64) -> list[Snapshot]:
    return World(s, seeds, dtype).episode()


def quantiles(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return (values - low) / (high - low)


@pytest.mark.parametrize("s", [PRESETS["paper"], DYNAMIC], ids=["paper", "dynamic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_world_is_the_same_in_any_batch(s: Scenario, dtype: torch.dtype) -> None:
    seeds = world_seeds(1, 0, 9)
    together, alone, turned = episode(s, seeds, dtype), episode(s, seeds[4:5], dtype), episode(s, seeds.flip(0), dtype)
    for many, one, other in zip(together, alone, turned, strict=True):
        for f in (f for f in fields(Snapshot) if isinstance(getattr(many, f.name), torch.Tensor)):
            assert torch.equal(getattr(many, f.name)[4:5], getattr(one, f.name)), f.name
            assert torch.equal(getattr(many, f.name), getattr(other, f.name).flip(0)), f.name


def test_single_and_double_precision_are_one_world_to_rounding() -> None:
    seeds = world_seeds(2, 0, 3)
    for single, double in zip(episode(DYNAMIC, seeds, torch.float32), episode(DYNAMIC, seeds), strict=True):
        assert torch.equal(single.kind, double.kind)
        assert torch.equal(single.P.double(), double.P)
        for name in ("D", "C", "P_tr", "F_k", "B_k", "users_xy", "distance", "beta"):
            torch.testing.assert_close(getattr(single, name).double(), getattr(double, name), rtol=1e-3, atol=1e-3)


def test_seeds_make_worlds_differ_and_streams_are_independent() -> None:
    seeds = world_seeds(0, 0, 1000)
    assert len(seeds.unique()) == 1000
    assert len(torch.cat([seeds, world_seeds(1, 0, 1000)]).unique()) == 2000
    a = uniform(seeds, Stream.TASKS, 0, 50, torch.float64).flatten()
    for stream, step in ((Stream.TASKS, 1), (Stream.KINDS, 0)):
        b = uniform(seeds, stream, step, 50, torch.float64).flatten()
        assert abs(float(np.corrcoef(a, b)[0, 1])) < 0.02
    assert len(bits(seeds, Stream.TASKS, 0, 50).flatten().unique()) == 50_000


def test_draws_are_uniform_and_normal() -> None:
    seeds = world_seeds(5, 0, 400)
    assert stats.kstest(uniform(seeds, Stream.TASKS, 3, 64, torch.float64).flatten(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal(seeds, Stream.BURST, 3, 64, torch.float64).flatten(), "norm").pvalue > 1e-3


def test_tasks_are_those_of_table_ii() -> None:
    s = PRESETS["paper"]
    snapshot = World(s, world_seeds(0, 0, 500)).episode()[3]
    for values, (low, high) in ((snapshot.D, s.D), (snapshot.C, s.C)):
        assert float(values.min()) >= low
        assert float(values.max()) <= high
        assert stats.kstest(quantiles(values, low, high).flatten(), "uniform").pvalue > 1e-3
    counts = torch.bincount(snapshot.P.flatten().long(), minlength=4)[1:]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert set(snapshot.P.unique().tolist()) == {1, 2, 3}
    assert abs(float(np.corrcoef(snapshot.D.flatten(), snapshot.C.flatten())[0, 1])) < 0.02
    power = snapshot.P_tr
    assert bool(((power >= 0.2) & (power <= 0.4)).all())


def test_kinds_come_as_often_and_as_large_as_they_say() -> None:
    s = PRESETS["hospital"]
    snapshot = World(s, world_seeds(0, 0, 400)).episode()[0]
    shares = np.array([k.share for k in s.kinds])
    counts = torch.bincount(snapshot.kind.flatten(), minlength=len(shares)).numpy()
    assert stats.chisquare(counts, counts.sum() * shares / shares.sum()).pvalue > 1e-3
    for n, kind in enumerate(s.kinds):
        mine = snapshot.kind == n
        for values, (low, high) in ((snapshot.D, kind.D), (snapshot.C, kind.C), (snapshot.P, kind.P)):
            assert low <= float(values[mine].min())
            assert float(values[mine].max()) <= high


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_bursts_correlate_as_asked_and_keep_the_ranges(rho: float) -> None:
    s = PRESETS["paper"].changed(burst=rho, T=3)
    steps = World(s, world_seeds(0, 0, 800)).episode()
    score = [stats.norm.ppf(quantiles(x.D, *s.D).clamp(1e-9, 1 - 1e-9).numpy()) for x in steps]
    lag = np.corrcoef(score[1].ravel(), score[2].ravel())[0, 1]
    assert lag == pytest.approx(rho, abs=0.02)
    within = np.corrcoef(score[2][..., 0].ravel(), score[2][..., 1].ravel())[0, 1]
    assert within == pytest.approx(rho, abs=0.04)
    assert stats.kstest(quantiles(steps[2].D[:, 0, 0], *s.D), "uniform").pvalue > 1e-3
    assert float(steps[2].D.min()) >= s.D[0]
    assert float(steps[2].D.max()) <= s.D[1]


@pytest.mark.parametrize("level", [0.1, 0.45, 0.9])
def test_background_load_takes_its_share_on_average(level: float) -> None:
    s = PRESETS["paper"].changed(background=level, background_correlation=0.8, T=2)
    first, second = World(s, world_seeds(0, 0, 4000)).episode()
    for left, full in ((first.F_k, s.F_k), (second.B_k, s.B_k)):
        assert float((1 - left / full).mean()) == pytest.approx(level, abs=0.01)
        assert bool((left > 0).all())
    score = [stats.norm.ppf(stats.rankdata(x.F_k) / (x.F_k.numel() + 1)) for x in (first, second)]
    assert np.corrcoef(score[0], score[1])[0, 1] == pytest.approx(0.8, abs=0.03)


def test_walkers_keep_their_speed_and_the_ward() -> None:
    s = PRESETS["paper"].changed(speed=7.0, step_time=2.0, T=60)
    steps = World(s, world_seeds(0, 0, 20)).episode()
    for before, after in itertools.pairwise(steps):
        moved = (after.users_xy - before.users_xy).norm(dim=-1)
        assert float(moved.max()) <= 14 * (1 + 1e-9)
        assert float(moved.median()) == pytest.approx(14, rel=1e-6)
        assert bool(((after.users_xy >= 0) & (after.users_xy <= s.area)).all())
        expected = (after.users_xy[:, :, None] - after.servers_xy[:, None]).norm(dim=-1)
        torch.testing.assert_close(after.distance, expected)


def test_a_layout_belongs_to_the_scenario_not_to_the_episode() -> None:
    s = PRESETS["paper"]
    a, b = (World(s, world_seeds(seed, 0, 1)).episode()[0] for seed in (1, 2))
    assert torch.equal(a.users_xy, b.users_xy)
    assert not torch.equal(a.D, b.D)
    assert not torch.equal(layout(s, torch.float64)[0], layout(s.changed(seed=1), torch.float64)[0])
    for servers in range(1, 9):
        _, places = layout(s.changed(servers=servers), torch.float64)
        assert bool(((places >= 0) & (places <= s.area)).all())
        if servers > 1:
            assert float(torch.pdist(places).min()) > 10
    fewer = layout(s.changed(users=5), torch.float64)[0]
    assert torch.equal(fewer, layout(s, torch.float64)[0][:5])


def test_own_places_and_workload_are_used_as_given() -> None:
    tasks = (
        WorkloadTask(step=2, user=1, D=2e5, C=1.1e5, P=3),
        WorkloadTask(step=1, user=2, D=3e5, C=1.2e5, P=1),
        WorkloadTask(step=2, user=1, D=4e5, C=1.3e5, P=2),
    )
    places = Places(users=((1, 2), (3, 4)), servers=((50, 60),))
    s = PRESETS["paper"].changed(users=2, tasks=2, servers=1, T=2, workload=tasks, places=places)
    first, second = World(s, world_seeds(0, 0, 3)).episode()
    assert first.active.sum((1, 2)).tolist() == [1, 1, 1]
    assert first.D[0].tolist() == [[0, 0], [3e5, 0]]
    assert second.D[1].tolist() == [[2e5, 4e5], [0, 0]]
    assert second.weight[0].tolist() == [[1.5, 1.0], [0, 0]]
    assert first.users_xy[0].tolist() == [[1, 2], [3, 4]]
    assert first.servers_xy[0].tolist() == [[50, 60]]


# Fields of a snapshot with an axis of servers, and which axis it is.
BY_SERVER = {"F_k": 1, "B_k": 1, "latency": 1, "servers_xy": 1, "distance": 2, "beta": 2}


@pytest.mark.parametrize("seed", range(60))
def test_switched_off_users_and_servers_are_missing_and_nothing_else_changes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (drawn,) = whole_range(seed)
    whole = drawn.changed(servers=int(rng.integers(2, 9)), T=4, speed=drawn.speed if seed % 3 else 5.0)
    if whole.workload is None:
        whole = whole.changed(users=int(rng.integers(2, 17)))
    if seed % 4 == 0:
        users, servers = (tuple(map(tuple, xy.tolist())) for xy in layout(whole, torch.float64))
        whole = whole.changed(places=Places(users=users, servers=servers))
    servers_off = rng.choice(np.arange(1, whole.servers + 1), rng.integers(0, whole.servers), replace=False).tolist()
    keep = 1 if whole.workload is None else whole.workload[0].user
    others = [n for n in range(1, whole.users + 1) if n != keep]
    users_off = rng.choice(others, rng.integers(0, len(others) + 1), replace=False).tolist() if others else []
    part = whole.changed(users_off=users_off, servers_off=servers_off)
    assert (part.ward_users, part.ward_servers) == (whole.users, whole.servers)
    users, servers = (torch.tensor(numbers) - 1 for numbers in (part.user_numbers, part.server_numbers))
    seeds = world_seeds(seed, 0, 2)
    for dtype in (torch.float32, torch.float64):
        for everyone, rest in zip(episode(whole, seeds, dtype), episode(part, seeds, dtype), strict=True):
            assert rest.shape == (2, part.users, part.tasks, part.servers)
            for f in (f for f in fields(Snapshot) if isinstance(getattr(rest, f.name), torch.Tensor)):
                expected = getattr(everyone, f.name)
                expected = expected[:, users] if f.name in BY_USER else expected
                expected = expected.index_select(BY_SERVER[f.name], servers) if f.name in BY_SERVER else expected
                assert torch.equal(getattr(rest, f.name), expected), f.name
