"""What is recorded is what was played."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.policies.registry import POLICIES
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, ScenarioError, scenario
from iomt_core.twin.warehouse import recorder
from iomt_core.twin.warehouse.checks import status, verify
from iomt_core.twin.warehouse.columns import ADDED
from iomt_core.twin.warehouse.limits import Limits
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.recorder import record

RAGGED = {
    "users": 3, "tasks": 2, "servers": 2, "T": 2, "users_off": [2], "kinds": [],
    "workload": [{"step": 1, "user": 1, "D": 2e5, "C": 1e5, "P": 1}, {"step": 2, "user": 3, "D": 3e5, "C": 2e5, "P": 3}],
}  # fmt: skip
WARDS = {
    "lecture": PRESETS["lecture"],
    "drained": PRESETS["drained"],
    "medical": PRESETS["hospital"],
    "ragged": scenario(RAGGED),
}


@pytest.mark.parametrize("name", WARDS)
def test_the_log_of_each_user_is_the_users_part_of_the_table(tmp_path: Path, name: str) -> None:
    s = WARDS[name]
    record(s, "greedy", 3, 5, tmp_path / "w", limits=Limits(device_steps=10, edge_steps=20, reserve_bytes=0))
    played = play_episodes(POLICIES["greedy"](s), draw_episodes(s, 5, 0, 3, certify=False))
    table = played.table()
    table["kind"] = table["kind"].astype(str)
    warehouse = Warehouse(tmp_path / "w")
    assert warehouse.users == s.user_numbers
    for user in s.user_numbers:
        expected = table[table["user"] == user].reset_index(drop=True)
        found = warehouse.log(user).tasks().to_pandas()
        if len(expected):
            observed = ((expected["episode"] - 1) * s.T + expected["step"] - 1) * s.step_time
            np.testing.assert_array_equal(found["observed_s"], observed)
            found = found.drop(columns=[*ADDED, "observed_s"])
            pd.testing.assert_frame_equal(found, expected, check_dtype=False)
        steps = warehouse.log(user).steps().to_pandas()
        assert len(steps) == len(played)
        by_step = expected.groupby(["episode", "step"])
        per_step = steps.set_index(["episode", "step"])
        for column in ("energy_j", "deadline_missed"):
            sums = by_step[column].sum().reindex(per_step.index, fill_value=0)
            np.testing.assert_allclose(per_step[column], sums)
        assert (steps["server_cpu_hz"].map(len) == s.servers).all()
        place = s.user_numbers.index(user)
        requested = torch.stack([played.action.cpu, played.action.bandwidth], -1)[:, place].float()
        np.testing.assert_array_equal(np.stack(steps["actor_outputs"]), requested.flatten(1).numpy())
        choices = torch.tensor(s.device_numbers)[played.action.choice[:, place]]
        np.testing.assert_array_equal(np.stack(steps["task_choices"]), choices.numpy())
        following = (steps["step"] > 1).to_numpy()[1:]  # rows with the step before in the same episode
        after, later = steps["battery_after_j"].to_numpy()[:-1], steps["battery_j"].to_numpy()[1:]
        np.testing.assert_allclose(after[following], later[following])
    verify(tmp_path / "w")


def test_a_users_configuration_rebuilds_the_ward_with_the_users_own_tasks(tmp_path: Path) -> None:
    s = WARDS["ragged"]
    record(s, "greedy", 1, 0, tmp_path / "w")
    found = Warehouse(tmp_path / "w").log(3).configuration(1)
    assert (found["policy"], found["seed"], found["episodes"]) == ("greedy", 0, 1)
    assert [task["user"] for task in found["scenario"]["workload"]] == [3]
    assert Warehouse(tmp_path / "w").scenario.digest == s.digest  # from all users
    record(PRESETS["lecture"], "greedy", 1, 0, tmp_path / "w")
    assert Warehouse(tmp_path / "w").scenario.digest == PRESETS["lecture"].digest


def test_recording_goes_on_in_a_second_recording(tmp_path: Path) -> None:
    for seed in (0, 1):
        record(PRESETS["lecture"], "greedy", 2, seed, tmp_path / "w")
    log = Warehouse(tmp_path / "w").log(1)
    assert log.steps()["recording"].to_pylist() == [1] * 40 + [2] * 40
    assert status(tmp_path / "w")["recordings"] == 2
    assert log.configuration(2)["seed"] == 1
    with pytest.raises(ScenarioError, match="recording = 3 is not known for user 1"):
        log.configuration(3)


def test_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(PRESETS["drained"], "price-response", 4, 0, tmp_path / "a")
    monkeypatch.setattr(recorder, "CHUNK", 1)
    monkeypatch.setattr(recorder, "TASKS_OF_COMMIT", 1)
    record(PRESETS["drained"], "price-response", 4, 0, tmp_path / "b")
    one, other = (
        Warehouse(tmp_path / name).log(2).tasks().drop_columns(["synchronised_s"]).to_pandas() for name in "ab"
    )
    pd.testing.assert_frame_equal(one, other)


def test_an_interrupted_recording_keeps_whole_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "TASKS_OF_COMMIT", 1)

    def stop(episodes: int, revision: int) -> None:
        if episodes == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(PRESETS["lecture"], "greedy", 9, 0, tmp_path / "w", on_commit=stop)
    assert set(Warehouse(tmp_path / "w").log(1).steps()["episode"].to_pylist()) == {1, 2, 3}


def test_the_command_line_from_recording_to_forgetting(tmp_path: Path) -> None:
    folder, out = str(tmp_path / "w"), tmp_path / "x.parquet"

    def run(*words: str) -> str:
        done = CliRunner().invoke(application(["warehouse"]), ["warehouse", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    limits = ("--device-steps", "20", "--edge-steps", "40")
    run("record", "--scenario", "lecture", "--policy", "greedy", "--episodes", "4", "--seed", "3", *limits, folder)
    state = json.loads(run("status", folder, "--json"))
    assert state["sequence_gaps"] == 0
    assert state["head_hash"]
    assert {tier: set(values) >= {"rows", "bytes", "age_s"} for tier, values in state["tiers"].items()} == {
        "device": True, "edge": True, "archive": True
    }  # fmt: skip
    assert state["limits"]["device_steps"] == 20
    assert "missing records: 0" in run("status", folder)
    assert "rotated" in run("rotate", folder)
    s = PRESETS["lecture"]
    assert f"written: {4 * s.T * s.tasks} records" in run("export", folder, "--out", str(out), "--user", "2")
    assert set(pd.read_parquet(out)["user"]) == {2}
    assert "forgotten: user 2" in run("forget", folder, "--user", "2")
    assert "dropped: 0 records" in run("tidy", folder)
    assert "intact" in run("verify", folder)
