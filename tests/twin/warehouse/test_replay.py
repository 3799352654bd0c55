"""Training that replays from the warehouse ends with the weights of training that replays from memory."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from iomt_core.runs.training_run import METRICS, Line, TrainingRun, write_run_spec
from iomt_core.scenario import PRESETS, Scenario, ScenarioError, scenario
from iomt_core.training.checkpoints import LEARNER, POLICY, last_checkpoint
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.saved_trainer import restore
from iomt_core.training.settings import Settings
from iomt_core.twin.access import AuditLog, verify_log
from iomt_core.twin.access.hooks import AUDIT_FOLDER
from iomt_core.twin.recorded_fork import recorded_episode
from iomt_core.twin.warehouse.checks import verify
from iomt_core.twin.warehouse.reading import Warehouse
from iomt_core.twin.warehouse.recorder import record
from iomt_core.twin.warehouse.writer import WarehouseWriter
from iomt_core.twin.warehouse_replay import WarehouseReplay

SHORT = {"episodes": 48, "num_envs": 4, "updates": 1, "batch": 2, "replay": 16, "warm_up": 8, "gamma": 0.5}
SAVED = Settings(**SHORT, evaluate_every=48, checkpoint_every=8)
WARD = PRESETS["lecture"].changed(users=2, tasks=2, servers=1, T=5)
RAGGED = {
    "users": 3, "tasks": 2, "servers": 2, "T": 2, "users_off": [2], "kinds": [],
    "workload": [{"step": 1, "user": 1, "D": 2e5, "C": 1e5, "P": 1}, {"step": 2, "user": 3, "D": 3e5, "C": 2e5, "P": 3}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "ward", "changes"),
    [
        (
            "sae-mt-qmix",
            PRESETS["hospital"].changed(users=2, tasks=2, servers=2, T=3),
            {},
        ),  # kinds with deadlines, and moving users
        ("qmix", scenario(RAGGED), {}),  # missing tasks, a user who is off
        (
            "pa-ddpg",
            PRESETS["drained"].changed(users=2, tasks=2),
            {},
        ),  # episodes that end early, Actors with three outputs
        ("qmix", PRESETS["lecture"].changed(T=3), {"networks": "general", "recurrent": False}),
    ],
)
def test_the_view_has_what_memory_has_bit_by_bit(
    algorithm: str, ward: Scenario, changes: dict[str, object], tmp_path: Path
) -> None:
    spec = RunSpec(algorithm, ward, default_settings(algorithm, **SHORT, **changes), seed=3)
    memory, other = spec.trainer(), spec.trainer(make_replay=partial(WarehouseReplay, tmp_path / "w", {}))
    for _ in range(5):  # of 4 episodes each: the first ones leave the buffer
        assert memory.advance() == other.advance()
    assert all(map(torch.equal, memory.learner.agents.parameters(), other.learner.agents.parameters()))
    expected, found = memory.replay.tensors(), other.replay.store
    alive = expected["alive"]
    after = torch.cat(
        [torch.ones_like(alive[:, :1]), alive & ~expected["ended"]], 1
    )  # states in or after a played step
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        used = after if values.shape[1] > ward.T else torch.ones_like(alive) if name in ("alive", "ended") else alive
        assert torch.equal(found[name][used], values[used]), name
    other.replay.close()
    verify(tmp_path / "w")


def spec(warehouse: Path | None) -> RunSpec:
    return RunSpec("sae-mt-qmix", WARD, SAVED, 3, None, None if warehouse is None else str(warehouse))


def weights(run: Path) -> dict[str, torch.Tensor]:
    """What the last checkpoint holds of networks and optimisers."""
    last = last_checkpoint(run)
    assert last is not None
    tensors = load_file(last / POLICY) | load_file(last / LEARNER)
    return {name: values for name, values in tensors.items() if not name.startswith("replay/")}


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _train_until_killed(run: Path, warehouse: Path, keys: str, last: int) -> None:
    os.environ["IOMT_KEYS"] = keys
    torch.set_num_threads(1)

    def kill(name: str, line: Line) -> None:
        if name == METRICS and line["episodes"] == last:
            os.kill(os.getpid(), signal.SIGKILL)

    job = TrainingRun.resume(run) if (run / "run.json").exists() else TrainingRun.create(run, spec(warehouse))
    job.train(on_line=kill)


def test_a_run_that_is_killed_between_commit_and_checkpoint_goes_on_bit_by_bit(tmp_path: Path, keys: Path) -> None:
    TrainingRun.create(tmp_path / "memory", spec(None)).train()
    run, ward = tmp_path / "run", tmp_path / "w"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iomt_core.runs.training_run", "iomt_core.twin.warehouse_replay"])
    for last in (4, 28):  # before the first checkpoint; after that of 24 episodes, which fill the buffer
        process = context.Process(target=_train_until_killed, args=(run, ward, str(keys), last))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    job = TrainingRun.resume(run)
    assert job.trainer.played == len(job.trainer.replay) + 8 == 24
    stops = iter([False, False, True])
    assert job.train(stop=lambda: next(stops)) == "stopped"
    assert TrainingRun.resume(run).train() == "finished"
    assert equal(run, tmp_path / "memory")
    verify(ward)
    # Nothing that was acknowledged is lost; what came after a checkpoint is there twice, in two recordings.
    log = Warehouse(ward).log(1).steps(columns=["recording", "episode"]).to_pandas()
    episodes = log.drop_duplicates().groupby("recording")["episode"].agg(["min", "max"]).to_numpy().tolist()
    assert episodes == [[1, 4], [1, 28], [25, 32], [33, 48]]
    begins = [Warehouse(ward).log(1).configuration(n) for n in (1, 2, 3, 4)]
    assert [facts["first_episode"] for facts in begins] == [1, 1, 25, 33]
    assert [facts["continues"] for facts in begins] == [None, None, 2, 3]


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was stopped after 16 episodes; its warehouse is beside it."""
    stops = iter([False] * 4 + [True])
    TrainingRun.create(tmp_path / "run", spec(tmp_path / "w")).train(stop=lambda: next(stops))
    return tmp_path / "run"


