"""Observations, actions and rewards of agents, the same for every library."""

from __future__ import annotations

import importlib
import itertools
import sys

import pytest
import torch

from iomt_core.adapters.agents import AgentOptions, WardAgents
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.environment.observation import size
from iomt_core.model.snapshot import Action
from iomt_core.policies.base import with_shares
from iomt_core.policies.price_response import PriceResponse
from iomt_core.scenario import PRESETS, ScenarioError
from tests.wards import random_action

LECTURE = PRESETS["lecture"]
ALL = [
    AgentOptions(action=action, shares=shares, agents=agents)
    for action, shares, agents in itertools.product(
        ("dict", "box", "choice"), ("requested", "equal", "optimal"), ("user", "task")
    )
]


def agents_with(options: AgentOptions, num_envs: int = 3) -> WardAgents:
    ward = WardAgents(LECTURE, num_envs, options)
    ward.environment.reset(seed=5)
    return ward


def in_form(ward: WardAgents, action: Action) -> torch.Tensor | dict[str, torch.Tensor]:
    """The same decisions in the form that the options name."""
    b, n = ward.num_envs, len(ward.names)
    parts = {name: getattr(action, name).reshape(b, n, -1) for name in ward.fields}
    if ward.options.action == "dict":
        return parts
    if ward.options.action == "choice":
        return parts["choice"]
    scores = 2.0 * torch.nn.functional.one_hot(parts["choice"], LECTURE.servers + 1) - 1
    shares = [2 * parts[name][..., None] - 1 for name in ward.fields[1:]]
    return torch.cat([scores, *shares], dim=-1).flatten(2)


