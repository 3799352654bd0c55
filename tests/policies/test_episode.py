"""Whole episodes: the bound on the return lies above everything, and the policies that know batteries come close to it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.model.allocation import granted
from iomt_core.model.batch import concatenate
from iomt_core.model.channel import mean_rate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.policies.base import with_shares
from iomt_core.policies.demand import UnitCosts
from iomt_core.policies.episode_dual import solve_episodes
from iomt_core.policies.plan import Optimum, episode_returns
from iomt_core.policies.registry import POLICIES
from iomt_core.policies.shares import optimal_shares
from iomt_core.record import Record
from iomt_core.rollout import Rollout, draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.scenario.files import preset_named
from iomt_core.scenario.parameters import TaskKind
from iomt_core.training.catalogue import make_policy

DRAINED = PRESETS["drained"]
URGENT = Scenario(
    name="urgent",
    F_k=1e8,
    kinds=(
        TaskKind(name="alarm", share=1, D=(4e4, 9e4), C=(3e5, 6e5), P=(3, 3), T_max=15e-3),
        TaskKind(name="report", share=2, D=(8e4, 4e5), C=(1e5, 3e5), P=(1, 1), T_max=0.2),
    ),
)


def drained(part: float) -> Scenario:
    return DRAINED.changed(Cap=DRAINED.Cap * part)


def returns(record: Record) -> torch.Tensor:
    """Return of each episode."""
    number = record.episode - record.episode.min()
    return torch.zeros(int(number.max()) + 1, dtype=torch.float64).index_add_(0, number, record.returns)


def gap(record: Record) -> float:
    assert record.return_bound is not None
    first = record.step == 1
    return float(record.return_bound[first].sum() / returns(record).sum()) - 1


@pytest.mark.parametrize("part", [0.2, 0.5, 1.0, 1.2, 10.0])
def test_no_policy_returns_more_than_the_bound(part: float) -> None:
    s = drained(part)
    episodes = draw_episodes(s, 5, 0, 4)
    assert episodes.dual is not None
    bound = episodes.dual.return_bound[:4]
    for name in POLICIES:
        assert bool((returns(play_episodes(make_policy(name, s), episodes)) <= bound).all()), name


@pytest.mark.parametrize(
    ("s", "most", "without_future", "decentralised"),
    [
        (PRESETS["paper"], 0.003, 0.006, 0.01),
        (PRESETS["lecture"], 0.003, 0.006, 0.01),
        (PRESETS["hospital"], 0.003, 0.006, 0.01),
        (drained(1.2), 0.003, 0.006, 0.01),
        (drained(1.0), 0.003, 0.006, 0.01),
        (drained(0.5), 0.003, 0.006, 0.012),
        (drained(0.2), 0.006, 0.009, 0.035),
        (URGENT, 0.01, 0.02, 0.3),
    ],
    ids=["paper", "lecture", "hospital", "drained x 1.2", "drained", "drained x 0.5", "drained x 0.2", "urgent"],
)
def test_who_knows_batteries_and_deadlines_comes_close_to_the_bound_and_ends_no_episode(
    s: Scenario, most: float, without_future: float, decentralised: float
) -> None:
    episodes = draw_episodes(s, 11, 0, 4)
    for name, limit in (("optimum", most), ("optimum-causal", without_future), ("price-response", decentralised)):
        record = play_episodes(make_policy(name, s), episodes)
        assert not bool(record.ended.any()), name
        assert 0 <= gap(record) <= limit, name


def test_the_optimum_of_single_steps_empties_batteries_that_a_plan_makes_last() -> None:
    episodes = draw_episodes(DRAINED, 0, 0, 4)
    step_by_step = play_episodes(make_policy("optimum-step", DRAINED), episodes)
    planned = play_episodes(make_policy("optimum", DRAINED), episodes)
    local = play_episodes(make_policy("all-local", DRAINED), episodes)
    assert bool((step_by_step.ended.view(-1)).any())
    assert len(planned) == 4 * DRAINED.T
    assert bool((returns(step_by_step) < returns(local)).all())
    assert bool((returns(planned) > 1.2 * returns(local)).all())


def test_the_bound_is_concave_and_rises_with_the_battery() -> None:
    s = PRESETS["lecture"]
    episodes = draw_episodes(s, 1, 0, 6, certify=False)
    parts = torch.linspace(0, 1.5, 16, dtype=torch.float64) * 1e-3
    bounds = torch.stack(
        [solve_episodes(episodes.snapshot, s, part.expand(6, s.users)).return_bound[:6] for part in parts]
    )
    rises = bounds.diff(dim=0)
    scale = bounds.max()
    assert float(rises.min()) >= -1e-4 * float(scale)
    assert float(rises.diff(dim=0).max()) <= 1e-3 * float(scale)
    assert float(bounds[0].abs().max()) <= 1e-3 * float(scale)


@pytest.mark.parametrize("name", ["paper", "lecture", "hospital-assumed"])
def test_where_nothing_couples_the_steps_the_bound_is_that_of_the_steps(name: str) -> None:
    s = preset_named(name).changed(Cap=1000.0)
    episodes = draw_episodes(s, 2, 0, 3)
    assert episodes.dual is not None
    steps = (episodes.snapshot.weight.sum((1, 2)) - episodes.dual.bound).view(s.T, 3).sum(0)
    torch.testing.assert_close(episodes.dual.return_bound[:3], steps, rtol=1e-6, atol=0)
    plan, step = (make_policy(name, s).decide(episodes.snapshot) for name in ("optimum", "optimum-step"))
    assert float((plan.choice == step.choice).double().mean()) > 0.99


@pytest.mark.parametrize("seed", range(10))
def test_brute_force_on_tiny_wards_stays_below_the_bound_and_near_the_plan(seed: int) -> None:
    """Every joint choice of an episode, with the shares that are best at many prices of a joule."""
    s = PRESETS["lecture"].changed(users=1, tasks=2, servers=1, T=2, seed=seed, P_tr=(0.05, 2.0), B_k=2e7)
    count = 20
    episodes = draw_episodes(s, seed, 0, count, certify=False).snapshot
    free = outcome(episodes, make_policy("optimum-step", s).decide(episodes), s).energy.sum(-1)
    capacity = free.view(s.T, count, 1).sum(0) * torch.linspace(0.1, 0.9, count, dtype=torch.float64)[:, None]
    snapshot = episodes.select(slice(None))
    snapshot = Snapshot(**(vars(snapshot) | {"battery": capacity.repeat(s.T, 1)}))
    dual = solve_episodes(snapshot, s, capacity)
    planned = Optimum(s).plan(snapshot, s.T, dual)
    found = episode_returns(snapshot, outcome(snapshot, planned, s), capacity)
    best = torch.zeros(count, dtype=torch.float64)
    prices = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logspace(1, 7, 60, dtype=torch.float64)])
    # Of each step: earnings and energy for every choice (local, server, skipped) and price.
    options = []
    for t in range(s.T):
        step = snapshot.select(slice(t * count, (t + 1) * count)).select(
            torch.arange(count).repeat_interleave(len(prices))
        )
        kappa = prices.repeat(count)[:, None]
        rows = []
        for joint in itertools.product(range(3), repeat=2):
            choice = torch.tensor(joint).expand(len(step.D), 1, 2)
            work = choice < 2
            costs = UnitCosts.of(step, s, kappa).only(work)
            at_work = Snapshot(**(vars(step) | {"active": work, "all_active": False}))
            shares = optimal_shares(at_work, choice.masked_fill(~work, 0), s, costs)
            action = Action(shares.choice, shares.cpu * work, shares.bandwidth * work)
            done = outcome(step, action, s)
            rows.append(((done.reward * step.weight).sum((1, 2)), done.energy.sum((1, 2))))
        options.append([torch.stack(x, 1).view(count, -1) for x in zip(*rows, strict=True)])
    (first, e_first), (second, e_second) = options
    total = first[:, :, None] + second[:, None]
    fits = e_first[:, :, None] + e_second[:, None] <= capacity[:, :, None]
    best = total.masked_fill(~fits, 0.0).flatten(1).amax(1)
    bound = dual.return_bound[:count]
    assert bool((best <= bound).all())
    assert bool((found <= bound).all())
    assert float((found / best.clamp_min(1e-9)).mean()) > 0.97


@pytest.mark.parametrize("seed", range(4))
def test_a_mixed_integer_program_on_a_grid_of_shares_stays_below_the_bound(seed: int) -> None:
    """HiGHS chooses for each task one of many devices with shares; its optimum can be played, so the bound lies above it."""
    s = PRESETS["lecture"].changed(users=2, tasks=2, servers=2, T=2, seed=seed, Cap=2.5e-5)
    episodes = draw_episodes(s, seed, 0, 1)
    snapshot = episodes.snapshot
    levels = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])
    gain, energy, use = [], [], []  # of each option; use: (resource, amount) pairs
    owner = []
    for t, i, j in itertools.product(range(s.T), range(s.users), range(s.tasks)):
        D, C, w = (float(getattr(snapshot, name)[t, i, j]) for name in ("D", "C", "weight"))
        power = float(snapshot.P_tr[t, i])

        options = [(2 * s.T_max, 0.0, [])]  # skipped
        options += [(C / (f * s.F_i), s.k0 * (f * s.F_i) ** 2 * C, [(("own", t, i), f)]) for f in levels]
        for k, b in itertools.product(range(s.servers), levels):
            sent = D / float(mean_rate(snapshot.B_k[t, k] * b, snapshot.beta[t, i, k]))
            options += [
                (sent + C / (f * s.F_k), power * sent, [(("cpu", t, k), f), (("band", t, k), b)]) for f in levels
            ]
        for delay, joule, used in options:
            cost = s.alpha_T * delay / s.T_max + s.alpha_E * joule / s.E_ref
            gain.append(w * max(0.0, 1 - cost) if delay <= s.T_max else 0.0)
            energy.append((i, joule))
            use.append(used)
            owner.append((t, i, j))
    tasks, resources = sorted(set(owner)), sorted({name for used in use for name, _ in used}, key=str)
    rows = np.zeros((len(tasks) + len(resources) + s.users, len(gain)))
    for n, task in enumerate(owner):
        rows[tasks.index(task), n] = 1
        for name, amount in use[n]:
            rows[len(tasks) + resources.index(name), n] = amount
        rows[len(tasks) + len(resources) + energy[n][0], n] = energy[n][1] / s.Cap
    upper = np.ones(len(rows))
    lower = np.concatenate([np.ones(len(tasks)), np.zeros(len(rows) - len(tasks))])
    solved = milp(
        -np.array(gain), constraints=LinearConstraint(rows, lower, upper), integrality=np.ones(len(gain)),
        bounds=Bounds(0, 1), options={"time_limit": 20, "mip_rel_gap": 1e-3},
    )  # fmt: skip
    assert episodes.dual is not None
    bound = float(episodes.dual.return_bound[0])
    planned = float(returns(play_episodes(make_policy("optimum", s), episodes))[0])
    assert -solved.fun <= bound
    assert -solved.fun * 0.99 <= planned <= bound


@pytest.mark.parametrize("name", ["optimum", "optimum-causal", "price-response", "greedy-saving"])
@pytest.mark.parametrize("s", [drained(0.5), URGENT], ids=["drained", "urgent"])
def test_an_episode_in_one_batch_is_the_episode_step_by_step(name: str, s: Scenario) -> None:
    s = s.changed(T=6)
    episodes = draw_episodes(s, 3, 0, 2)
    at_once = play_episodes(make_policy(name, s), episodes)
    rollout = Rollout(make_policy(name, s), Environment(s, world_seeds(3, 0, 2), torch.float64))
    steps = []
    while not rollout.done:
        steps.append(rollout.step().record(s, torch.tensor([1, 2])))
    played = concatenate(steps)
    played = played.select((played.episode * (s.T + 1) + played.step).argsort())
    assert torch.equal(at_once.action.choice, played.action.choice)
    torch.testing.assert_close(at_once.outcome.energy, played.outcome.energy, rtol=1e-6, atol=1e-12)


def test_a_skipped_task_costs_1_takes_nothing_and_stays_skipped_under_other_shares() -> None:
    s = PRESETS["paper"]
    snapshot = draw_episodes(s, 0, certify=False).snapshot
    action = make_policy("offload-evenly", s).decide(snapshot)
    skipped = torch.zeros_like(snapshot.active)
    skipped[:, 0] = True
    action = Action(action.choice.masked_fill(skipped, 0), action.cpu.masked_fill(skipped, 0.0), action.bandwidth)
    for shares in ("own", "equal", "optimal"):
        shared = with_shares(action, snapshot, s, shares)  # type: ignore[arg-type]
        done = outcome(snapshot, shared, s)
        assert torch.equal(done.skipped, skipped)
        assert bool((done.cost[skipped] == 1).all())
        assert float(done.energy[skipped].sum()) == float(done.reward[skipped].sum()) == 0
        f, _ = granted(snapshot, shared)
        on_server = torch.zeros(len(f), s.servers, dtype=f.dtype).scatter_add_(
            1, (shared.choice - 1).clamp_min(0).flatten(1), (f * ~skipped).flatten(1)
        )
        if shares != "own":  # nothing is left idle for tasks that nobody computes
            torch.testing.assert_close(on_server, snapshot.F_k, rtol=1e-6, atol=0)
