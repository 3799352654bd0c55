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
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings

PACKAGE = Path(iomt_core.__file__).parent
PLAY_AND_LEARN = """
import importlib, json, pkgutil, sys
import iomt_core
from iomt_core.nets.backend import backend_name
from iomt_core.training.run_spec import RunSpec
spec = RunSpec.from_json(json.loads(sys.argv[1]), "the test's run")
print(json.dumps([backend_name(), spec.trainer().advance()]))
for module in pkgutil.walk_packages(iomt_core.__path__, "iomt_core."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
SETTINGS = default_settings("sae-mt-qmix", num_envs=2, episodes=8, warm_up=0, updates=1, replay=4)
SPEC = RunSpec("sae-mt-qmix", PRESETS["lecture"].changed(users=2, tasks=2, T=3), SETTINGS, seed=0)


def test_everything_works_without_the_backends_folder(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "iomt_core", ignore=shutil.ignore_patterns("kernels"))
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PLAY_AND_LEARN, json.dumps(SPEC.as_json())]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with accelerated(False):
        assert json.loads(done.stdout) == [None, SPEC.trainer().advance()]


def test_an_inner_context_cannot_turn_on_what_an_outer_one_turned_off() -> None:
    assert setting() is None
    with accelerated(False), accelerated():
        assert setting() is False
    with accelerated():
        assert setting() is True
    assert setting() is None
