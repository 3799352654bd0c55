"""`iomt pretrained`: train every shipped policy, and ship it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from iomt_core.cli.common import notes
from iomt_core.experiments.paper.pretraining import Job, publish, train_all
from iomt_core.experiments.paper.pretraining import jobs as pretraining_jobs
from iomt_core.training.catalogue import PRETRAINED


def pretrained(
    runs: Annotated[Path, typer.Option(help="Where the runs stand, and are taken up.", metavar="DIR")] = Path(
        "runs/pretrained"
    ),
    out: Annotated[
        Path, typer.Option(help="Where the shipped policies and their manifest go.", metavar="DIR")
    ] = PRETRAINED,
    only: Annotated[list[str] | None, typer.Option(help="One of the plan's policies; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(help="How many to train at once, a core each.", min=1, max=64)] = 2,
    train: Annotated[bool, typer.Option(help="Without: ship the runs that are finished.")] = True,
) -> None:
    """Train every shipped policy from all its seeds, going on where it was left, and ship the median seed of each."""
    chosen = pretraining_jobs(only or ())
    if train:
        _train_all(chosen, runs, jobs)
    publish(chosen, runs, out, notes.print)
    notes.print(f"Written: {out / 'manifest.json'}")


def _train_all(chosen: Sequence[Job], runs: Path, jobs: int) -> None:
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as executor:
        train_all(chosen, runs, executor, notes.print)
