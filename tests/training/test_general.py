"""General networks decide for any ward of their range; and the wards that they are trained on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.experiments.training_check import RangeEvaluator, for_any_ward
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Snapshot
from iomt_core.nets.inputs import compress_cost
from iomt_core.policies.price_response import PriceResponse
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.checkpoints import last_checkpoint
from iomt_core.training.general_encoder import GeneralObservationEncoder
from iomt_core.training.general_wards import draw_ward, outside_range
from iomt_core.training.run_spec import RunSpec
from iomt_core.training.settings import Settings
from iomt_core.training.trained_policy import TrainedPolicy

SHORT = Settings(
    wards="general",
    recurrent=False,
    episodes=24,
    num_envs=4,
    ward_count=2,
    updates=2,
    batch=2,
    replay=12,
    warm_up=8,
    checkpoint_every=8,
)
PAPER = PRESETS["paper"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("general") / "run"
    TrainingRun.create(run, RunSpec("sae-mt-qmix", PAPER, SHORT, seed=1)).train()
    last = last_checkpoint(run)
    assert last is not None
    return last


def first(s: Scenario, worlds: int = 3) -> Snapshot:
    world = World(s, world_seeds(0, 0, worlds))
    return world.snapshot(world.initial_state(), 0)


def test_one_checkpoint_decides_on_any_ward_of_its_range(place: Path) -> None:
    generator = np.random.default_rng(5)
    for _ in range(12):
        s = draw_ward(generator)
        assert outside_range(s) == ""
        action = TrainedPolicy.load(place, s).decide(first(s))
        assert action.choice.shape == (3, s.users, s.tasks)
        assert 0 <= int(action.choice.min()) <= int(action.choice.max()) <= s.servers
        assert bool(((action.cpu >= 0) & (action.cpu <= 1) & (action.bandwidth > 0) & (action.bandwidth <= 1)).all())
        assert bool((action.cpu[action.choice > 0] > 0).all())
        assert bool(torch.isfinite(outcome(first(s), action, s).cost).all())


@pytest.mark.parametrize("change", [{"users": 40}, {"servers": 20}, {"F_k": 1e12}, {"D": (800.0, 900.0)}])
def test_outside_its_range_it_decides_and_says_so(place: Path, change: dict[str, object]) -> None:
    name, s = next(iter(change)), PAPER.changed(**change)
    assert re.search(rf"trained on {name} = .* to .*; this ward has {name} = ", outside_range(s))
    action = TrainedPolicy.load(place, s).decide(first(s, 1))
    assert bool(torch.isfinite(outcome(first(s, 1), action, s).cost).all())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"latency": 0.011}, "latency = 0 ms to 10 ms; this ward has latency = 11 ms"),
        ({"server_devices": [{"number": 2, "latency": 1.0}]}, "latency = 0 ms to 1000 ms"),
        ({"user_devices": [{"number": 1, "P_tr": 5}]}, "P_tr = 0.2 W to 5 W"),
        ({"user_devices": [{"number": 1, "Cap": 1e-6}]}, "0.32 mJ or more for T = 20; this ward has Cap = 0.001 mJ to 10 mJ"),
        ({"T": 10_000}, "Cap = 160 mJ or more for T = 10000; this ward has Cap = 10 mJ"),
        ({"user_devices": [{"number": 1, "F_i": 0}]}, "this ward has F_i = 0 GHz to 0.1 GHz"),
        ({"speed": 1.5}, "speed = 0 m/s; this ward has speed = 1.5 m/s"),
        ({"d0": 5.0}, "d0 = 1 m; this ward has d0 = 5 m"),
        ({"burst": 0.95}, "burst = 0 to 0.9; this ward has burst = 0.95"),
        ({"background": 0.2, "background_correlation": 0.99}, "this ward has background_correlation = 0.99"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
)  # fmt: skip
def test_all_that_is_never_drawn_is_named(change: dict[str, object], named: str) -> None:
    assert named in outside_range(PAPER.changed(**change))


def test_longest_deadline_of_an_own_workload_counts_too() -> None:
    tasks = [{"step": 1, "user": u, "D": 2e5, "C": 1e5, "kind": "a", "T_max": t} for u, t in ((1, 0.02), (2, 3600.0))]
    s = PAPER.changed(workload=tasks)
    assert outside_range(s) == "was trained on T_max = 5 ms to 80 ms; this ward has T_max = 20 ms to 3.6e+06 ms"


def test_an_episode_decided_in_one_batch_is_the_one_decided_step_by_step(place: Path) -> None:
    """Only low batteries matter for later steps, and where one is low an episode is decided step by step anyway."""
    for s in (PAPER.changed(Cap=2e-3), PRESETS["drained"].changed(users=3)):
        trained, drawn = TrainedPolicy.load(place, s), draw_episodes(s, 3, 0, 2)
        assert trained.uses_past == "low batteries"
        at_once = play_episodes(trained, drawn)
        trained.uses_past = "memory"  # type: ignore[misc]
        stepwise = play_episodes(trained, drawn)
        assert len(at_once) == len(stepwise)
        assert torch.equal(at_once.ended, stepwise.ended)
        assert torch.equal(at_once.action.choice, stepwise.action.choice)
        torch.testing.assert_close(at_once.totals, stepwise.totals, rtol=1e-6, atol=0)
        torch.testing.assert_close(at_once.snapshot.battery, stepwise.snapshot.battery, rtol=0, atol=1e-6 * s.Cap)


def test_an_agent_of_a_shared_network_decides_from_its_own_observation(place: Path) -> None:
    s = PAPER.changed(users=4, tasks=5, servers=3)
    policy, seen, agent = TrainedPolicy.load(place, s), first(s), 2
    other = first(s.changed(seed=9), 3)
    mixed = {}
    for name in ("D", "C", "P", "weight"):
        values = getattr(other, name).flip(0).clone()
        values[:, agent] = getattr(seen, name)[:, agent]
        mixed[name] = values
    one, two = policy.decide(seen), policy.decide(replace(seen, **mixed))
    assert torch.equal(one.choice[:, agent], two.choice[:, agent])
    torch.testing.assert_close(one.cpu[:, agent], two.cpu[:, agent])


def test_what_stays_at_home_is_valued_at_what_it_costs(place: Path) -> None:
    """Networks correct values on servers only: a local task is worth 1 minus its cost by (1) and (2), in the ward's unit."""
    for s in (PAPER, PAPER.changed(users=3, tasks=5, servers=2)):
        trained, seen = TrainedPolicy.load(place, s), first(s)
        action = trained.decide(seen)
        inputs, agents = trained.encoder.inputs(seen), trained.agents
        assert isinstance(agents, ParameterisedQ)
        requested = torch.stack([action.cpu, action.bandwidth], -1).float().transpose(0, 1)
        done = action.choice.transpose(0, 1)
        with torch.no_grad():
            value = agents.q_taken(inputs, requested, done, agents.start(len(seen.D))[1]).transpose(0, 1)
        cost = outcome(seen, action, s).cost * trained.encoder.unit
        local = action.choice == 0
        assert bool(local.any())
        assert not bool(local.all())
        expected = 1 - compress_cost(cost)
        torch.testing.assert_close(value[local].double(), expected[local].double(), rtol=0, atol=2e-5)