def test_agents_read_their_own_part_and_the_audit_log_says_so_once_a_batch(stopped: Path) -> None:
    folder = stopped.parent / "w"
    identity = Warehouse(folder).identity
    assert verify_log(folder / AUDIT_FOLDER, identity).valid
    with AuditLog(folder / AUDIT_FOLDER, identity) as log:
        records = log.latest(1000)
    done = records[records["outcome"] == "done"]
    objects = done["object"].str.replace(r"@\d+$", "", regex=True)
    counts = Counter(zip(done["subject"], done["action"], objects, strict=True))
    reads = [
        ("agent:1", "warehouse/1"),
        ("agent:2", "warehouse/2"),
        ("management", "observations"),
        ("management", "state"),
    ]
    assert {key: n for key, n in counts.items() if key[1] == "read"} == {(who, "read", of): 4 for who, of in reads}
    assert counts["training", "append", "warehouse"] == 4  # four batches
    granted = records[records["outcome"] == "granted"]
    assert len(granted) == len(reads) + 2  # once a process: each read, and each agent's append


def _wrong_history(run: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    record(WARD, "greedy", 9, 0, folder)


def _forgotten(run: Path, folder: Path) -> None:
    with WarehouseWriter(folder) as writer:
        writer.forget(2)


def _dropped(run: Path, folder: Path) -> None:
    with WarehouseWriter(folder) as writer:
        writer.tidy(1)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_wrong_history, "is not the one that this run recorded"),
        (_forgotten, "user 2 was forgotten"),
        (_dropped, "episode 1 of user 1 is not complete in the warehouse"),
    ],
)
def test_a_warehouse_that_lacks_the_run_is_refused(
    harm: Callable[[Path, Path], None], said: str, stopped: Path
) -> None:
    folder = stopped.parent / "w"
    harm(stopped, folder)
    with pytest.raises(ScenarioError, match=said):
        TrainingRun.resume(stopped)
    with WarehouseWriter(folder):  # it was let go
        pass


def test_one_run_at_a_time_writes_to_a_warehouse(tmp_path: Path) -> None:
    first = TrainingRun.create(tmp_path / "a", spec(tmp_path / "w"))
    with pytest.raises(ScenarioError, match="another process writes to the warehouse"):
        TrainingRun.create(tmp_path / "b", spec(tmp_path / "w"))
    assert not (tmp_path / "b").exists()
    first.trainer.replay.close()
    TrainingRun.create(tmp_path / "b", spec(tmp_path / "w")).trainer.replay.close()


def test_what_cannot_replay_from_a_warehouse_says_so(tmp_path: Path, stopped: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be used with wards = 'general'"):
        RunSpec("qmix", WARD, default_settings("qmix", wards="general", recurrent=False), 0, None, "w")
    with pytest.raises(ScenarioError, match="recording = 1 cannot be forked: it is of a training run"):
        recorded_episode(stopped.parent / "w")
    last = last_checkpoint(stopped)
    assert last is not None
    with pytest.raises(ScenarioError, match="holds no episodes: its run replays from"):
        restore(last)
    other = replace(spec(None), seed=4)
    TrainingRun.create(tmp_path / "memory", other).train(stop=lambda: True)
    assert TrainingRun.resume(tmp_path / "memory").spec == other
    write_run_spec(tmp_path / "memory", replace(other, warehouse=str(tmp_path / "w")))
    with pytest.raises(ScenarioError, match="is of a run that replayed from memory"):
        TrainingRun.resume(tmp_path / "memory")


def test_a_read_joins_recordings_of_training_and_of_policies(stopped: Path) -> None:
    folder = stopped.parent / "w"
    record(WARD, "greedy", 2, 0, folder)
    table = Warehouse(folder).log(1).tasks().to_pandas()
    assert table.groupby("recording")["episode"].nunique().to_list() == [16, 2]
    assert (table.dtypes[["data_bits", "cost"]] == "float64").all()
    assert pd.notna(table["cost"]).all()
