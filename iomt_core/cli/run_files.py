"""What the commands `paper` and `coupled` share: options, and computing the runs that are missing with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from iomt_core.cli.common import progress_bar
from iomt_core.experiments.run_files import R, compute_all
from iomt_core.experiments.sweeps.executors import executor
from iomt_core.runs.process import StopRequest
from iomt_core.runs.worker import file_lock
from iomt_core.scenario import ScenarioError

LOCK = ".lock"
MOST_MINUTES = 100_000.0

TimeLimitOption = Annotated[
    float | None,
    typer.Option(help="Stop after so many minutes. A run that would not end in time is not begun.", metavar="MINUTES"),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Repeat also runs that another version of the code has made.")
]


def seconds_allowed(time_limit: float | None) -> float:
    """The time limit in s, from minutes; None: `MOST_MINUTES`. Raises `ScenarioError`."""
    if time_limit is not None and not 0 < time_limit <= MOST_MINUTES:
        raise ScenarioError(f"time-limit = {time_limit:g} is out of range: allowed is more than 0 to {MOST_MINUTES:g}.")
    return (time_limit or MOST_MINUTES) * 60


@contextmanager
def only_one(out: Path, command: str) -> Iterator[None]:
    """Lets one command at a time work on a directory. Raises `ScenarioError` if another does."""
    busy = f"out = {str(out)!r} is being worked on by another `iomt {command}`."
    with file_lock(out / LOCK, 1.0, busy, f"out = {str(out)!r} cannot be locked"):
        yield


def compute_missing(
    title: str,
    runs: Sequence[R],
    out: Path,
    workers: int,
    seconds: float,
    work: Callable[[R, Path], dict[str, Any]],
    known: Mapping[Any, float],
) -> bool:
    """Computes the runs with a progress bar, see `compute_all`. Returns whether a person has stopped it."""
    if not runs:
        return False
    with progress_bar("{task.fields[left]}") as bar, StopRequest(out) as stop, executor(workers) as pool:
        task = bar.add_task(title, total=len(runs), left="")
        for event in compute_all(runs, out, pool, workers, work, known, stop, seconds):
            bar.update(task, advance=1, left=f"about {_duration(event.seconds_left)} left")
            if event.error:
                bar.console.print(f"failed: {event.run.file}: {event.error}", style="red", highlight=False)
        return stop()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
