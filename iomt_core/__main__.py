"""Command line: `python -m iomt_core --help`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from iomt_core.experiments.evaluation import evaluate as run_evaluation
from iomt_core.parameter_table import parameter_table
from iomt_core.policies.base import SHARES
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import PRESET_NOTES, PRESETS, Scenario, ScenarioError
from iomt_core.scenario_files import read_scenario
from iomt_core.scenario_tables import read_places_csv, read_workload_csv, with_places, with_workload

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
notes = Console(stderr=True)

ScenarioOption = Annotated[
    str, typer.Option(help=f"A preset ({', '.join(PRESETS)}) or a YAML or JSON file.", metavar="PRESET|FILE")
]


def _scenario(source: str, workload: Path | None, places: Path | None) -> Scenario:
    s = read_scenario(source)
    if places is not None:
        s = with_places(s, read_places_csv(places))
    return s if workload is None else with_workload(s, read_workload_csv(workload))


@app.command()
def scenario(
    source: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="A preset's name, or a YAML or JSON file.")],
) -> None:
    """Print the full scenario as JSON in SI units."""
    print(json.dumps(read_scenario(source).resolved(), indent=2, ensure_ascii=False))


@app.command()
def parameters() -> None:
    """Print the table of all parameters as Markdown."""
    print(parameter_table())


@app.command()
def presets() -> None:
    """List the presets."""
    table = Table("preset", "what it is")
    for name in PRESETS:
        table.add_row(name, PRESET_NOTES[name])
    Console().print(table)


@app.command()
def policies() -> None:
    """List the policies."""
    table = Table("policy", "decentralised", "what it does")
    for name, policy in POLICIES.items():
        table.add_row(name, "yes" if policy.decentralised else "no", policy.summary)
    Console().print(table)


@app.command()
def evaluate(
    scenario: ScenarioOption,
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(POLICIES)}.")],
    out: Annotated[Path, typer.Option(help="Directory for summary.json and decisions.parquet.", metavar="DIR")],
    episodes: Annotated[int, typer.Option(help="How many episodes.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the tasks; the layout's stands in the scenario.")] = 0,
    shares: Annotated[str, typer.Option(help=f"Whose shares: {', '.join(SHARES)}.")] = "own",
    csv: Annotated[bool, typer.Option("--csv", help="Write decisions.csv instead of decisions.parquet.")] = False,
    workload: Annotated[
        Path | None, typer.Option(help="CSV of tasks: step, user, data_kb, cycles, priority.", metavar="CSV")
    ] = None,
    places: Annotated[
        Path | None, typer.Option(help="CSV of places: kind (user|server), x_m, y_m.", metavar="CSV")
    ] = None,
) -> None:
    """Run episodes of a scenario under a policy; write every decision and a summary beside the certified bound."""
    s = _scenario(scenario, workload, places)
    columns = (
        TextColumn("{task.description}"),
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
    table = Table("figure", "value", title=f"{policy} on {s.name}, {values['episodes']} episodes, seed {seed}")
    rows = {
        "mean delay": f"{values['mean_delay_s'] * 1e3:.4g} ms",
        "mean energy": f"{values['mean_energy_j'] * 1e6:.4g} µJ",
        "priority-weighted mean cost": f"{values['cost']:.4f}",
        "certified lower bound": f"{values['lower_bound']:.4f}",
        "gap to the bound": f"{values['gap'] * 100:.2f} %",
        "deadline misses": f"{values['deadline_miss_share'] * 100:.2f} %",
        "episodes ended by an empty battery": str(values["episodes_ended_by_battery"]),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    notes.print(table)
    notes.print(f"Written: {out / 'summary.json'} and {out / ('decisions.csv' if csv else 'decisions.parquet')}")


def main() -> None:
    """Runs the command line; a bad scenario, file or value is a message and exit code 2, not a traceback."""
    try:
        app()
    except ScenarioError as error:
        for problem in error.problems:
            notes.print(f"error: {problem}", style="red", markup=False, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
