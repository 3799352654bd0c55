"""Agents whose steps are coupled: they save energy when it is scarce, learn what it is worth, and know the prices of now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.model.utility import joule_price
from iomt_core.model.what_if import what_if
from iomt_core.nets.inputs import Inputs
from iomt_core.nets.search import Preference, moves
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.training.checkpoints import last_checkpoint
from iomt_core.training.coupled_encoder import LEARNED, CoupledObservationEncoder
from iomt_core.training.general_encoder import decide_at_prices
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import Trainer

AMPLE = PRESETS["lecture"].changed(T=10)
SCARCE = AMPLE.changed(Cap=2.4e-4)  # about half of what full batteries would spend
VARYING = AMPLE.changed(background=0.4, background_correlation=0.9)
IN_TIME = slice(-5, -2)  # charge, steps left and price of a joule, among what is observed of no task
SHORT = {"coupled_steps": True, "episodes": 48, "num_envs": 16, "warm_up": 16, "updates": 2}


def trainer(s: Scenario, **changes: object) -> Trainer:
    return RunSpec("sae-mt-qmix", s, default_settings("sae-mt-qmix", **{**SHORT, **changes}), 0).trainer()


def encoder_of(found: Trainer) -> CoupledObservationEncoder:
    assert isinstance(found.encoder, CoupledObservationEncoder)
    return found.encoder


def first(s: Scenario, worlds: int = 4) -> Snapshot:
    world = World(s, world_seeds(7, 0, worlds))
    return world.snapshot(world.initial_state(), 0)


@pytest.fixture(scope="module")
def saving() -> Trainer:
    """Agents that have played on small batteries without learning anything else."""
    found = trainer(SCARCE, episodes=96, warm_up=1000)
    while not found.done:
        found.advance()
    return found


def test_a_joule_has_no_price_where_batteries_are_ample() -> None:
    found = trainer(AMPLE)
    found.advance()
    assert found.learner.agents.get_parameter(LEARNED)[0] == 0
    assert float(encoder_of(found).battery_price(first(AMPLE)).max()) == 0


def test_the_learned_price_is_near_the_certificate_s(saving: Trainer) -> None:
    episodes = draw_episodes(SCARCE, 5, 0, 20)
    assert isinstance(episodes.dual, EpisodeDual)
    learned = float(saving.learner.agents.get_parameter(LEARNED)[0]) / SCARCE.Cap
    assert learned == pytest.approx(float(episodes.dual.battery.mean()), rel=0.5)


def test_batteries_last_and_are_used(saving: Trainer) -> None:
    policy = TrainedPolicy.from_trainer(saving, saving_spec())
    record = play_episodes(policy, draw_episodes(SCARCE, 5, 0, 10))
    assert not record.ended.any()
    spent = record.outcome.energy.sum((0, 2)) / 10
    assert float(spent.mean()) > 0.8 * SCARCE.Cap


def saving_spec() -> RunSpec:
    return RunSpec("sae-mt-qmix", SCARCE, default_settings("sae-mt-qmix", **SHORT), 0)


@pytest.mark.parametrize("part", [0.1, 0.03, 0.001])
def test_an_agent_that_is_almost_empty_spends_no_more_than_it_has(saving: Trainer, part: float) -> None:
    encoder, agents = encoder_of(saving), saving.learner.agents.resized_for(saving.encoder.sizes)
    now = first(SCARCE, 64)
    low = replace(now, battery=now.battery * part, steps_left=torch.ones_like(now.steps_left))
    found = decide_at_prices(agents, encoder, low, None).decision
    assert bool((outcome(low, found.action(low.D.dtype), SCARCE).energy.sum(-1) <= low.battery).all())
    assert part > 0.01 or (found.skipped is not None and bool(found.skipped.any()))


def test_less_charge_means_dearer_joules_and_less_energy(saving: Trainer) -> None:
    encoder, agents = encoder_of(saving), saving.learner.agents.resized_for(saving.encoder.sizes)
    full = first(SCARCE, 16)
    low = replace(full, battery=full.battery * 0.6)
    assert bool((encoder.battery_price(low) > encoder.battery_price(full)).all())
    spent = [
        outcome(now, decide_at_prices(agents, encoder, now, None).decision.action(now.D.dtype), SCARCE).energy.sum()
        for now in (full, low)
    ]
    assert spent[1] < 0.9 * spent[0]


def test_the_caution_that_agents_have_learned_decides_how_near_to_empty_they_go() -> None:
    found = trainer(SCARCE)
    encoder, agents = encoder_of(found), found.learner.agents
    low = replace(first(SCARCE, 32), steps_left=torch.ones(32))
    low = replace(low, battery=low.battery * 0.06)
    spent = []
    for caution in (1.0, 4.0):
        agents.get_parameter(LEARNED)[1] = caution
        decision = decide_at_prices(agents.resized_for(encoder.sizes), encoder, low, None).decision
        spent.append(outcome(low, decision.action(low.D.dtype), SCARCE).energy.sum())
    assert spent[1] < 0.9 * spent[0]


def test_agents_observe_charge_steps_left_and_the_price_of_a_joule(saving: Trainer) -> None:
    encoder, now = encoder_of(saving), first(SCARCE)
    before = encoder.inputs(now).other[..., IN_TIME]
    later = replace(now, battery=now.battery / 2, steps_left=now.steps_left - 5)
    change = encoder.inputs(later).other[..., IN_TIME] - before
    assert torch.allclose(change[..., 0], torch.tensor(-0.5))
    assert torch.allclose(change[..., 1], torch.tensor(-5 / SCARCE.T))
    scarcer = encoder.inputs(replace(now, battery=now.battery / 2)).other[..., IN_TIME][..., 2]
    assert bool((scarcer > before[..., 2]).all())


def test_prices_follow_the_visible_capacities() -> None:
    encoder, now = encoder_of(trainer(VARYING)), first(VARYING)
    less = replace(now, F_k=now.F_k / 2, B_k=now.B_k / 2)
    assert bool((encoder.expected_prices(less) > 1.1 * encoder.expected_prices(now)).all())


def test_what_servers_broadcast_changes_the_prices_of_the_next_step() -> None:
    found = trainer(VARYING, recent_prices=True)
    encoder, agents, now = encoder_of(found), found.learner.agents.resized_for(found.encoder.sizes), first(VARYING)
    after_first = decide_at_prices(agents, encoder, now, None)
    with_news = decide_at_prices(agents, encoder, now, after_first.memory)
    assert not torch.equal(with_news.prices, after_first.prices)


def test_a_run_continues_bit_for_bit_and_its_checkpoint_decides_the_same(tmp_path: Path) -> None:
    s = VARYING.changed(Cap=SCARCE.Cap)
    changes = {**SHORT, "episodes": 32, "checkpoint_every": 16, "evaluate_every": 1000, "recent_prices": True}
    settings = default_settings("qmix", **changes)
    spec = RunSpec("qmix", s, settings, 3)
    whole = TrainingRun.create(tmp_path / "whole", spec)
    whole.train()
    parts = TrainingRun.create(tmp_path / "parts", spec)
    calls = iter([False, True])
    assert parts.train(stop=lambda: next(calls)) == "stopped"
    TrainingRun.resume(tmp_path / "parts").train()
    found = [last_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    policies = [TrainedPolicy.load(place) for place in found if place is not None]
    a, b = (dict(policy.original_agents.named_parameters()) for policy in policies)
    assert all(torch.equal(a[name], b[name]) for name in a)
    records = [play_episodes(policy, draw_episodes(s, 9, 0, 2)) for policy in policies]
    assert torch.equal(records[0].outcome.cost, records[1].outcome.cost)


def test_costs_of_alternatives_contain_what_energy_is_worth_later() -> None:
    now = first(AMPLE)
    kappa = torch.full_like(now.battery, 3000.0)
    action = Action(torch.ones_like(now.D, dtype=torch.int64), *(torch.full_like(now.D, x) for x in (0.2, 0.2)))
    done = outcome(now, action, AMPLE)
    dear, cheap = (what_if(now, action, done, AMPLE, battery_price=price).cost for price in (kappa, None))
    taken = (dear - cheap).diagonal(dim1=2, dim2=4)[:, :, 1]  # (B, U, J): the strategy that was taken
    worth = joule_price(now, AMPLE, kappa) - joule_price(now, AMPLE)
    assert torch.allclose(taken, worth * done.energy, rtol=1e-3)


def test_a_larger_server_gets_more_of_an_agent_s_tasks() -> None:
    u, n, j, k = 2, 3, 6, 2
    crowding = torch.tensor([[0.0, 30.0], [0.0, 10.0]]).expand(u, n, k, 2)
    inputs = Inputs(torch.zeros(u, n, j, 3), torch.zeros(u, n, 1), torch.ones(u, n, j), crowding=crowding)
    worth = torch.tensor([0.0, 0.8, 0.8])[:, None, None].expand(u, j, k + 1, n, 1)
    values = torch.cat([worth, worth.new_zeros(u, j, k + 1, n, j - 1)], -1)
    taken = torch.nn.functional.one_hot(torch.arange(j) % k + 1, k + 1).float().expand(u, n, j, k + 1)
    rank = Preference(torch.tensor([[torch.inf, 0.0, 0.5], [torch.inf, 0.5, 0.0]]), (0.01, 0.0))
    for move in moves(lambda _: values, inputs, taken, rank):
        taken = move.after
    counts = taken.sum(2)
    assert bool((counts[..., 1] >= 2 * counts[..., 2]).all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coupled_steps": True, "wards": "general"}, "coupled_steps = true allows only networks = 'general'"),
        ({"coupled_steps": True, "search": "cyclic"}, "search = 'largest-gain'"),
        ({"recent_prices": True}, "recent_prices = true allows only coupled_steps = true"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        default_settings("sae-mt-qmix", **changes)


def test_a_run_of_coupled_steps_replays_from_memory() -> None:
    with pytest.raises(ScenarioError, match="warehouse cannot be used with coupled_steps = true"):
        replace(saving_spec(), warehouse="somewhere")
