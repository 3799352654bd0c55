"""Runs that start from the shipped general network: where they begin, that they resume, and where none fits."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments.training_check import Evaluator
from iomt_core.runs.directory import read_json, read_lines
from iomt_core.runs.training_run import EVALUATIONS, SPEC, TrainingRun
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.catalogue import make_policy
from iomt_core.training.checkpoints import LEARNER, POLICY, last_checkpoint, write_checkpoint
from iomt_core.training.run_spec import RunSpec, settings_for
from iomt_core.training.start import Start, why_from_scratch
from iomt_core.training.trained_policy import TrainedPolicy

WARD = PRESETS["lecture"].changed(users=2, tasks=3, servers=2, T=5)
SHORT = {"episodes": 24, "num_envs": 4, "updates": 2, "batch": 2, "replay": 16, "warm_up": 8, "evaluate_every": 8}


def warm_spec() -> RunSpec:
    start = Start.general("sae-mt-qmix")
    return RunSpec("sae-mt-qmix", WARD, settings_for("sae-mt-qmix", start, SHORT), 3, start)


def test_its_curve_begins_at_the_general_network_and_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    spec, evaluator = warm_spec(), Evaluator(WARD)

    def train(run: TrainingRun, stops: list[bool]) -> str:
        requests = iter(stops)
        return run.train(
            stop=lambda: next(requests, False),
            evaluate=lambda trainer: evaluator.evaluate_run(TrainedPolicy.from_trainer(trainer, spec)),
        )

    assert train(TrainingRun.create(tmp_path / "whole", spec), []) == "finished"
    assert train(TrainingRun.create(tmp_path / "parts", spec), [False, False, False, True]) == "stopped"
    assert train(TrainingRun.resume(tmp_path / "parts"), []) == "finished"
    whole, parts = (last_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole is not None
    assert parts is not None
    for file in (POLICY, LEARNER):
        assert (whole / file).read_bytes() == (parts / file).read_bytes()

    lines = list(read_lines(tmp_path / "parts" / EVALUATIONS))
    assert [line["episodes"] for line in lines] == [0, 8, 16, 24]
    shipped = evaluator.evaluate(make_policy("sae-mt-qmix@general", WARD))
    assert lines[0]["cost"] == pytest.approx(shipped["cost"])
    assert lines[-1]["cost"] != lines[0]["cost"]
    facts = read_json(tmp_path / "whole" / SPEC)
    assert facts is not None
    assert facts["start"]["checkpoint"] == "general-sae-mt-qmix"
    assert len(facts["start"]["sha256"]) == 64
    # Its network is still a general one.
    other = PRESETS["paper"].changed(users=4)
    assert Evaluator(other, 1).evaluate(TrainedPolicy.load(whole, other))["gap"] > 0


def test_where_no_general_network_fits_a_run_says_why_and_starts_from_scratch(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no general network of 'mpmt-dqn' is included, only of qmix, sae-mt-qmix"):
        Start.general("mpmt-dqn")
    sets = [word for name, value in (SHORT | {"episodes": 4}).items() for word in ("--set", f"{name}={value}")]
    words = ["train", "--algorithm", "mpmt-dqn", "--scenario", "lecture", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(application(), [*words, "--start-from", "general", *sets], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "The run starts from scratch" in done.output
    assert (read_json(tmp_path / "run" / SPEC) or {})["start"] is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [({}, ""), ({"coupled_steps": True}, "coupled_steps = True"), ({"rounds": 0}, "rounds = 0"), ({"gamma": 0.5}, "")],
)
def test_settings_that_the_general_network_does_not_allow_are_named(changes: dict[str, object], word: str) -> None:
    reason = why_from_scratch("sae-mt-qmix", changes)
    assert reason == (f"the general network does not allow {word}" if word else "")


def test_another_shipped_network_than_the_runs_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = warm_spec()
    assert spec.start is not None
    monkeypatch.setattr("iomt_core.training.start.PRETRAINED", tmp_path)
    with pytest.raises(ScenarioError, match="'general-sae-mt-qmix' is not known"):
        spec.trainer()
    place = tmp_path / "general-sae-mt-qmix"
    facts = {k: v for k, v in spec.as_json().items() if k != "format"}
    write_checkpoint(
        place, {POLICY: {"agents/x": next(iter(spec.untrained().learner.agents.parameters())).detach()}}, facts
    )
    with pytest.raises(ScenarioError, match="has changed since this run was made"):
        spec.trainer()