@pytest.mark.parametrize("options", ALL, ids=lambda o: f"{o.action}-{o.shares}-{o.agents}")
def test_every_form_of_action_leads_to_what_the_environment_says(options: AgentOptions) -> None:
    ward, plain = agents_with(options), Environment(LECTURE, world_seeds(5, 0, 3))
    for step in range(2):
        drawn = random_action(plain.snapshot, step)
        if options.shares != "requested":
            action = with_shares(drawn, plain.snapshot, LECTURE, options.shares)
        elif options.action == "choice":
            action = PriceResponse(LECTURE).request(plain.snapshot, drawn.choice)
        else:
            action = drawn
        done, expected = ward.step(in_form(ward, drawn)), plain.step(action)
        by_user = done.reward.view(3, LECTURE.users, -1).sum(-1)
        torch.testing.assert_close(by_user, expected.agent_reward, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(done.team_reward, expected.reward, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(done.task_info["delay_s"].flatten(), expected.outcome.delay.flatten())


def test_price_response_requests_what_it_would_for_its_own_choices() -> None:
    snapshot = WardAgents(LECTURE, 4, AgentOptions()).environment.snapshot
    policy = PriceResponse(LECTURE)
    whole = policy.decide(snapshot)
    again = policy.request(snapshot, whole.choice)
    assert torch.equal(again.cpu, whole.cpu)
    assert torch.equal(again.bandwidth, whole.bandwidth)


def test_observations_hold_the_task_and_the_index_that_the_options_name() -> None:
    plain = agents_with(AgentOptions()).observations()
    ward = agents_with(AgentOptions(agents="task", agent_id=True))
    seen, n, j = ward.observations(), len(ward.names), LECTURE.tasks
    assert seen.shape == (3, n, 3 + size(LECTURE) + n) == (3, n, ward.observation_size)
    assert ward.names[5] == "user_2_task_2"
    assert torch.equal(seen[:, 5, :3], plain[:, 1, [1, 1 + j, 1 + 2 * j]])
    assert torch.equal(seen[:, 5, 3:-n], plain[:, 1])
    assert torch.equal(seen[0, :, -n:], torch.eye(n))


def test_an_agent_of_a_task_observes_its_deadline_where_deadlines_differ() -> None:
    s = PRESETS["hospital"]
    ward = WardAgents(s, 2, AgentOptions(agents="task"))
    seen, deadline = ward.observations(), ward.environment.snapshot.deadline.flatten(1)
    assert seen.shape == (2, s.users * s.tasks, ward.observation_size)
    assert bool(((seen >= 0) & (seen <= 1.2)).all())
    order = deadline.argsort(1)
    assert bool((seen[..., 3].gather(1, order).diff(dim=1) >= 0).all())
    assert float(seen[..., 3].std()) > 0


@pytest.mark.parametrize("agents", ["user", "task"])
def test_own_rewards_add_up_to_the_teams_after_the_end_too(agents: str) -> None:
    s = PRESETS["drained"].changed(Cap=4e-4, T=4)
    own, team = (WardAgents(s, 8, AgentOptions(agents=agents, reward=r)) for r in ("own", "team"))  # type: ignore[arg-type]
    for ward in (own, team):
        ward.environment.reset(seed=2)
    for step in range(s.T):
        action = random_action(own.environment.snapshot, step)
        a, b = own.step(in_dict(own, action)), team.step(in_dict(team, action))
        torch.testing.assert_close(a.reward.sum(1), b.reward[:, 0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(b.reward[:, 0], b.team_reward)
    assert bool(own.environment.terminated.any())


def in_dict(ward: WardAgents, action: Action) -> dict[str, torch.Tensor]:
    return {name: getattr(action, name).reshape(ward.num_envs, len(ward.names), -1) for name in ward.fields}


def test_the_certificate_bounds_the_steps_cost() -> None:
    ward = agents_with(AgentOptions(action="choice", shares="optimal", certificate=True))
    for step in range(3):
        action = random_action(ward.environment.snapshot, step)
        info = ward.step(action.choice).step_info
        assert bool((info["step_bound"] > 0).all())
        assert bool((info["step_bound"] <= info["step_cost"]).all())


def test_options_that_are_not_allowed_are_named() -> None:
    with pytest.raises(ScenarioError, match=r"action is 'flat': allowed is 'dict', 'box', 'choice'\n.*agent_id is 3"):
        AgentOptions(action="flat", agent_id=3)  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="num_envs is 0: allowed is 1 or more"):
        WardAgents(LECTURE, 0, AgentOptions())


@pytest.mark.parametrize(
    ("options", "action", "words"),
    [
        (
            AgentOptions("box"),
            torch.full((3, 3, 20), float("nan")),
            "world 0, user_1: action holds nan: allowed is a number from -1 to 1",
        ),
        (AgentOptions("box"), torch.zeros(3, 3, 19), r"has shape \(3, 3, 19\): allowed is \(3, 3, 20\)"),
        (AgentOptions("choice"), torch.full((3, 3, 4), 3), "choice holds 3: allowed is a whole number from 0 to 2"),
        (AgentOptions("choice"), torch.full((3, 3, 4), 0.5), "choice holds 0.5: allowed is a whole number from 0 to 2"),
        (AgentOptions(), {"choice": torch.zeros(3, 3, 4)}, "cpu is missing; needed are choice, cpu, bandwidth"),
    ],
)
def test_an_action_that_is_not_allowed_is_named(options: AgentOptions, action: object, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        agents_with(options).step(action)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("pettingzoo_env", "pettingzoo", "environments"),
        ("gymnasium_env", "gymnasium", "environments"),
        ("torchrl_env", "tensordict", "torchrl"),
        ("sb3_env", "stable_baselines3.common.vec_env", "sb3"),
    ],
)
def test_without_its_library_an_adapter_says_what_to_install(
    module: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"iomt_core.adapters.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)  # what Python itself takes for a missing module
    with pytest.raises(ImportError, match=rf"pip install 'iomt-twin-lab\[{extra}\]'"):
        importlib.import_module(f"iomt_core.adapters.{module}")
