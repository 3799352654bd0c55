"""Train and sweep without job signals, with folders that cannot be opened and files that readers lock, as on Windows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Python imports this at the start of every process, workers and members of process pools included.
WITHOUT_POSIX = """
import os, signal

del signal.SIGTSTP, signal.SIGSTOP, os.nice
posix_open = os.open

def open_files_only(path, flags, *more, **options):
    if not isinstance(path, int) and os.path.isdir(path) and not options.get("dir_fd"):
        raise PermissionError(13, "Permission denied", path)
    return posix_open(path, flags, *more, **options)

posix_replace, calls = os.replace, []

def replace_unless_read(source, target):
    calls.append(source)
    if os.path.isfile(source) and len(calls) % 3 == 0:
        raise PermissionError(13, "Permission denied", target)
    posix_replace(source, target)

os.open, os.replace = open_files_only, replace_unless_read
"""
SERVER = """
import time
from iomt_core.experiments.sweeps.run import SWEEPS
from iomt_core.runs.training_run import TRAINING
from tests.experiments.test_sweep import tiny
from tests.runs.test_queue import BRIEF, ENDLESS

def until(queue, name, *states):
    end = time.monotonic() + 200
    while (run := queue.run(name)).state not in states or run.starting:
        assert time.monotonic() < end, run
        time.sleep(0.05)
    return run

TRAINING.create("stopped", ENDLESS)
TRAINING.create("finished", BRIEF)
SWEEPS.create("sweep", tiny(), workers=1)
until(TRAINING, "stopped", "running")
TRAINING.stop("stopped")
until(TRAINING, "stopped", "stopped")
until(TRAINING, "finished", "finished")
assert until(SWEEPS, "sweep", "finished").done == tiny().count
TRAINING.delete("stopped")
assert [run.name for run in TRAINING.runs()] == ["finished"]
"""


def test_train_and_sweep_without_posix(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_POSIX)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "IOMT_WORKERS": "2",
        "IOMT_RUNS": str(tmp_path / "runs"), "IOMT_SWEEPS": str(tmp_path / "sweeps"),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", SERVER], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
