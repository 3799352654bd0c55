"""What the Train, Sweep and Answers pages share: durations as text, and a thread that starts waiting runs."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import cache

from iomt_core.experiments.answers.run import ANSWERS
from iomt_core.experiments.sweeps.run import SWEEPS
from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import ScenarioError

EVERY = 3.0  # seconds


def clock(seconds: float) -> str:
    """A duration as text, such as "5 min 02 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@cache
def keep_queues_moving() -> None:
    """Starts a thread, once per server, that starts waiting runs after a restart and where a worker was killed."""
    threading.Thread(target=_keep, name="queue-keeper", daemon=True).start()


def _keep() -> None:
    while True:
        for queue in (TRAINING, SWEEPS, ANSWERS):
            with contextlib.suppress(ScenarioError):  # the page says what is wrong
                queue.start_waiting()
        time.sleep(EVERY)
