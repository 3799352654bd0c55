"""Keeps the queues moving without a visitor: after a restart of the server, and where a worker was killed."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import cache

from iomt_core.experiments.sweeps.run import SWEEPS
from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import ScenarioError

EVERY = 3.0  # seconds


@cache
def keep_queues_moving() -> None:
    """Starts the thread that does so, once per server."""
    threading.Thread(target=_keep, name="queue-keeper", daemon=True).start()


def _keep() -> None:
    while True:
        for queue in (TRAINING, SWEEPS):
            with contextlib.suppress(ScenarioError):  # the page says what is wrong
                queue.start_waiting()
        time.sleep(EVERY)
