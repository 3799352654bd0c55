"""`iomt import`: tables of tasks, users and servers become a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from iomt_core.cli.common import ScenarioOption, notes, progress_bar, scenario_from
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.files import read_bytes
from iomt_core.scenario.importing import (
    BAD_ROWS,
    DECIMALS,
    LARGEST_TABLE,
    LOCATIONS,
    ORDERS,
    ROLES,
    Input,
    Options,
    open_tables,
    read_length,
    run,
)
from iomt_core.scenario.importing.write import HEADINGS, mapping_of, write_import

FileOption = Annotated[Path | None, typer.Option(metavar="FILE")]


def import_tables(
    files: Annotated[
        list[Path] | None, typer.Argument(help="CSV or Parquet; what each is about is guessed.", metavar="FILE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new directory for the scenario, its tables, ids and report.", metavar="DIR")
    ] = None,
    scenario: ScenarioOption = "paper",
    tasks: FileOption = None,
    users: FileOption = None,
    servers: FileOption = None,
    places: FileOption = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Which column is what, such as latitude=lat or 'data=size [KB]'; may be repeated. tasks.user=device is for one "
            "table; user= takes none.",
            metavar="FIELD=COLUMN",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A value for all tasks, such as data='30 KB' or cycles='1000 per bit'; may be repeated.",
            metavar="FIELD=VALUE",
        ),
    ] = None,
    step: Annotated[
        str | None, typer.Option(help="Length of a step for times, such as '5 min'; without it one that fits.")
    ] = None,
    dates: Annotated[str | None, typer.Option(help=f"{' or '.join(ORDERS)}, where no cell shows it.")] = None,
    decimal: Annotated[
        str | None, typer.Option(help=f"Decimal mark, {' or '.join(DECIMALS)}, where no cell shows it.")
    ] = None,
    busiest_users: Annotated[
        int | None, typer.Option(help="Take at most so many users, those with most tasks.")
    ] = None,
    nearest_servers: Annotated[
        int | None, typer.Option(help="Take at most so many servers, those nearest to the users.")
    ] = None,
    bad_rows: Annotated[
        str, typer.Option(help=f"Rows with cells that cannot be used: {' or '.join(BAD_ROWS)}.")
    ] = BAD_ROWS[0],
    locations: Annotated[
        str, typer.Option(help=f"What places in a table of tasks are: {' or '.join(LOCATIONS)} that serve them.")
    ] = LOCATIONS[0],
    episode: Annotated[
        int | None, typer.Option(help="Which episode of exported decisions; without it the first.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show how the columns are read.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier import in the directory.")] = False,
) -> None:
    """Import tables of tasks, users and servers, of any dialect and unit, as a scenario that every command reads.

    Columns are guessed and shown. Each value is read in one way only, or refused with its line, its column and what would be
    right. The report says what was taken, changed and left out.
    """
    if out is None and not preview:
        raise ScenarioError("out is missing: allowed is a new directory, or --preview.")
    named = {role: path for role, path in zip(ROLES, (tasks, users, servers, places), strict=True) if path is not None}
    paths = [*(files or ()), *named.values()]
    if not paths:
        raise ScenarioError("no table was given: allowed are files with tasks, users, servers, or places.")
    options = Options(
        base=scenario_from(scenario), mapping=mapping_of(map_ or (), "map"), values=mapping_of(set_ or (), "set"),
        step=None if step is None else read_length(step), dates=dates, decimal=decimal, busiest_users=busiest_users,
        nearest_servers=nearest_servers, bad_rows=bad_rows, locations=locations, episode=episode,
    )  # fmt: skip
    labels = [path.name if [p.name for p in paths].count(path.name) == 1 else str(path) for path in paths]
    roles = {
        label: role for label, path in zip(labels, paths, strict=True) for role, one in named.items() if one is path
    }
    with progress_bar("{task.fields[what]}") as progress:
        bar = progress.add_task("import", total=100, what="reading files")
        inputs = open_tables(
            [(label, read_bytes(path, LARGEST_TABLE)) for label, path in zip(labels, paths, strict=True)],
            options,
            roles,
        )
        for one in inputs:
            _show_columns(one)
        if preview:
            progress.update(bar, completed=100, what="")
            return
        found = run(inputs, options, lambda done, what: progress.update(bar, completed=round(done * 90), what=what))
        assert out is not None
        write_import(found, out, overwrite)
        progress.update(bar, completed=100, what="")
    for kind, heading in HEADINGS.items():
        for line in found.report:
            if line.kind == kind and kind != "taken":
                style = "yellow" if kind == "dropped" else None
                notes.print(f"{heading.lower()}: {line.text}", style=style, highlight=False, soft_wrap=True)
    s = found.scenario
    notes.print(
        f"Written: {out / 'scenario.json'} ({s.size_words}, {s.T} steps), its tables, ids.csv and report.txt.",
        soft_wrap=True,
    )


def _show_columns(one: Input) -> None:
    frame = one.columns()
    table = Table(*frame.columns, title=f"{one.table.name}: {one.role}, {one.table.rows:,} rows; {one.table.format}")
    for row in frame.itertuples(index=False):
        table.add_row(*(str(cell) for cell in row))
    notes.print(table)
    for question in one.questions:
        notes.print(f"note: {question}.", style="yellow", highlight=False, soft_wrap=True)
