"""Networks do not need their accelerated backend, and no module but the backend itself knows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import iomt_core
from iomt_core.nets.backend import accelerated, setting

PACKAGE = Path(iomt_core.__file__).parent
PLAY_AND_LEARN = """
import importlib, json, pkgutil, sys
import iomt_core
for module in pkgutil.walk_packages(iomt_core.__path__, "iomt_core."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from iomt_core.nets.backend import accelerated, backend_name
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings
settings = default_settings("sae-mt-qmix", num_envs=2, episodes=8, warm_up=0, updates=1, replay=4)
ward = PRESETS["lecture"].changed(users=2, tasks=2, T=3)
with accelerated(sys.argv[1] == "on"):
    print(json.dumps([backend_name(), RunSpec("sae-mt-qmix", ward, settings, 0).trainer().advance()]))
"""


def play_and_learn(place: Path, on: str) -> tuple[str | None, dict[str, float]]:
    env = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PLAY_AND_LEARN, on]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    name, seen = json.loads(done.stdout)
    return name, seen


def test_everything_works_without_the_backends_folder(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "iomt_core", ignore=shutil.ignore_patterns("kernels"))
    name, without = play_and_learn(tmp_path, "on")
    assert name is None
    assert without == play_and_learn(PACKAGE.parent, "off")[1]


def test_an_inner_context_cannot_turn_on_what_an_outer_one_turned_off() -> None:
    assert setting() is None
    with accelerated(False), accelerated():
        assert setting() is False
    with accelerated():
        assert setting() is True
    assert setting() is None
