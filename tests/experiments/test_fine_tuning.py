"""A run from a shipped network says at its end whether it is better than its start, and the better of both decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.fine_tuning import BEST, START, FineTuning, StartComparison
from iomt_core.experiments.run_length import POINTS, with_length
from iomt_core.experiments.training_check import RUN_HELD_OUT, Evaluator
from iomt_core.metrics import METRICS
from iomt_core.runs.directory import read_json, read_lines, read_status
from iomt_core.runs.training_run import EVALUATIONS, SPEC, TrainingRun
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.catalogue import make_policy
from iomt_core.training.checkpoints import KEPT, POLICY, read_facts
from iomt_core.training.run_spec import RunSpec, settings_for
from iomt_core.training.start import Start
from iomt_core.training.trained_policy import TrainedPolicy
from iomt_core.training.trainer import Trainer

WARD = PRESETS["lecture"].changed(users=2, tasks=3, servers=2, T=5)
SHORT = {"episodes": 24, "num_envs": 4, "updates": 2, "batch": 2, "replay": 16, "warm_up": 8, "evaluate_every": 8}


def spec(**changes: object) -> RunSpec:
    start = Start.general("sae-mt-qmix")
    return RunSpec("sae-mt-qmix", WARD, settings_for("sae-mt-qmix", start, {**SHORT, **changes}), 3, start)


def test_a_run_that_spoils_its_network_keeps_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, words, lines and the policy of the run's name agree, also for a run that was stopped on the way."""
    monkeypatch.setenv("IOMT_RUNS", str(tmp_path))
    held_out = Evaluator(WARD, 8, RUN_HELD_OUT)

    def train(run: TrainingRun, stops: Sequence[bool] = ()) -> None:
        tuning, requests = FineTuning(run.folder, run.spec, held_out), iter(stops)

        def evaluate(trainer: Trainer) -> dict[str, Any]:
            policy = TrainedPolicy.from_trainer(trainer, run.spec)
            return {**held_out.evaluate_run(policy), **tuning.evaluate(trainer, policy)}

        def conclude() -> str:
            found = tuning.conclude()
            assert found is not None
            return found.words

        run.train(lambda: next(requests, False), evaluate, conclude=conclude)

    harmful = spec(learning_rate=0.3, actor_learning_rate=0.3, tau=1.0)
    train(TrainingRun.create(tmp_path / "whole", harmful))
    train(TrainingRun.create(tmp_path / "parts", harmful), [False, False, False, True])
    assert not (tmp_path / "parts" / KEPT).exists()
    train(TrainingRun.resume(tmp_path / "parts"))

    words = {read_status(tmp_path / name)["conclusion"] for name in ("whole", "parts")}
    assert len(words) == 1
    assert re.match(
        r"(Worse than|Not distinguishable from) its start: gap to the bound, .* The start is kept\.", words.pop()
    )
    weights = {name: load_file(tmp_path / "parts" / name / POLICY) for name in (START, BEST, KEPT)}
    assert all(bool((weights[KEPT][name] == tensor).all()) for name, tensor in weights[START].items())
    assert any(bool((weights[BEST][name] != tensor).any()) for name, tensor in weights[START].items())
    lines = list(read_lines(tmp_path / "parts" / EVALUATIONS))
    assert [line["episodes"] for line in lines] == [0, 8, 16, 24]
    tuning = {line["episodes"]: line["tuning"] for line in lines if line["episodes"]}
    for name in ("whole", "parts"):
        assert read_facts(tmp_path / name / BEST)["played"] == min(tuning, key=lambda n: tuning[n])
    shipped, kept = (held_out.evaluate(make_policy(name, WARD)) for name in ("sae-mt-qmix", "run:parts"))
    assert kept == pytest.approx(shipped)
    assert kept["gap"] == pytest.approx(lines[0]["gap"])


def test_the_words_say_what_the_interval_permits() -> None:
    start = tuple(0.03 + 0.001 * (n % 2) for n in range(20))
    noise = tuple(0.0005 * (1 if n % 2 else -1) for n in range(20))

    def words(shift: float) -> str:
        best = tuple(x + shift + y for x, y in zip(start, noise, strict=True))
        return StartComparison(Paired(METRICS["gap"], start, best), 96).words

    better = words(-0.01)
    assert better.startswith(
        "Better than its start: gap to the bound, mean of 20 held-out episodes, 2.05 % after 96 training episodes, "
        "3.05 % before; difference -1.00 percentage points, 95 % interval "
    )
    assert better.endswith("The weights after 96 episodes are used.")
    assert words(0.01).startswith("Worse than its start: ")
    assert words(0.0).startswith("Not distinguishable from its start: ")
    assert all(words(shift).endswith("The start is kept.") for shift in (0.0, 0.01))
    same = StartComparison(Paired(METRICS["gap"], start, start), 96)
    assert not same.better
    assert same.words == "The run decides exactly as its start does, which is kept."


def test_a_time_chooses_a_number_of_episodes_and_nothing_else() -> None:
    run = spec(episodes=320)
    short, long = (with_length(run, seconds, fixed={"checkpoint_every": 7}) for seconds in (5, 60))
    for found in (short, long):
        settings = found.settings
        assert settings.episodes % settings.num_envs == 0
        assert POINTS // 2 < settings.episodes / settings.evaluate_every <= POINTS
        assert settings.checkpoint_every == 7
        same = {name: getattr(run.settings, name) for name in ("episodes", "evaluate_every", "checkpoint_every")}
        assert replace(found, settings=settings.model_copy(update=same)) == run
    assert 3 < long.settings.episodes / short.settings.episodes < 60
    with pytest.raises(ScenarioError, match="seconds = 2 is out of range: allowed is 5 to 86400"):
        with_length(run, 2)


def test_the_command_fine_tunes_unless_that_is_impossible(tmp_path: Path) -> None:
    def train(name: str, *words: str) -> tuple[str, dict[str, object]]:
        sets = [x for key, value in (SHORT | {"episodes": 4}).items() for x in ("--set", f"{key}={value}")]
        command = ["train", "--algorithm", "sae-mt-qmix", "--scenario", "lecture", "--out", str(tmp_path / name)]
        done = CliRunner().invoke(application(), [*command, *sets, *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output, read_json(tmp_path / name / SPEC) or {}

    output, facts = train("default")
    assert facts["start"] is not None
    assert (tmp_path / "default" / KEPT).is_dir()
    assert "held-out episodes" in " ".join(output.split()) or "exactly as its start" in " ".join(output.split())
    output, facts = train("own", "--set", "networks=own")
    assert "starts from scratch: the general network does not allow networks = 'own'" in " ".join(output.split())
    assert facts["start"] is None
    both = ["train", "--algorithm", "qmix", "--out", str(tmp_path / "x"), "--seconds", "60", "--set", "episodes=5"]
    assert "seconds = 60 cannot be used with episodes = 5" in str(CliRunner().invoke(application(), both).exception)
