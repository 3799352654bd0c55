"""What the commands share: the console for notes, and how a scenario is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from iomt_core.scenario import PRESETS, Scenario
from iomt_core.scenario.files import read_scenario
from iomt_core.scenario.tables import read_places_csv, read_workload_csv, with_places, with_workload

notes = Console(stderr=True, markup=False)  # names and paths are a person's: "[/b]" in one is no markup

ScenarioOption = Annotated[
    str, typer.Option(help=f"A preset ({', '.join(PRESETS)}) or a YAML or JSON file.", metavar="PRESET|FILE")
]
WorkloadOption = Annotated[
    Path | None, typer.Option(help="CSV of tasks: step, user, data_kb, cycles, priority.", metavar="CSV")
]
PlacesOption = Annotated[Path | None, typer.Option(help="CSV of places: kind (user|server), x_m, y_m.", metavar="CSV")]


def scenario_from(source: str, workload: Path | None = None, places: Path | None = None) -> Scenario:
    """The scenario of a preset or file, with a workload and places of one's own. Raises `ScenarioError`."""
    s = read_scenario(source)
    if places is not None:
        s = with_places(s, read_places_csv(places))
    return s if workload is None else with_workload(s, read_workload_csv(workload))
