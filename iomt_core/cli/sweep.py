"""`iomt sweep`: evaluate policies over one or two parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iomt_core.charts.sweep_report import report, title
from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, print_notes, scenario_from
from iomt_core.cli.options import ClusterOption, SeedOption, SharesOption, WorkersOption, check_place, policy_help
from iomt_core.cli.point_runs import compute, leave
from iomt_core.experiments.sweeps.executors import executor
from iomt_core.experiments.sweeps.points import Store
from iomt_core.experiments.sweeps.run import SWEEPS, Sweep, point_store
from iomt_core.experiments.sweeps.spec import PAPER_AXES, SweepSpec, axis_from_words, sweep_spec, sweepable
from iomt_core.scenario import Scenario, ScenarioError, check_known, collect_notes
from iomt_core.training.catalogue import default_policy
from iomt_core.twin.management.registry import resolve


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
    policy: Annotated[list[str] | None, typer.Option(help=f"May be repeated. {policy_help()}")] = None,
    episodes: Annotated[int, typer.Option(help="Number of episodes of a point; intervals are over episodes.")] = 5,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    out: Annotated[Path | None, typer.Option(help="A new directory for the sweep.", metavar="DIR")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the sweep in this directory.", metavar="DIR")] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    points: Annotated[
        Path | None, typer.Option(help="Directory of the store of computed points.", metavar="DIR")
    ] = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Vary one or two parameters; write results.csv, results.parquet and report.html, one row for each point.

    Ctrl-C and SIGTERM stop the sweep and keep its results; --resume continues it. A computed point is never computed again.
    """
    check_place(workers, cluster)
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
        spec = _spec(s, over or [], paper_axis, [resolve(name, s) for name in policy or []], episodes, seed, shares)
        print_notes(spec.notes)
        folder = Sweep.create(out, spec, store).folder
    run, state = compute(SWEEPS, Sweep, folder, store, executor(workers, cluster), title, report)
    known = f"{len(run.results)} of {run.spec.count} points, {run.cached} of them known before"
    notes.print(f"{state}: {known}. Written: {folder / 'report.html'}, results.csv, results.parquet")
    leave(run, state)


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
