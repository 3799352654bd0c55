"""`iomt sweep`: evaluate policies over one or two parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from iomt_core.charts.sweep_report import report, title
from iomt_core.cli import INTERRUPTED
from iomt_core.cli.common import (
    PlacesOption,
    ScenarioOption,
    WorkloadOption,
    notes,
    print_notes,
    progress_bar,
    scenario_from,
)
from iomt_core.experiments.sweeps.executors import MOST_WORKERS, executor
from iomt_core.experiments.sweeps.points import Store
from iomt_core.experiments.sweeps.run import SWEEPS, Sweep, point_store
from iomt_core.experiments.sweeps.spec import PAPER_AXES, SweepSpec, axis_from_words, sweep_spec, sweepable
from iomt_core.policies.base import SHARES
from iomt_core.runs.process import StopRequest
from iomt_core.scenario import Scenario, ScenarioError, check_known, collect_notes
from iomt_core.training.catalogue import catalogue, default_policy


def sweep(
    scenario: ScenarioOption = "paper",
    over: Annotated[
        list[str] | None,
        typer.Option(
            help="What to vary: NAME=LOW:HIGH:COUNT or NAME=V1,V2,…, in SI units or with a unit (T_max=10ms:40ms:4); :log at "
            f"the end for logarithmic spacing; may be given twice. NAME is one of {', '.join(sweepable())}.",
            metavar="NAME=VALUES",
        ),
    ] = None,
    paper_axis: Annotated[
        str | None, typer.Option(help=f"An axis of the paper's figures: {', '.join(PAPER_AXES)}.")
    ] = None,
    policy: Annotated[list[str] | None, typer.Option(help=f"May be repeated. One of {', '.join(catalogue())}.")] = None,
    episodes: Annotated[int, typer.Option(help="Number of episodes of a point; intervals are over episodes.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the tasks; the seed of the places is the scenario's.")] = 0,
    shares: Annotated[str, typer.Option(help=f"Who decides on shares: {', '.join(SHARES)}.")] = "own",
    out: Annotated[Path | None, typer.Option(help="A new directory for the sweep.", metavar="DIR")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the sweep in this directory.", metavar="DIR")] = None,
    workers: Annotated[
        int | None, typer.Option(help=f"Processes on this machine, 1 to {MOST_WORKERS}; without it 2.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="A dask.distributed scheduler that you trust.", metavar="tcp://HOST:PORT")
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Directory of the store of computed points.", metavar="DIR")
    ] = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Vary one or two parameters; write results.csv, results.parquet and report.html, one row for each point.

    Ctrl-C and SIGTERM stop the sweep and keep its results; --resume continues it. A computed point is never computed again.
    """
    if cluster is not None and workers is not None:
        raise ScenarioError(f"workers = {workers} has no meaning with cluster = {cluster!r}: give one of them.")
    store = Store(points) if points is not None else point_store()
    if resume is not None:
        if out is not None or over or paper_axis or policy or workload is not None or places is not None:
            raise ScenarioError(
                "resume: a sweep continues with its own settings; allowed with it are workers and cluster."
            )
        folder = resume
    else:
        if out is None:
            raise ScenarioError("out is missing: allowed is a directory for the results.")
        s = scenario_from(scenario, workload, places)
        spec = _spec(s, over or [], paper_axis, policy or [], episodes, seed, shares)
        folder = Sweep.create(out, spec, store).folder
    try:
        with SWEEPS.working(folder):
            run = Sweep.resume(folder, store)
            state = _run(run, workers, cluster)
    except KeyboardInterrupt:  # the second Ctrl-C
        os._exit(INTERRUPTED)
    for failure in run.failures[:5]:
        notes.print(f"failed: {failure}", style="red", highlight=False)
    known = f"{len(run.results)} of {run.spec.count} points, {run.cached} of them known before"
    notes.print(f"{state}: {known}. Written: {folder / 'report.html'}, results.csv, results.parquet")
    code = {"finished": 0, "failed": 1}.get(state, INTERRUPTED)
    if state != "finished":
        notes.print(f"Continue with: iomt sweep --resume {folder}")
    if run.abandoned:  # an ordinary exit would wait for points under way
        os._exit(code)
    sys.exit(code)


def _run(run: Sweep, workers: int | None, cluster: str | None) -> str:
    """Compute the sweep with a progress bar. Returns its final state."""
    with progress_bar("{task.fields[latest]}") as progress, StopRequest(run.folder) as stop:
        bar = progress.add_task(title(run.spec), total=run.spec.count, latest="")

        def on_status(status: Mapping[str, Any]) -> None:
            latest = "stopping" if stop() else f"{status['cached']} known before"
            progress.update(bar, completed=status["done"], latest=latest)

        with executor(workers, cluster) as pool:
            return run.run(pool, stop, on_status, report)


def _spec(
    scenario: Scenario,
    over: list[str],
    paper_axis: str | None,
    policies: list[str],
    episodes: int,
    seed: int,
    shares: str,
) -> SweepSpec:
    with collect_notes() as found:
        axes = [axis_from_words(words) for words in over]
    print_notes(found)
    if paper_axis is not None:
        check_known("paper-axis", paper_axis, PAPER_AXES)
        axes.insert(0, PAPER_AXES[paper_axis])
    if not axes:
        raise ScenarioError("over is missing: allowed is NAME=VALUES once or twice, or --paper-axis.")
    return sweep_spec(
        {
            "scenario": scenario, "axes": axes, "policies": policies or [default_policy(), "price-response", "optimum"],
            "episodes": episodes, "seed": seed, "shares": shares,
        }
    )  # fmt: skip
