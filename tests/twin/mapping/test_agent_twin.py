"""An agent's twin: what it learns from, what it decides, and that no data leave with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments.agent_twins import check_twin
from iomt_core.policies.plan import Optimum
from iomt_core.policies.registry import POLICIES
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import ScenarioError, TaskKind
from iomt_core.scenario.tables import with_workload
from iomt_core.training.checkpoints import MARK, POLICY, CheckpointError
from iomt_core.twin.management.registry import add
from iomt_core.twin.mapping import agent_training
from iomt_core.twin.mapping.agent_training import ALGORITHM, AgentTrainer
from iomt_core.twin.mapping.agent_twin import KIND, AgentTwin, TwinAmongOthers
from iomt_core.twin.mapping.own_episodes import OwnEpisodes, own_episodes, own_inputs
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.recorder import record
from tests.twin.mapping.conftest import WARD
from tests.twin.mapping.test_sealed_log import log_of

STATE = {
    "battery_j": 1.0, "power_w": 0.1, "cpu_hz": 1e9, "server_cpu_hz": [5e9, 4e9], "server_bandwidth_hz": [2e7, 1e7],
    "link_bandwidth_hz": [1e9, 1e9],
}  # fmt: skip
TASKS = pd.DataFrame({"data_bits": [2e5, 3e5], "cycles": [1e5, 2e5], "priority": [1, 3]})


def trained(episodes: OwnEpisodes, updates: int = 2) -> AgentTwin:
    trainer = AgentTrainer(episodes, updates, 0)
    while not trainer.done:
        trainer.update()
    facts = {"kind": KIND, "algorithm": ALGORITHM, "user": 2, "recording": 1, "mean_priority": episodes.mean_priority}
    return AgentTwin({**facts, "scenario": episodes.scenario.model_dump(mode="json")}, trainer.weights())


def test_an_agent_learns_from_what_its_user_saw_and_got(ward: Path) -> None:
    episodes, facts = own_episodes(log_of(ward, 2))
    assert (len(episodes), facts["policy"], episodes.mean_priority) == (40, "random", WARD.mean_P)
    played = play_episodes(POLICIES["random"](WARD), draw_episodes(WARD, 0, 0, 40, certify=False))
    one = played.snapshot.keep(torch.tensor([1]), torch.arange(2))
    steps = episodes.states.select(torch.arange(40 * 5).view(40, 5)[:, :4].flatten())
    torch.testing.assert_close(own_inputs(steps, WARD).tasks, own_inputs(one, WARD).tasks)
    torch.testing.assert_close(own_inputs(steps, WARD).other, own_inputs(one, WARD).other)
    assert torch.equal(episodes.choice.flatten(0, 1), played.action.choice[:, 1])
    torch.testing.assert_close(episodes.reward.flatten(0, 1), played.outcome.reward[:, 1].float())


def test_an_agent_trained_on_random_choices_decides_better(ward: Path) -> None:
    episodes, _ = own_episodes(log_of(ward, 2))
    check = check_twin(ward, trained(episodes, 60), 20)
    assert check.own.interval is not None
    assert check.own.interval[1] < 0, check.own.change_words
    assert check.devices[["recorded", "twin"]].sum().tolist() == pytest.approx([1, 1])


def test_an_agent_that_saw_a_good_policy_costs_its_user_little_more(tmp_path: Path) -> None:
    record(WARD, "price-response", 40, 0, tmp_path / "good")
    episodes, _ = own_episodes(log_of(tmp_path / "good", 2))
    check = check_twin(tmp_path / "good", trained(episodes, 100), 20)
    assert check.own.relative is not None
    assert check.own.relative < 0.1, check.own.change_words


def test_training_repeats_itself(ward: Path) -> None:
    episodes, _ = own_episodes(log_of(ward, 2))
    one, other = (trained(episodes)._agents.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_others_decide_as_without_the_twin(ward: Path) -> None:
    twin, others = trained(own_episodes(log_of(ward, 2))[0]), POLICIES["greedy"](WARD)
    snapshot = draw_episodes(WARD, 5, 0, 3, certify=False).snapshot
    mixed, alone = TwinAmongOthers(others, twin).decide(snapshot), others.decide(snapshot)
    assert torch.equal(mixed.choice[:, 0], alone.choice[:, 0])
    assert not torch.equal(mixed.cpu[:, 1], alone.cpu[:, 1])
    with pytest.raises(ScenarioError, match="plans whole episodes"):
        TwinAmongOthers(Optimum(WARD), twin)
    with pytest.raises(ScenarioError, match="does not fit this ward"):
        TwinAmongOthers(POLICIES["greedy"](WARD.changed(tasks=3)), twin)


def test_decisions_and_values_are_those_of_the_networks(ward: Path) -> None:
    twin = trained(own_episodes(log_of(ward, 2))[0])
    first = twin.decide(TASKS, STATE)
    again = twin.decide(TASKS, STATE, first.memory)
    assert set(first.devices) <= {0, 1, 2}
    assert first.values.shape == (2, 3)
    assert all(0 < share <= 1 for share in (*first.cpu_shares, *first.bandwidth_shares))
    assert not torch.equal(first.values, again.values)  # it remembers
    assert twin.values(TASKS, STATE).columns.tolist() == [0, 1, 2]
    assert len(twin.decide(TASKS[:1], STATE).devices) == 1
    ward_snapshot = draw_episodes(WARD, 3, 0, 1, certify=False).snapshot.select(slice(0, 1))
    mine = ward_snapshot.keep(torch.tensor([1]), torch.arange(2))
    state = {
        "battery_j": mine.battery, "power_w": mine.P_tr, "cpu_hz": mine.F_i, "server_cpu_hz": mine.F_k,
        "server_bandwidth_hz": mine.B_k, "link_bandwidth_hz": mine.beta,
    }  # fmt: skip
    tasks = pd.DataFrame({"data_bits": mine.D[0, 0], "cycles": mine.C[0, 0], "priority": mine.P[0, 0]})
    found, action = twin.decide(tasks, state), twin.act(mine, None)[0]
    assert list(found.devices) == action.choice[0, 0].tolist()


def test_an_agents_twin_knows_deadlines_where_they_differ(tmp_path: Path) -> None:
    kinds = [TaskKind(name=str(x), share=1, D=(1e5, 2e5), C=(1e5, 2e5), P=(1, 3), T_max=x) for x in (5e-3, 60.0)]
    s = WARD.changed(kinds=kinds)
    record(s, "random", 6, 0, tmp_path / "ward")
    episodes, _ = own_episodes(log_of(tmp_path / "ward", 2))
    played = play_episodes(POLICIES["random"](s), draw_episodes(s, 0, 0, 6, certify=False))
    one = played.snapshot.keep(torch.tensor([1]), torch.arange(2))
    now = episodes.states.select(torch.arange(6 * 5).view(6, 5)[:, :4].flatten())
    assert own_inputs(one, s).tasks.shape[-1] == 4
    torch.testing.assert_close(own_inputs(now, s).tasks, own_inputs(one, s).tasks)
    twin = trained(episodes)
    with pytest.raises(ScenarioError, match="deadline_s is missing"):
        twin.decide(TASKS, STATE)
    soon, late = (twin.decide(TASKS.assign(deadline_s=x), STATE) for x in (5e-3, 60.0))
    assert soon.cpu_shares != late.cpu_shares


def test_wrong_questions_name_what_is_wrong(ward: Path) -> None:
    twin = trained(own_episodes(log_of(ward, 2))[0])
    with pytest.raises(ScenarioError, match="cycles is missing"):
        twin.decide(TASKS.drop(columns="cycles"), STATE)
    with pytest.raises(ScenarioError, match="power_w is missing"):
        twin.decide(TASKS, {name: value for name, value in STATE.items() if name != "power_w"})
    with pytest.raises(ScenarioError, match="server_cpu_hz has 1 values: allowed are 2"):
        twin.decide(TASKS, {**STATE, "server_cpu_hz": [1e9]})
    with pytest.raises(ScenarioError, match="tasks = 4 is out of range"):
        twin.decide(pd.concat([TASKS, TASKS]), STATE)
    with pytest.raises(ScenarioError, match="data_bits has a value that is negative"):
        twin.decide(TASKS.assign(data_bits=-1.0), STATE)


def test_a_twin_is_written_and_read_and_holds_no_records(ward: Path, tmp_path: Path) -> None:
    twin, place = trained(own_episodes(log_of(ward, 2))[0]), tmp_path / "twin"
    twin.save(place)
    read = AgentTwin.load(place)
    assert torch.equal(read.decide(TASKS, STATE).values, twin.decide(TASKS, STATE).values)
    content = (place / MARK).read_bytes() + (place / POLICY).read_bytes()
    tasks = Warehouse(ward).log(2).tasks(columns=["data_bits", "cycles"])
    for name in tasks.column_names:
        for value in tasks.column(name).to_pylist():
            assert np.float64(value).tobytes() not in content
            assert np.float32(value).tobytes() not in content
            assert str(value).encode() not in content
    (place / MARK).write_text((place / MARK).read_text().replace(KIND, "something"))
    with pytest.raises(CheckpointError, match="kind = 'something' cannot be used"):
        AgentTwin.load(place)


def test_an_own_workload_stays_in_the_warehouse(tmp_path: Path) -> None:
    from iomt_core.scenario.parameters import WorkloadTask

    tasks = tuple(
        WorkloadTask(step=t, user=u, D=1e5 + 1234.5 * t * u, C=1e5 + t, P=1 + t % 3) for t in (1, 2, 3) for u in (1, 2)
    )
    record(with_workload(WARD, tasks), "random", 3, 0, tmp_path / "own")
    twin = trained(own_episodes(log_of(tmp_path / "own", 2))[0])
    assert twin.scenario.workload is None
    assert twin.scenario.data_span == (1e5, 2e5)
    for task in tasks:
        assert str(task.D) not in str(twin.facts["scenario"])


def test_records_that_were_dropped_in_part_are_left_out(ward: Path) -> None:
    log = log_of(ward, 2)
    steps, tasks = log.steps(recording=1), log.tasks(recording=1)

    class Later:
        user, latest_recording, configuration = 2, 1, log.configuration

        def steps(self, **options: object) -> object:
            return steps.slice(5)

        def tasks(self, columns: list[str], **options: object) -> object:
            return tasks.slice(12).select(columns)

    episodes, _ = own_episodes(Later())  # type: ignore[arg-type]
    whole, _ = own_episodes(log)
    assert len(episodes) == 38
    assert torch.equal(episodes.reward, whole.reward[2:])


def test_cautious_agents_repeat_what_was_always_done(ward: Path) -> None:
    """Every recorded choice is server 1: nothing says what the other devices are worth. By chance it would be a third."""
    episodes, _ = own_episodes(log_of(ward, 2))
    one_way = replace(episodes, choice=torch.ones_like(episodes.choice))
    found = trained(one_way, 80)
    snapshot = draw_episodes(WARD, 9, 0, 5, certify=False).snapshot.keep(torch.tensor([1]), torch.arange(2))
    assert float((found.act(snapshot, None)[0].choice == 1).double().mean()) > 0.8


def test_the_command_trains_in_a_process_of_its_own(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "twin",
        "train-agent",
        str(ward),
        "--user",
        "2",
        "--out",
        str(tmp_path / "twin"),
        "--updates",
        "2",
        "--episodes",
        "2",
    ]
    found = CliRunner().invoke(application(words), words)
    assert found.exit_code == 0, found.output
    assert "from 40 episodes of user 2" in found.output
    facts = AgentTwin.load(tmp_path / "twin").facts
    assert (facts["user"], facts["updates"], facts["recording"]) == (2, 2, 1)
    expected = AgentTrainer(own_episodes(log_of(ward, 2))[0], 2, 0)
    expected.update(), expected.update()
    assert torch.allclose(
        expected.weights()["agents/q.own.weight"], AgentTwin.load(tmp_path / "twin")._agents.q.own.weight
    )
    monkeypatch.setenv("IOMT_MODELS", str(tmp_path / "models"))
    assert add(tmp_path / "twin").label == "MPMT-DQN (VDN), twin of agent 2"
    log = json.dumps(
        CliRunner().invoke(application(["warehouse"]), ["warehouse", "audit", str(ward), "--last", "3"]).output
    )
    assert "agent:2" in log
    assert "train" in log
    again = CliRunner().invoke(application(words), words)
    assert isinstance(again.exception, ScenarioError)
    assert "already holds a twin" in str(again.exception)


def test_numbers_out_of_range_are_refused(ward: Path) -> None:
    episodes, _ = own_episodes(log_of(ward, 2))
    with pytest.raises(ScenarioError, match="updates = 0 is out of range"):
        AgentTrainer(episodes, 0, 0)
    assert agent_training.UPDATES <= agent_training.MOST_UPDATES
