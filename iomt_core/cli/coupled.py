"""`iomt coupled`: what learning is worth on wards whose steps are coupled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iomt_core.cli import INTERRUPTED
from iomt_core.cli.common import notes, progress_bar
from iomt_core.cli.options import WorkersOption
from iomt_core.experiments.coupled.runs import SEEDS, Run, compute, durations, pending, planned, read_results
from iomt_core.experiments.coupled.table import comparison_table, gap_table, price_table
from iomt_core.experiments.coupled.wards import ARMS, WARDS
from iomt_core.experiments.paper.figure_runs import compute_all
from iomt_core.experiments.sweeps.executors import checked_workers, default_workers, executor
from iomt_core.paths import COUPLED_STEPS
from iomt_core.runs.process import StopRequest
from iomt_core.runs.worker import file_lock
from iomt_core.scenario import ScenarioError, check_known

LOCK = ".lock"
MOST_MINUTES = 100_000.0


def coupled(
    out: Annotated[
        Path, typer.Option(help="Directory of the results; what is there is not computed again.", metavar="DIR")
    ] = COUPLED_STEPS,
    ward: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this ward; may be repeated. One of {', '.join(WARDS)}.", metavar="WARD"),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this arm; may be repeated. One of {', '.join(ARMS)}.", metavar="ARM"),
    ] = None,
    workers: WorkersOption = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Stop after so many minutes. A run that would not end in time is not begun.", metavar="MINUTES"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds of each run.")] = SEEDS,
    again: Annotated[
        bool, typer.Option("--again", help="Repeat also runs that another version of the code has made.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only show the tables and say what is missing.")] = False,
) -> None:
    """Train on six wards whose steps are coupled, and compare with formulas, the optimum and networks that ignore coupling.

    Each run is one file, so the command can be stopped at any time and continues where it was; runs under way begin again. Files
    of another machine may be copied into the directory.
    """
    if time_limit is not None and not 0 < time_limit <= MOST_MINUTES:
        raise ScenarioError(f"time-limit = {time_limit:g} is out of range: allowed is more than 0 to {MOST_MINUTES:g}.")
    for name in ward or ():
        check_known("ward", name, WARDS)
    for name in arm or ():
        check_known("arm", name, ARMS)
    runs = planned(seeds, [WARDS[name] for name in ward or WARDS], [ARMS[name] for name in arm or ARMS])
    stopped = False
    if not list_:
        count = checked_workers(default_workers() if workers is None else workers)
        out.mkdir(parents=True, exist_ok=True)
        busy = f"out = {str(out)!r} is being worked on by another `iomt coupled`."
        with file_lock(out / LOCK, 1.0, busy, f"out = {str(out)!r} cannot be locked"):
            missing = pending(runs, read_results(out), again)
            stopped = _compute(missing, out, count, (time_limit or MOST_MINUTES) * 60) if missing else False
    results = read_results(out)
    for title, frame in (
        ("Gap in %, ± half the 95 % interval over seeds", gap_table(results, labels=False)),
        ("SAE-MT-QMIX", comparison_table(results)),
        ("Price of a joule, 1/J", price_table(results)),
    ):
        table = Table(*map(str, frame), title=title)
        for row in frame.itertuples(index=False):
            table.add_row(*map(str, row))
        notes.print(table)
    missing = pending(runs, results)
    left = sum(run.seconds(durations(results)) for run in missing)
    notes.print(f"{len(runs) - len(missing)} of {len(runs)} runs are done. Results: {out}", soft_wrap=True)
    if missing:
        notes.print(f"The same command continues; about {left / 3600:.1f} core-hours are left.")
    if stopped:
        raise typer.Exit(INTERRUPTED)


def _compute(runs: Sequence[Run], out: Path, workers: int, seconds: float) -> bool:
    """Computes the runs with a progress bar. Returns whether a person has stopped it."""
    known = durations(read_results(out))
    with progress_bar("{task.fields[left]}") as bar, StopRequest(out) as stop, executor(workers) as pool:
        task = bar.add_task("Coupled steps", total=len(runs), left="")
        for event in compute_all(runs, out, pool, workers, stop, seconds, compute, known):
            bar.update(task, advance=1, left=f"about {event.seconds_left / 60:.0f} min left")
            if event.error:
                bar.console.print(f"failed: {event.run.file}: {event.error}", style="red", highlight=False)
        return stop()
