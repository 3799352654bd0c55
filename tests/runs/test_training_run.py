"""A run that is stopped, or killed at any instant, ends with the same weights as one that never was."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.runs.directory import read_lines, read_status
from iomt_core.runs.training_run import METRICS, TRAINING, TrainingRun
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.checkpoints import LEARNER, MARK, POLICY, CheckpointError, last_checkpoint
from iomt_core.training.run_spec import RunSpec, default_settings, settings_from_words
from iomt_core.training.settings import Settings
from iomt_core.training.trained_policy import TrainedPolicy

WARD = PRESETS["lecture"].changed(users=2, tasks=2, servers=1, T=5)
SHORT = Settings(
    episodes=48, num_envs=4, updates=2, batch=2, replay=16, warm_up=8, evaluate_every=16, checkpoint_every=8, gamma=0.5
)


def spec(algorithm: str = "sae-mt-qmix", settings: Settings = SHORT) -> RunSpec:
    return RunSpec(algorithm, WARD, settings, seed=3)


def weights(place: Path) -> dict[str, torch.Tensor]:
    last = last_checkpoint(place)
    assert last is not None
    return load_file(last / POLICY) | load_file(last / LEARNER)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stopped_run_goes_on_bit_by_bit(algorithm: str, tmp_path: Path) -> None:
    TrainingRun.create(tmp_path / "whole", spec(algorithm)).train()
    stop_requests = iter([False, False, False, True])
    assert TrainingRun.create(tmp_path / "parts", spec(algorithm)).train(stop=lambda: next(stop_requests)) == "stopped"
    assert TrainingRun.resume(tmp_path / "parts").train() == "finished"
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    lines = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "parts")]
    assert lines[0] == lines[1]


def test_seeds_make_runs(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TrainingRun.create(tmp_path / name, RunSpec("qmix", WARD, SHORT, seed)).train()
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def _train(folder: Path) -> None:
    from iomt_core.runs.tensorboard import TensorBoardLog

    torch.set_num_threads(1)
    run = TrainingRun.resume(folder) if (folder / "run.json").exists() else TrainingRun.create(folder, spec())
    run.train(on_line=TensorBoardLog(folder, run.trainer.played).write)


def test_a_killed_run_goes_on_bit_by_bit_and_tensorboard_has_every_step_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iomt_core.runs.tensorboard"])
    began = time.time()

    def start(folder: Path) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=_train, args=(folder,))
        process.start()
        return process

    whole = start(tmp_path / "whole")
    killed, rng = tmp_path / "killed", random.Random(0)
    for lines in (1, 5, 8):  # of 12, a checkpoint every second: before the first one, and twice after
        process = start(killed)
        while process.is_alive() and len(list(read_lines(killed / METRICS))) < lines:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))  # at any instant of a batch
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert last_checkpoint(killed) is not None
    last = start(killed)
    for process in (whole, last):
        process.join()
        assert process.exitcode == 0
    assert same(weights(tmp_path / "whole"), weights(killed))
    status = read_status(killed)
    assert (status["state"], status["done"]) == ("finished", SHORT.episodes)

    events = EventAccumulator(str(killed / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    expected = [line["episodes"] for line in read_lines(tmp_path / "whole" / METRICS)]
    for tag in ("metrics/cost", "metrics/updates"):
        found = events.Scalars(tag)
        assert [event.step for event in found] == expected
        assert all(began <= event.wall_time <= time.time() for event in found)


def test_a_folder_that_cannot_be_written_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TrainingRun.create(tmp_path / "gone", spec("pa-ddpg"))
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(ScenarioError, match="cannot be written: No such file"):
        run.train()
    (tmp_path / "file").touch()
    with pytest.raises(ScenarioError, match="cannot be made a directory"):
        TrainingRun.create(tmp_path / "file" / "run", spec("pa-ddpg"))
    monkeypatch.setenv("IOMT_RUNS", str(tmp_path / "file"))
    assert TRAINING.runs() == []
    with pytest.raises(ScenarioError, match="cannot be used"):
        TRAINING.create("run", spec("pa-ddpg"))


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    TrainingRun.create(folder, spec()).train()
    return folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """The last checkpoint of a finished run, a copy of the test's own."""
    place = last_checkpoint(Path(shutil.copytree(trained_once, tmp_path / "run")))
    assert place is not None
    return place


