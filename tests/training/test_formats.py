"""Runs and checkpoints of an older format are read; those of an unknown one are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.checkpoints import LEARNER, MARK, POLICY, last_checkpoint
from iomt_core.training.run_spec import RunSpec, default_settings

# The settings of pretrained/lab-qmix as format 1 had them.
FORMAT_1 = json.loads("""{
  "episodes": 2560, "wards": "lab", "worlds": 32, "updates": 8, "learn_every": "episode", "batch": 8, "replay": 2048,
  "warm_up": 32, "gamma": 0.0, "recurrent": false, "credit": "what-if", "team_weight": 0.1, "together": 0.8,
  "learning_rate": 0.0005, "actor_learning_rate": 5e-05, "tau": 0.005, "clip": 10.0, "decay_from": 0.3,
  "temperature": [0.01, 0.005], "random": 0.005, "share_noise": [0.1, 0.05], "rounds": 4, "actor_every": 2, "hold": 1.0,
  "blur": 0.0, "saturation": 0.0, "evaluate_every": 320, "checkpoint_every": 320
}""")
WARD = PRESETS["lecture"].changed(users=2, tasks=2, servers=2, T=4)
SHORT = {"episodes": 32, "num_envs": 8, "updates": 1, "batch": 2, "replay": 16, "warm_up": 8, "checkpoint_every": 16}
# How agents decided before format 3, of which their settings say nothing.
BEFORE = {
    "search": "cyclic", "own_cpu": "requested", "first_choice": "round-robin", "margins": (0.03, -0.02), "ward_count": 4,
}  # fmt: skip


def facts(**changes: object) -> dict[str, object]:
    return {
        **RunSpec("qmix", WARD, default_settings("qmix"), 0).as_json(),
        "settings": FORMAT_1,
        "format": 1,
        **changes,
    }


def test_settings_of_format_1_are_read() -> None:
    read = RunSpec.from_json(facts(), "here").settings
    assert read.model_dump(mode="json") == {
        "episodes": 2560, "networks": "general", "wards": "general", "num_envs": 32, "updates": 8,
        "learn_every": "episode", "batch": 8, "replay": 2048, "warm_up": 32, "gamma": 0.0, "recurrent": False,
        "critic_target": "counterfactual", "team_weight": 0.1,
        "parameter_tying": 0.8, "learning_rate": 0.0005, "actor_learning_rate": 5e-05, "tau": 0.005,
        "clip": 10.0, "decay_from": 0.3, "temperature": [0.01, 0.005], "epsilon": 0.005, "share_noise": [0.1, 0.05],
        "rounds": 4, "actor_every": 2, "actor_passes": "all", "request_penalty": 1.0, "action_smoothing": 0.0,
        "saturation_penalty": 0.0, "evaluate_every": 320, "checkpoint_every": 320,
        "search": "cyclic", "own_cpu": "requested", "first_choice": "round-robin", "margins": [0.01, 0.0], "ward_count": 4,
        "coupled_steps": False,
        "recent_prices": False,
    }  # fmt: skip
    by_letter = {**FORMAT_1, "wards": "own", "credit": "own", "rounds": 0}
    assert RunSpec.from_json(facts(settings=by_letter), "here").settings.critic_target == "observed"


@pytest.mark.parametrize(
    ("number", "said"), [(4, "format = 4 is not known: allowed is 1 or 2 or 3"), (2, "worlds = 32"), (3, "worlds = 32")]
)
def test_other_formats_and_mixed_names_are_refused(number: int, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        RunSpec.from_json(facts(format=number), "here")


def test_a_run_of_format_1_resumes_bit_for_bit(tmp_path: Path) -> None:
    """It decides and learns as at its time, not by today's defaults."""
    spec = RunSpec("qmix", WARD, default_settings("qmix", **SHORT, **BEFORE), seed=1)
    TrainingRun.create(tmp_path / "whole", spec).train()
    stop_requests = iter([False, False, True])
    assert TrainingRun.create(tmp_path / "old", spec).train(stop=lambda: next(stop_requests)) == "stopped"
    _age(tmp_path / "old")
    assert TrainingRun.resume(tmp_path / "old").train() == "finished"
    whole, old = last_checkpoint(tmp_path / "whole"), last_checkpoint(tmp_path / "old")
    assert whole is not None
    assert old is not None
    assert all((whole / file).read_bytes() == (old / file).read_bytes() for file in (POLICY, LEARNER))


def _age(run: Path) -> None:
    """Rewrites a run as format 1 had it."""
    names = {"num_envs": "worlds", "critic_target": "credit", "parameter_tying": "together", "epsilon": "random",
             "request_penalty": "hold", "action_smoothing": "blur", "saturation_penalty": "saturation"}  # fmt: skip
    last = last_checkpoint(run)
    assert last is not None
    tensors = load_file(last / LEARNER)
    save_file({name.replace("replay/requested", "replay/asked"): x for name, x in tensors.items()}, last / LEARNER)
    for path in (run / "run.json", last / MARK):
        saved = json.loads(path.read_text())
        settings = {names.get(name, name): value for name, value in saved["settings"].items() if name not in BEFORE}
        saved |= {"settings": {**settings, "credit": "what-if"}}
        if path.name == MARK:
            saved |= {
                "format": 1,
                "sha256": {**saved["sha256"], LEARNER: hashlib.sha256((last / LEARNER).read_bytes()).hexdigest()},
            }
        else:
            del saved["format"]
        path.write_text(json.dumps(saved))
