"""`iomt evaluate`: how good a policy is on a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, scenario_from
from iomt_core.experiments.evaluation import evaluate as run_evaluation
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.policies.base import SHARES
from iomt_core.training.catalogue import catalogue


def evaluate(
    scenario: ScenarioOption,
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(catalogue())}.")],
    out: Annotated[Path, typer.Option(help="Directory for summary.json and decisions.parquet.", metavar="DIR")],
    episodes: Annotated[int, typer.Option(help="How many episodes.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the tasks; the layout's stands in the scenario.")] = 0,
    shares: Annotated[str, typer.Option(help=f"Whose shares: {', '.join(SHARES)}.")] = "own",
    csv: Annotated[bool, typer.Option("--csv", help="Write decisions.csv instead of decisions.parquet.")] = False,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Run episodes of a scenario under a policy; write every decision and a summary beside the certified bound."""
    s = scenario_from(scenario, workload, places)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes) as progress:
        bar = progress.add_task(f"{policy} on {s.name}", total=max(1, episodes))
        values = run_evaluation(
            s, policy, episodes, seed, out, shares, csv, progress=lambda done: progress.advance(bar, done)  # type: ignore[arg-type]
        )  # fmt: skip
    table = Table("metric", "value", title=f"{policy} on {s.name}, {values['episodes']} episodes, seed {seed}")
    for metric in (*METRICS.values(), *CONTEXT.values()):
        if metric.name in values:
            table.add_row(metric.label, metric.show(values[metric.name]))
    notes.print(table)
    notes.print(f"Written: {out / 'summary.json'} and {out / ('decisions.csv' if csv else 'decisions.parquet')}")
