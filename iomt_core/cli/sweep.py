"""`python -m iomt_core sweep`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from iomt_core.charts.sweep_report import title
from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, print_notes, scenario_from
from iomt_core.experiments.sweeps.executors import MOST_WORKERS, executor
from iomt_core.experiments.sweeps.jobs import store
from iomt_core.experiments.sweeps.points import Store
from iomt_core.experiments.sweeps.run import Sweep
from iomt_core.experiments.sweeps.spec import PAPER_AXES, SweepSpec, axis_from_words, sweep_spec, sweepable
from iomt_core.policies.base import SHARES
from iomt_core.runs.process import StopSignal
from iomt_core.scenario import Scenario, ScenarioError, collect_notes
from iomt_core.training.catalogue import catalogue


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
    episodes: Annotated[int, typer.Option(help="Episodes of a point; bands are over them.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the episodes; the layout's stands in the scenario.")] = 0,
    shares: Annotated[str, typer.Option(help=f"Whose shares: {', '.join(SHARES)}.")] = "own",
    out: Annotated[Path | None, typer.Option(help="Directory of the sweep; a new one.", metavar="DIR")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the sweep in this directory.", metavar="DIR")] = None,
    workers: Annotated[
        int | None, typer.Option(help=f"Processes on this machine, 1 to {MOST_WORKERS}; 2 unless told.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="A dask.distributed scheduler that you trust.", metavar="tcp://HOST:PORT")
    ] = None,
    points: Annotated[Path | None, typer.Option(help="Where computed points are kept.", metavar="DIR")] = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Vary one or two parameters; write results.csv, results.parquet and report.html, one row a point.

    Ctrl-C and SIGTERM cancel and keep what is done, --resume goes on. A point that was ever computed is not computed again.
    """
    if cluster is not None and workers is not None:
        raise ScenarioError(f"workers = {workers} has no meaning beside cluster = {cluster!r}: give one of them.")
    kept = Store(points) if points is not None else store()
    if resume is not None:
        if out is not None or over or paper_axis or policy or workload is not None or places is not None:
            raise ScenarioError(
                "resume: a sweep is taken up as it was begun; allowed beside it are workers and cluster."
            )
        run = Sweep.resume(resume, kept)
    else:
        if out is None:
            raise ScenarioError("out is missing: allowed is a directory for the results.")
        run = Sweep.create(
            out,
            _spec(
                scenario_from(scenario, workload, places), over or [], paper_axis, policy or [], episodes, seed, shares
            ),
            kept,
        )
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[latest]}"),
    )  # fmt: skip
    with Progress(*columns, console=notes) as progress, StopSignal() as stop:
        bar = progress.add_task(title(run.spec), total=run.spec.count, latest="")

        def told(status: Mapping[str, Any]) -> None:
            words = {"cancelling": "stopping"}.get(status["state"], "")
            progress.update(bar, completed=status["done"], latest=words or f"{status['cached']} known before")

        with executor(workers, cluster) as found:
            try:
                state = run.go(found, stop, told)
                if run.abandoned:  # the pool would wait for points under way; without this process its own end at once
                    progress.stop()
                    _tell(run, state, leave=os._exit)
            except KeyboardInterrupt:  # the second Ctrl-C: do not wait for the points under way
                os._exit(130)
    _tell(run, state)


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
        if paper_axis not in PAPER_AXES:
            raise ScenarioError(f"paper-axis = {paper_axis!r} is not known: allowed is {', '.join(PAPER_AXES)}.")
        axes.insert(0, PAPER_AXES[paper_axis])
    if not axes:
        raise ScenarioError("over is missing: allowed is NAME=VALUES once or twice, or --paper-axis.")
    return sweep_spec(
        {
            "scenario": scenario, "axes": axes, "policies": policies or ["optimum", "price-response"],
            "episodes": episodes, "seed": seed, "shares": shares,
        }
    )  # fmt: skip


def _tell(run: Sweep, state: str, leave: Callable[[int], Any] = sys.exit) -> None:
    for failure in run.failures[:5]:
        notes.print(f"failed: {failure}", style="red", highlight=False)
    for line in _networks(run):
        notes.print(line)
    known = f"{len(run.results)} of {run.spec.count} points, {run.cached} of them known before"
    notes.print(f"{state}: {known}. Written: {run.place / 'report.html'}, results.csv, results.parquet")
    if state != "finished":
        notes.print(f"Go on with: python -m iomt_core sweep --resume {run.place}")
        leave(1 if state == "failed" else 130)


def _networks(run: Sweep) -> Iterator[str]:
    """Yield, for every policy that several networks decided for, how many points each of them has."""
    for policy in run.spec.policies:
        found = Counter(r["network"] for (_, name), r in run.results.items() if name == policy and r.get("network"))
        if len(found) > 1:
            parts = ", ".join(f"{network} at {count} points" for network, count in found.most_common())
            yield f"{policy} was decided by {parts}: compare points of one network only."
