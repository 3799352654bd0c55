"""`iomt coupled`: what learning is worth on wards whose steps are coupled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iomt_core.cli import INTERRUPTED
from iomt_core.cli.common import notes
from iomt_core.cli.options import WorkersOption
from iomt_core.cli.run_files import AgainOption, TimeLimitOption, compute_missing, only_one, seconds_allowed
from iomt_core.experiments.coupled.runs import SEEDS, compute, planned, read_results
from iomt_core.experiments.coupled.table import comparison_table, gap_table, price_table
from iomt_core.experiments.coupled.wards import ARMS, WARDS
from iomt_core.experiments.run_files import durations, pending
from iomt_core.experiments.sweeps.executors import checked_workers, default_workers
from iomt_core.paths import COUPLED_STEPS
from iomt_core.scenario import check_known


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
    time_limit: TimeLimitOption = None,
    seeds: Annotated[int, typer.Option(help="Training seeds of each run.")] = SEEDS,
    again: AgainOption = False,
    list_: Annotated[bool, typer.Option("--list", help="Only show the tables and say what is missing.")] = False,
) -> None:
    """Train on six wards whose steps are coupled, and compare with formulas, the optimum and networks that ignore coupling.

    Each run is one file, so the command can be stopped at any time and continues where it was; runs under way begin again. Files
    of another machine may be copied into the directory.
    """
    seconds = seconds_allowed(time_limit)
    for name in ward or ():
        check_known("ward", name, WARDS)
    for name in arm or ():
        check_known("arm", name, ARMS)
    runs = planned(seeds, [WARDS[name] for name in ward or WARDS], [ARMS[name] for name in arm or ARMS])
    stopped = False
    if not list_:
        count = checked_workers(default_workers() if workers is None else workers)
        out.mkdir(parents=True, exist_ok=True)
        with only_one(out, "coupled"):
            results = read_results(out)
            missing = pending(runs, results, again)
            stopped = compute_missing("Coupled steps", missing, out, count, seconds, compute, durations(results))
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