def test_untrained_networks_are_as_good_as_price_response() -> None:
    spec = RunSpec("sae-mt-qmix", PAPER, SHORT, seed=0)
    start, wards = TrainedPolicy.from_trainer(spec.trainer(), spec), RangeEvaluator(10, steps=3, episodes=1, seed=11)
    ours, theirs = wards.gaps(for_any_ward(start)), wards.gaps(PriceResponse)
    assert wards.summary(ours)["score"] <= wards.summary(theirs)["score"] + 0.005


@pytest.mark.parametrize(("tasks", "servers"), [(4, 1), (8, 2)])
def test_a_user_alone_has_nothing_to_learn(tasks: int, servers: int) -> None:
    """It knows all that its tasks cost each other, so what untrained networks decide by is what they would learn."""
    s = PAPER.changed(users=1, tasks=tasks, servers=servers)
    settings = Settings(
        networks="general", recurrent=False, num_envs=16, share_noise=(0.0, 0.0), temperature=(0.0, 0.0), epsilon=0.0
    )
    trainer = RunSpec("sae-mt-qmix", s, settings, seed=0).trainer()
    trainer.play()
    episodes = trainer.replay.draw(16, torch.Generator().manual_seed(0), counterfactual=True)
    networks, target = (x.resized_for(episodes.sizes) for x in (trainer.learner.agents, trainer.learner.target_agents))
    with torch.no_grad():
        loss = float(networks.critic_loss(episodes, target, gamma=0.0)[0]) / episodes.sizes.networks
    assert loss**0.5 < 0.01  # in units of reward


def test_what_is_learned_of_a_task_s_servers_is_the_same_for_all(place: Path) -> None:
    trained, seen = TrainedPolicy.load(place, PAPER), first(PAPER)
    agents, inputs = trained.agents, trained.encoder.inputs(seen)
    assert isinstance(agents, ParameterisedQ)
    requested = torch.rand(*inputs.weight.shape, 2, generator=torch.Generator().manual_seed(1)).clamp_min(0.1)
    choice = torch.randint(0, 5, inputs.weight.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        values = agents.q(
            agents.q.encode(inputs), agents.q.encode_actions(requested, choice, inputs), agents.start(3)[1]
        )
    own = values[:, 1:, :, 0].unflatten(0, (PAPER.users, PAPER.tasks)).permute(0, 3, 1, 2)  # (U, N, J, K)
    assert inputs.devices is not None
    learned = own - inputs.devices[..., 1:, -1]
    assert float(learned.abs().max()) > 1e-4
    torch.testing.assert_close(learned, learned[..., :1].expand_as(learned), rtol=0, atol=1e-5)


def test_units_do_not_matter() -> None:
    """A ward where everything takes twice the time and energy, with units twice as large, has the same inputs."""
    slow = PAPER.changed(F_i=PAPER.F_i / 2, F_k=PAPER.F_k / 2, T_max=PAPER.T_max * 2, k0=PAPER.k0 * 8, B_k=PAPER.B_k / 2,
                         N0=PAPER.N0 * 2, E_ref=PAPER.E_ref * 2)  # fmt: skip
    a, b = (GeneralObservationEncoder(s).inputs(first(s)) for s in (PAPER, slow))
    for name in ("tasks", "other", "weight", "devices"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-4)


def test_a_stopped_general_run_resumes_bit_for_bit(place: Path, tmp_path: Path) -> None:
    stop_requests = iter([False, False, True])
    spec = RunSpec("sae-mt-qmix", PAPER, SHORT, seed=1)
    assert TrainingRun.create(tmp_path / "parts", spec).train(stop=lambda: next(stop_requests)) == "stopped"
    assert TrainingRun.resume(tmp_path / "parts").train() == "finished"
    last = last_checkpoint(tmp_path / "parts")
    assert last is not None
    for file in ("policy.safetensors", "learner.safetensors"):
        assert (last / file).read_bytes() == (place / file).read_bytes()
