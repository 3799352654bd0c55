"""Execution is decentralised: what an agent decides depends on its own observation and history alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from iomt_core.algorithms.agents import DecisionRules
from iomt_core.algorithms.parameterised_q import ParameterisedQ
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.nets.inputs import Inputs, Sizes
from iomt_core.policies.shares import optimal_shares
from iomt_core.scenario import PRESETS
from iomt_core.training.observation_encoder import ObservationEncoder

SIZES = Sizes.of(PRESETS["lecture"])
WORLDS, STEPS = 6, 3


def observations(seed: int) -> list[Inputs]:
    torch.manual_seed(seed)
    u, j = SIZES.users, SIZES.tasks
    return [
        Inputs(
            torch.rand(u, WORLDS, j, 3) * 2 - 1,
            torch.rand(u, WORLDS, SIZES.other) * 2 - 1,
            torch.rand(u, WORLDS, j) + 0.5,
        )
        for _ in range(STEPS)
    ]


def scrambled(inputs: Inputs, agent: int) -> Inputs:
    """The same inputs for one agent, other inputs for all others."""
    other = observations(99)[0]
    mixed = {}
    for name in ("tasks", "other", "weight"):
        values = getattr(other, name).clone()
        values[agent] = getattr(inputs, name)[agent]
        mixed[name] = values
    return replace(inputs, **mixed)


@pytest.mark.parametrize("rounds", [0, 2])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_others_do_not_matter(algorithm: str, rounds: int) -> None:
    agents = ALGORITHMS[algorithm].agents(SIZES, recurrent=True, rounds=rounds)
    steps, agent = observations(1), 1
    with torch.no_grad():
        memory, alone = agents.start(WORLDS), agents.start(WORLDS)
        for inputs in steps:
            whole, memory = agents.decide(inputs, memory)
            mine, alone = agents.decide(scrambled(inputs, agent), alone)
            assert torch.equal(whole.choice[agent], mine.choice[agent])
            torch.testing.assert_close(whole.requested[agent], mine.requested[agent])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_worlds_do_not_meet(algorithm: str) -> None:
    agents = ALGORITHMS[algorithm].agents(SIZES, recurrent=True, rounds=1)
    inputs = observations(2)[0]
    with torch.no_grad():
        whole, _ = agents.decide(inputs, agents.start(WORLDS))
        part, _ = agents.decide(inputs.rows(slice(2, 4)), agents.start(2))
    assert torch.equal(whole.choice[:, 2:4], part.choice)
    torch.testing.assert_close(whole.requested[:, 2:4], part.requested)


def test_memory_matters() -> None:
    agents = ALGORITHMS["mpmt-dqn"].agents(SIZES, recurrent=True, rounds=0)
    first, second, *_ = observations(3)
    with torch.no_grad():
        _, memory = agents.decide(first, agents.start(WORLDS))
        after, _ = agents.decide(second, memory)
        fresh, _ = agents.decide(second, agents.start(WORLDS))
    assert not torch.equal(after.requested, fresh.requested)


@pytest.mark.parametrize("rules", [DecisionRules("largest-gain"), DecisionRules("largest-gain", "exact")])
@pytest.mark.parametrize("search", ["largest-gain", "cyclic"])
def test_a_search_ends_where_no_task_of_an_agent_gains(search: str, rules: DecisionRules) -> None:
    s = PRESETS["lecture"]
    agents = ParameterisedQ(Sizes.of(s), rounds=8, rules=replace(rules, search=search))  # type: ignore[arg-type]
    encoder = ObservationEncoder(s, agents.divides_own_cpu)
    world = World(s, world_seeds(0, 0, WORLDS))
    inputs = encoder.inputs(world.snapshot(world.initial_state(), 0))
    with torch.no_grad():
        torch.nn.init.normal_(agents.q.out.weight, std=0.1)
        requested = agents.actor(inputs, agents.start(WORLDS)[0])[0]
        given = inputs, agents.q.encode(inputs), requested, agents.start(WORLDS)[1]
        found = agents.choose(*given)
        agents.rules = replace(rules, search="largest-gain")
        start = agents.first_choice
        agents.first_choice = lambda inputs: found  # type: ignore[method-assign]
        again = list(agents.turns(*given))
        agents.first_choice = start  # type: ignore[method-assign]
    assert torch.equal(again[-1].after, found)
    assert len(again) == 1


@pytest.mark.parametrize("preset", ["paper", "hospital"])
def test_the_own_cpu_is_divided_as_is_best(preset: str) -> None:
    s = PRESETS[preset]
    agents = ParameterisedQ(Sizes.of(s), rounds=1, rules=DecisionRules(own_cpu="exact"))
    world = World(s, world_seeds(0, 0, WORLDS))
    snapshot = world.snapshot(world.initial_state(), 0)
    with torch.no_grad():
        decision, _ = agents.decide(
            ObservationEncoder(s, agents.divides_own_cpu).inputs(snapshot), agents.start(WORLDS)
        )
    action = decision.action(torch.float64)
    local = (action.choice == 0) & snapshot.active
    assert bool(local.any())
    best = optimal_shares(snapshot, action.choice, s).cpu
    torch.testing.assert_close(action.cpu[local], best[local].double(), rtol=1e-4, atol=1e-5)
    assert bool((torch.where(local, action.cpu, 0.0).sum(-1) <= 1 + 1e-6).all())


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("rounds", [0, 4])
def test_one_server_is_dealt_and_staying_counts_what_it_is_worth(rounds: int, servers: int) -> None:
    s = PRESETS["lecture"].changed(servers=servers)
    agents = ParameterisedQ(Sizes.of(s), rounds=rounds)
    encoder = ObservationEncoder(s)
    world = World(s, world_seeds(0, 0, WORLDS))
    inputs = encoder.inputs(world.snapshot(world.initial_state(), 0))
    with torch.no_grad():
        requested = agents.actor(inputs, agents.start(WORLDS)[0])[0]
        turns = list(agents.turns(inputs, agents.q.encode(inputs), requested, agents.start(WORLDS)[1]))
    assert len(turns) == max(1, rounds * s.tasks)
    for turn in turns:
        assert torch.equal(turn.margin[..., 0], torch.zeros_like(turn.margin[..., 0]))
        if servers == 1:
            assert torch.equal(turn.margin, torch.zeros_like(turn.margin))
            continue
        ranked = turn.margin[..., 1:].sort(-1, descending=True).values
        assert (ranked[..., 0] > 0).all()
        assert (ranked[..., 1:] < 0).all()
        one = turn.after[:, :, list(turn.tasks)]
        assert torch.equal((turn.worth + turn.margin).argmax(-1), one)
