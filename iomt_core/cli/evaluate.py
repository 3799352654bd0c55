"""`iomt evaluate`: how good a policy is on a scenario."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table

from iomt_core.cli.common import PlacesOption, ScenarioOption, WorkloadOption, notes, progress_bar, scenario_from
from iomt_core.cli.options import SeedOption, SharesOption, policy_help
from iomt_core.experiments.evaluation import evaluate as run_evaluation
from iomt_core.experiments.evaluation import is_partial
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.policies.base import Shares
from iomt_core.training.catalogue import default_policy, describe, entry, warning
from iomt_core.twin.management.registry import resolve


def evaluate(
    scenario: ScenarioOption,
    out: Annotated[Path, typer.Option(help="Directory for summary.json and decisions.parquet.", metavar="DIR")],
    policy: Annotated[str, typer.Option(help=policy_help())] = default_policy(),
    episodes: Annotated[int, typer.Option(help="Number of episodes.")] = 10,
    seed: SeedOption = 0,
    shares: SharesOption = "own",
    csv: Annotated[bool, typer.Option("--csv", help="Write decisions.csv instead of decisions.parquet.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an evaluation in the directory.")] = False,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
) -> None:
    """Play episodes of a scenario under a policy; write every decision and a summary with the certified bound.

    A directory holds one evaluation. Ctrl-C writes nothing.
    """
    s = scenario_from(scenario, workload, places)
    policy = resolve(policy, s)
    label = entry(policy).label
    finished = 0

    def on_progress(count: int) -> None:
        nonlocal finished
        finished += count
        progress.update(bar, completed=finished)

    try:
        with progress_bar() as progress:
            bar = progress.add_task(f"{label} on {s.name}", total=max(1, episodes))
            values = run_evaluation(
                s, policy, episodes, seed, out, cast(Shares, shares), csv, overwrite, progress=on_progress
            )
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the message
        notes.print(
            f"Interrupted after {finished} of {episodes} episodes. Nothing was written to {out}: an evaluation is kept as a "
            "whole or not at all.",
            soft_wrap=True,
        )
        raise
    notes.print(describe(policy, s))
    if words := warning(policy, s):
        notes.print(words, style="yellow", soft_wrap=True)
    table = Table("metric", "value", title=f"{s.name}, {values['episodes']} episodes, seed {seed}")
    for metric in (*METRICS.values(), *CONTEXT.values()):
        if metric.name in values:
            table.add_row(metric.label, metric.show(values[metric.name]))
    notes.print(table)
    if is_partial(values):
        notes.print(
            "A battery ended episodes early, or tasks were skipped. Cost, delay and energy are means of what was done: compare "
            "the return.",
            soft_wrap=True,
        )
    notes.print(f"Written: {out / 'summary.json'} and {out / ('decisions.csv' if csv else 'decisions.parquet')}")
