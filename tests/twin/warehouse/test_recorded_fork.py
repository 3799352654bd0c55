"""A fork of a recorded episode repeats what happened if nothing is changed, and differs only from its step on otherwise."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments.evaluation import summary_of
from iomt_core.model.batch import Batch
from iomt_core.record import Record
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.catalogue import make_policy
from iomt_core.twin.recorded_fork import recorded_episode
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.recorder import record
from iomt_core.twin.warehouse.writer import WarehouseWriter
from tests.twin.warehouse.test_recorder import WARDS

WARD = PRESETS["lecture"].changed(T=6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings: greedy, then the optimum; some records have left the device."""
    limits = Limits(device_steps=6, edge_steps=12, reserve_bytes=0)
    record(WARD, "greedy", 3, 5, tmp_path / "w", limits=limits)
    record(WARD, "optimum", 2, 7, tmp_path / "w")
    return tmp_path / "w"


def same(a: Batch, b: Batch, exact: bool = True) -> None:
    for name, one in vars(a).items():
        other = getattr(b, name)
        if isinstance(one, Batch):
            same(one, other, exact)
        elif isinstance(one, torch.Tensor):
            torch.testing.assert_close(one, other, rtol=0 if exact else 1e-12, atol=0 if exact else 1e-18, msg=name)


