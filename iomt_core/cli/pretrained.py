"""`iomt pretrained`: train all shipped policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iomt_core.cli.common import notes
from iomt_core.experiments.paper.pretraining import jobs as pretraining_jobs
from iomt_core.experiments.paper.pretraining import publish, train_all
from iomt_core.experiments.sweeps.executors import executor
from iomt_core.paths import PRETRAINED


def pretrained(
    runs: Annotated[
        Path, typer.Option(help="Directory of the training runs; unfinished ones are continued.", metavar="DIR")
    ] = Path("runs/pretrained"),
    out: Annotated[
        Path, typer.Option(help="Directory for the shipped policies and their manifest.", metavar="DIR")
    ] = PRETRAINED,
    only: Annotated[list[str] | None, typer.Option(help="Only this policy of the plan; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(help="Number of runs at the same time, one core each.", min=1, max=64)] = 2,
    train: Annotated[bool, typer.Option(help="With --no-train, only publish the runs that are finished.")] = True,
) -> None:
    """Train every shipped policy with all its seeds, continuing unfinished runs, and publish the median seed of each."""
    chosen = pretraining_jobs(only or ())
    if train:
        with executor(jobs) as workers:
            train_all(chosen, runs, workers, notes.print)
    publish(chosen, runs, out, notes.print)
    notes.print(f"Written: {out / 'manifest.json'}")
