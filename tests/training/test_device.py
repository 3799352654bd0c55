"""Runs on the CPU and on a GPU; tests that need a GPU are skipped without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.environment.counter import world_seeds
from iomt_core.environment.environment import Environment
from iomt_core.runs.process import device_named
from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.training.checkpoints import LEARNER, POLICY, last_checkpoint
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import CPU

WARD = PRESETS["lecture"].changed(users=2, tasks=2, servers=2, T=5)
SHORT = {
    "episodes": 32, "num_envs": 4, "updates": 2, "batch": 2, "replay": 16, "warm_up": 8, "evaluate_every": 16,
    "checkpoint_every": 8,
}  # fmt: skip
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Resets what `device_named` sets for a GPU."""
    yield
    torch.use_deterministic_algorithms(False)


def spec(name: str, ward: Scenario = WARD, **changes: object) -> RunSpec:
    return RunSpec(name, ward, default_settings(name, **{**SHORT, **changes}), seed=3)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cuda:-1", "meta", "", "cpu; rm"])
def test_a_device_that_is_not_here_is_named(name: str) -> None:
    with pytest.raises(ScenarioError, match=r"device = .*allowed is cpu"):
        device_named(name)


@on_a_gpu
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_gpu_plays_and_learns_what_the_cpu_does(name: str) -> None:
    """The same worlds, random numbers and first updates, except for rounding."""
    run_spec = spec(name)
    here, there = run_spec.trainer(CPU), run_spec.trainer(device_named("cuda"))
    for _ in range(2):
        seen = there.play()
        for key, value in here.play().items():
            assert seen[key] == pytest.approx(value, rel=1e-4), key
    losses = there.learn()
    for key, value in here.learn().items():
        assert losses[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key


@on_a_gpu
@pytest.mark.parametrize("name", [*ALGORITHMS, "general"])
def test_a_run_stopped_on_a_gpu_goes_on_bit_by_bit(name: str, tmp_path: Path) -> None:
    gpu = device_named("cuda")
    run_spec = spec("qmix", wards="general", recurrent=False) if name == "general" else spec(name)
    TrainingRun.create(tmp_path / "whole", run_spec, gpu).train()
    stop_requests = iter([False, False, False, True])
    assert TrainingRun.create(tmp_path / "parts", run_spec, gpu).train(stop=lambda: next(stop_requests)) == "stopped"
    assert TrainingRun.resume(tmp_path / "parts", gpu).train() == "finished"
    whole, parts = (last_checkpoint(tmp_path / run) for run in ("whole", "parts"))
    assert whole is not None
    assert parts is not None
    for file in (POLICY, LEARNER):
        a, b = load_file(whole / file), load_file(parts / file)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


@on_a_gpu
def test_what_a_gpu_trained_goes_on_and_decides_on_a_cpu(tmp_path: Path) -> None:
    run_spec = spec("sae-mt-qmix")
    stop_requests = iter([False, False, True])
    run = TrainingRun.create(tmp_path / "run", run_spec, device_named("cuda"))
    assert run.train(stop=lambda: next(stop_requests)) == "stopped"
    snapshot = Environment(WARD, world_seeds(0, 0, 3)).snapshot
    last = last_checkpoint(tmp_path / "run")
    assert last is not None
    now, later = (
        TrainedPolicy.from_trainer(run.trainer, run_spec).decide(snapshot),
        TrainedPolicy.load(last).decide(snapshot),
    )
    assert torch.equal(now.choice, later.choice)
    assert torch.equal(now.cpu, later.cpu)
    assert TrainingRun.resume(tmp_path / "run", CPU).train() == "finished"
