"""What the commands share: the console for notes, and the options that name a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from iomt_core.scenario import EARLIER_PRESETS, PRESETS, Scenario, collect_notes
from iomt_core.scenario.files import read_scenario
from iomt_core.scenario.tables import read_places_csv, read_workload_csv, with_places, with_workload

notes = Console(stderr=True, markup=False)  # names and paths come from people: "[/b]" in one is not markup

SCENARIO_HELP = f"A preset ({', '.join(PRESETS)}; earlier values: {', '.join(EARLIER_PRESETS)}) or a YAML or JSON file."
ScenarioOption = Annotated[str, typer.Option(help=SCENARIO_HELP, metavar="PRESET|FILE")]
WorkloadOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of tasks: step, user, data_kb, cycles; optional priority, kind, deadline_ms.", metavar="CSV"
    ),
]
PlacesOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of places: kind (user|server), x_m, y_m; optional name, cpu_ghz, bandwidth_mhz, latency_ms, power_w, "
        "battery_j.",
        metavar="CSV",
    ),
]


def scenario_from(source: str, workload: Path | None = None, places: Path | None = None) -> Scenario:
    """Read a preset or file, with an own workload and places, and print how they were read. Raises `ScenarioError`."""
    with collect_notes() as found:
        s = read_scenario(source)
        if places is not None:
            s = with_places(s, read_places_csv(places))
        if workload is not None:
            s = with_workload(s, read_workload_csv(workload))
    print_notes(found)
    return s


def progress_bar(*fields: str) -> Progress:
    """A bar on stderr with description, count and time; `fields` are format strings of the task's fields to add."""
    columns = (TextColumn(text, markup=False) for text in ("{task.description}", *fields))
    return Progress(
        next(columns),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *columns,
        console=notes,
    )


def print_notes(found: list[str]) -> None:
    """Print notes about how an input was read, on stderr."""
    for text in found:
        notes.print(f"note: {text}", style="yellow", highlight=False, soft_wrap=True)