def test_a_checkpoint_is_a_policy(trained: Path) -> None:
    policy = TrainedPolicy.load(trained)
    assert policy.name == "sae-mt-qmix"
    with pytest.raises(ScenarioError, match="fits 2 users, 2 tasks, 1 server only; this ward has "):
        TrainedPolicy.load(trained, PRESETS["paper"])


def _truncated(place: Path) -> None:
    content = (place / POLICY).read_bytes()
    (place / POLICY).write_bytes(content[: len(content) // 2])


def _foreign(place: Path) -> None:
    (place / POLICY).write_bytes(b"\x80\x04\x95 not safetensors at all")
    _remark(place)


def _renamed(place: Path) -> None:
    tensors = load_file(place / POLICY)
    tensors["agents/q.other_name"] = tensors.pop("agents/q.own.weight")
    save_file(tensors, place / POLICY)
    _remark(place)


def _reshaped(place: Path) -> None:
    tensors = load_file(place / POLICY)
    tensors["agents/q.own.weight"] = tensors["agents/q.own.weight"][..., :-1].contiguous()
    save_file(tensors, place / POLICY)
    _remark(place)


def _not_a_number(place: Path) -> None:
    tensors = load_file(place / POLICY)
    tensors["agents/q.own.weight"][0, 0, 0] = float("nan")
    save_file(tensors, place / POLICY)
    _remark(place)


def _remark(place: Path) -> None:
    import hashlib

    facts = json.loads((place / MARK).read_text())
    facts["sha256"][POLICY] = hashlib.sha256((place / POLICY).read_bytes()).hexdigest()
    (place / MARK).write_text(json.dumps(facts))


def _edit(place: Path, **changes: object) -> None:
    facts = json.loads((place / MARK).read_text())
    (place / MARK).write_text(json.dumps({**facts, **changes}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncated, "damaged or was exchanged"),
        (_foreign, "not a safetensors file"),
        (_renamed, "'q.own.weight' is missing"),
        (_reshaped, "has shape .* allowed is"),
        (_not_a_number, "not finite"),
        (lambda place: (place / MARK).unlink(), "not complete"),
        (lambda place: (place / MARK).write_text("{"), "not JSON"),
        (lambda place: (place / MARK).write_text("[]"), "'sha256' is missing"),
        (lambda place: (place / POLICY).unlink(), "cannot be read"),
        (lambda place: _edit(place, format=99), "format = 99 is not known: allowed is 1"),
        (lambda place: _edit(place, algorithm="sae-mt-qmx"), "Did you mean 'sae-mt-qmix'"),
        (lambda place: _edit(place, algorithm=7), "algorithm = 7"),
        (lambda place: _edit(place, settings={"gamma": 2}), "gamma = 2"),
        (lambda place: _edit(place, settings={"gama": 0.5}), "gama"),
        (lambda place: _edit(place, scenario={"users": 0}), "users"),
        (lambda place: _edit(place, scenario={**WARD.model_dump(mode="json"), "tasks": 3}), "shape"),
    ],
)
def test_a_bad_checkpoint_is_told_apart(damage, said: str, trained: Path) -> None:  # type: ignore[no-untyped-def]
    damage(trained)
    with pytest.raises(ScenarioError, match=said):
        TrainedPolicy.load(trained)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gamma=1.5"], "gamma = 1.5"),
        (["gamma"], "allowed is NAME=VALUE"),
        (["gama=0.5"], "allowed is NAME=VALUE with one of episodes"),
        (["episodes=0"], "episodes = 0"),
        (["critic_target=yours"], "critic_target = 'yours'"),
        (["temperature=[1]"], "temperature"),
    ],
)
def test_bad_settings_are_named(words: list[str], said: str) -> None:
    with pytest.raises(ScenarioError, match=said.replace("[", r"\[")):
        default_settings("qmix", **settings_from_words(words))


def test_a_run_is_never_overwritten(trained: Path) -> None:
    with pytest.raises(ScenarioError, match="already holds a run"):
        TrainingRun.create(trained.parent.parent, spec())


def test_what_is_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read"):
        TrainingRun.resume(tmp_path)
