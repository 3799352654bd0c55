"""Moves the queue of training runs on while nobody looks: after a restart, and where a worker was killed."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import cache

from iomt_core.runs.jobs import start_waiting
from iomt_core.scenario import ScenarioError

EVERY = 3.0  # seconds


@cache
def keep_queue_moving() -> None:
    """Begins to, once in this server's process."""
    threading.Thread(target=_keep, name="queue-keeper", daemon=True).start()


def _keep() -> None:
    while True:
        with contextlib.suppress(ScenarioError, OSError):  # the Train page says what is wrong
            start_waiting()
        time.sleep(EVERY)
