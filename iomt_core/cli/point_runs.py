"""What the commands `sweep` and `answer` share: they compute the points of a run with a progress bar, and exit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from iomt_core.cli import INTERRUPTED
from iomt_core.cli.common import notes, progress_bar
from iomt_core.experiments.sweeps.point_run import PointRun
from iomt_core.experiments.sweeps.points import Store
from iomt_core.runs.process import StopRequest
from iomt_core.runs.queue import RunQueue

R = TypeVar("R", bound=PointRun[Any])


def compute(
    queue: RunQueue, kind: type[R], folder: Path, store: Store, place: AbstractContextManager[Executor],
    title: Callable[[Any], str], report: Callable[..., str],
) -> tuple[R, str]:  # fmt: skip
    """Computes the run in a folder with a progress bar, and prints the first points that failed. Returns it and its state.

    place: where the points are computed; title: of a spec, before the bar; report: writes the HTML page. Raises
    `ScenarioError`.
    """
    try:
        with queue.working(folder):
            run = kind.resume(folder, store)
            state = _with_bar(run, place, title(run.spec), report)
    except KeyboardInterrupt:  # the second Ctrl-C
        os._exit(INTERRUPTED)
    for failure in run.failures[:5]:
        notes.print(f"failed: {failure}", style="red", highlight=False)
    return run, state


def leave(run: PointRun[Any], state: str) -> NoReturn:
    """Says how to continue a run that is not finished, and exits with the status of its state."""
    code = {"finished": 0, "failed": 1}.get(state, INTERRUPTED)
    if state != "finished":
        notes.print(f"Continue with: iomt {run.spec_file.command} --resume {run.folder}")
    if run.abandoned:  # an ordinary exit would wait for points under way
        os._exit(code)
    sys.exit(code)


def _with_bar(
    run: PointRun[Any], place: AbstractContextManager[Executor], title: str, report: Callable[..., str]
) -> str:
    with progress_bar("{task.fields[latest]}") as progress, StopRequest(run.folder) as stop:
        bar = progress.add_task(title, total=run.spec.count, latest="")

        def on_status(status: Mapping[str, Any]) -> None:
            latest = "stopping" if stop() else f"{status['cached']} known before"
            progress.update(bar, completed=status["done"], total=status["total"], latest=latest)

        with place as pool:
            return run.run(pool, stop, on_status, report)