def digests(folder: Path) -> dict[str, str]:
    kept = (path for path in folder.rglob("*") if path.is_file() and path.suffix in (".sqlite", ".parquet"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@pytest.mark.parametrize("name", WARDS)
@pytest.mark.parametrize("policy", ["greedy", "price-response", "optimum"])
def test_a_fork_with_nothing_changed_repeats_what_happened(tmp_path: Path, name: str, policy: str) -> None:
    s = WARDS[name]
    if name == "ragged":  # an own workload of users that are switched off is not recorded, and neither has one here
        assert not any(task.user in s.users_off for task in s.workload or ())
    record(s, policy, 2, 5, tmp_path / "w")
    recorded = recorded_episode(tmp_path / "w", 2)
    for step in {1, len(recorded.record)}:
        found = recorded.fork(step)
        same(found.forked, found.happened)
        assert found.forked.step.tolist() == list(range(step, len(recorded.record) + 1))
        assert found.words == "nothing changed"


def test_the_same_policy_named_again_goes_on_as_it_did(folder: Path) -> None:
    recorded = recorded_episode(folder, 3, 1)
    # The same values in other words are a change to play, not a repetition; it comes to the same.
    found = recorded.fork(3, {"B_k": recorded.scenario.B_k * (1 + 1e-15)}, "greedy")
    same(found.forked, found.happened, exact=False)


def test_a_fork_changes_only_what_follows_and_leaves_the_warehouse_as_it_is(folder: Path) -> None:
    before = digests(folder)
    recorded = recorded_episode(folder, 2, 1)
    found = recorded.fork(3, {"servers_off": "2"})
    assert digests(folder) == before
    assert found.forked.scenario.servers_off == (2,)
    assert (found.forked.step.tolist(), found.words) == ([3, 4, 5, 6], "servers_off = 2")
    snapshot, happened = found.forked.snapshot, found.happened.snapshot
    for name in ("D", "C", "P", "users_xy"):
        assert torch.equal(getattr(snapshot, name), getattr(happened, name))
    assert torch.equal(snapshot.battery[0], happened.battery[0])
    assert float(happened.battery[0].max()) < WARD.Cap
    assert not torch.equal(snapshot.battery[-1], happened.battery[-1])
    assert 2 not in found.forked.table()["choice"].unique()


def test_users_can_be_switched_off_and_policies_changed(folder: Path) -> None:
    recorded = recorded_episode(folder, 1, 1)
    off = recorded.fork(4, {"users_off": (1,)})
    assert torch.equal(off.forked.snapshot.battery[0], recorded.record.snapshot.battery[3][1:])
    local = recorded.fork(4, policy="all-local")
    assert (local.forked.action.choice == 0).all()
    best = recorded.fork(4, policy="optimum")
    assert value(best.forked) >= value(best.happened)


def test_fewer_servers_are_the_first_ones(folder: Path) -> None:
    recorded = recorded_episode(folder, 1, 1)
    found = recorded.fork(3, {"servers": "1", "users": 2})
    assert found.words == "servers_off = 2, users_off = 3"
    same(found.forked, recorded.fork(3, {"servers_off": "2", "users_off": "3"}).forked)
    assert recorded.fork(3, {"servers": 2}).words == "nothing changed"


@pytest.mark.parametrize("policy", ["qmix@paper", "sae-mt-qmix@paper"])
def test_a_trained_policy_goes_on_with_its_memory(tmp_path: Path, policy: str) -> None:
    s = PRESETS["paper"].changed(T=5)
    assert make_policy(policy, s).uses_past == "memory"
    record(s, policy, 1, 3, tmp_path / "w")
    recorded = recorded_episode(tmp_path / "w")
    for step in (1, 4):
        same(recorded.fork(step).forked, recorded.fork(step).happened)
        # A change to play that comes to the same: the networks decide again, and only their memory tells them the past.
        again = recorded.fork(step, {"B_k": s.B_k * (1 + 1e-15)})
        assert torch.equal(again.forked.action.choice, again.happened.action.choice)
        torch.testing.assert_close(again.forked.action.cpu, again.happened.action.cpu, rtol=1e-5, atol=1e-6)
    forgetful = make_policy(policy, s).step(recorded.fork(4).happened.snapshot.select(slice(0, 1)), None)[0]
    assert not torch.allclose(forgetful.cpu, recorded.record.action.cpu[3:4], rtol=1e-5, atol=1e-6)
    with pytest.raises(ScenarioError, match="fits 4 servers only"):
        recorded.fork(4, {"servers": 3})
    assert recorded.fork(4, {"servers": 3}, "greedy").forked.scenario.server_numbers == (1, 2, 3)


def value(record: Record) -> float:
    return float(summary_of(record, "")["return"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"servers": 3}, "servers = '3' is out of range: allowed is 1 to 2, as many as were recorded"),
        ({"users": "0"}, "users = '0' is out of range: allowed is 1 to 3"),
        ({"servers": "two"}, "servers = 'two' is out of range"),
        ({"servers": 1, "servers_off": "1"}, "servers and servers_off cannot both be changed"),
        ({"D": "1 KB..2 KB"}, "D would change"),
        ({"xyz": 1}, "xyz is not known"),
        ({"servers_off": "9"}, "servers_off"),
    ],
)
def test_what_would_change_the_past_is_refused(folder: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        recorded_episode(folder).fork(2, change)


def test_what_is_not_there_is_said(folder: Path) -> None:
    for arguments, words in (((4, 1), "episode = 4 is out of range"), ((1, 9), "recording = 9 is not there")):
        with pytest.raises(ScenarioError, match=words):
            recorded_episode(folder, *arguments)
    with pytest.raises(ScenarioError, match="step = 7 is out of range: allowed is 1 to 6"):
        recorded_episode(folder).fork(7)
    with WarehouseWriter(folder) as writer:
        writer.forget(2)
    with pytest.raises(ScenarioError, match="user 2 was forgotten"):
        recorded_episode(folder)


def test_a_record_that_another_version_made_is_not_forked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iomt_core.model.outcome.task_cost", lambda delay, energy, deadline, s: delay * 0 + 0.5)
    with pytest.raises(ScenarioError, match="cost is not what was recorded"):
        recorded_episode(folder)


def test_the_command_prints_both_futures(folder: Path) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(
            application(["twin"]), ["twin", "fork", str(folder), *words], catch_exceptions=False
        )
        assert result.exit_code == 0
        return result.stdout

    found = json.loads(run("--at", "3", "--episode", "2", "--recording", "1", "--set", "servers_off=1", "--json"))
    recorded = recorded_episode(folder, 2, 1)
    assert found["happened"]["return"] == pytest.approx(value(recorded.fork(3).happened))
    assert found["fork"]["return"] == pytest.approx(value(recorded.fork(3, {"servers_off": "1"}).forked))
    assert "fork: policy = all-local" in run("--at", "1", "--policy", "all-local")
    with pytest.raises(ScenarioError, match="expected is NAME=VALUE"):
        run("--at", "1", "--set", "servers_off")
