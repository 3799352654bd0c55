"""`iomt models`: versions of trained models, and the aliases that mean them."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from iomt_core.cli.common import SCENARIO_HELP, PlacesOption, WorkloadOption, notes, scenario_from
from iomt_core.scenario import Scenario, ScenarioError
from iomt_core.training.versions import SHORT
from iomt_core.twin.management import aliases, registry

app = typer.Typer(
    no_args_is_help=True,
    help="The registry of models: versions named by a hash of weights and settings, and aliases such as champion, which --policy "
    "understands.",
)
JsonOption = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
AliasArgument = Annotated[
    str, typer.Argument(help=f"Such as {aliases.CHAMPION}; a-z, 0-9 and -.", metavar="ALIAS", show_default=False)
]
ReasonOption = Annotated[str, typer.Option(help="Why; it stays in the log.", show_default=False)]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        "--scenario", help=f"Only for this scenario; without it everywhere. {SCENARIO_HELP}", metavar="PRESET|FILE"
    ),
]
UNUSABLE = 1  # exit status of `log` for a log that was changed


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List all versions: where each comes from, the wards it covers, how good it is, and its aliases."""
    found = registry.models()
    if as_json:
        print(json.dumps([one.as_dict() for one in found], indent=2))
        return
    table = _table(["version", "policy", "gap to the bound", "covers", "aliases"], whole=2)
    for one in found:
        table.add_row(
            one.short,
            one.shown_name,
            one.problem or one.how_good,
            one.covers,
            one.alias_words,
        )
    Console(markup=False).print(table)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A trained policy, or a version.", metavar="MODEL")],
    as_json: JsonOption = False,
) -> None:
    """Show one version."""
    one = registry.find(model)
    if as_json:
        print(json.dumps(one.as_dict(), indent=2))
        return
    print(
        f"version: {one.version}\npolicies: {', '.join(one.names) or 'none'}\nnetwork: {one.label}\norigin: {one.origin}"
    )
    print(
        f"covers: {one.covers}\ngap to the bound: {one.how_good}\nkept in the registry: {'yes' if one.kept else 'no'}"
    )
    print(f"aliases: {one.alias_words or 'none'}")
    if one.problem:
        print(f"problem: {one.problem}")


@app.command()
def add(folder: Annotated[Path, typer.Argument(help="A checkpoint, or an agent's twin.", metavar="DIR")]) -> None:
    """Keep a checkpoint from anywhere as a version, for example an agent's twin."""
    one = registry.add(folder)
    print(f"kept: version {one.short}, {one.label}; covers {one.covers}")


@app.command()
def promote(
    alias: AliasArgument,
    model: Annotated[
        str, typer.Argument(help="A trained policy, or a version of `iomt models list`.", metavar="MODEL")
    ],
    reason: ReasonOption,
    scenario: ScopeOption = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an alias mean a version from now on; the registry keeps a copy of it."""
    _print(registry.promote(alias, model, getpass.getuser(), reason, _scope(scenario, workload, places)), as_json)


@app.command()
def rollback(
    alias: AliasArgument,
    reason: ReasonOption,
    scenario: ScopeOption = None,
    workload: WorkloadOption = None,
    places: PlacesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an alias mean again what it meant before. The log keeps both changes."""
    _print(registry.roll_back(alias, getpass.getuser(), reason, _scope(scenario, workload, places)), as_json)


@app.command()
def log(as_json: JsonOption = False) -> None:
    """Print all changes of aliases, and verify the log. Exit status 1 if it was changed."""
    found = aliases.verification()
    if found is not None and not found.valid:
        print(found.text())
        raise typer.Exit(UNUSABLE)
    changes = aliases.changes()
    if as_json:
        print(json.dumps([one.as_dict() for one in changes], indent=2))
        return
    table = _table(["no.", "alias", "before", "after", "where", "who", "time (UTC)", "reason"], whole=4)
    for one in changes:
        before = f"{one.before or 'none'}{' (rolled back)' * (one.action == aliases.ROLL_BACK)}"
        table.add_row(
            str(one.sequence), one.alias, before, one.after[:SHORT], one.scope.rpartition(":")[0] or one.scope, one.who,
            f"{one.time:%Y-%m-%d %H:%M}", one.why,
        )  # fmt: skip
    Console(markup=False).print(table)
    notes.print(found.text() if found is not None else "No alias has been set yet.", soft_wrap=True)


def _table(headings: list[str], whole: int) -> Table:
    """A table whose first columns, `whole` of them, are never broken."""
    table = Table()
    for n, heading in enumerate(headings):
        table.add_column(heading, no_wrap=n < whole)
    return table


def _scope(scenario: str | None, workload: Path | None, places: Path | None) -> Scenario | None:
    """The ward that an alias is for; None for everywhere. Raises `ScenarioError` for own data of no scenario."""
    if scenario is not None:
        return scenario_from(scenario, workload, places)
    if workload is not None or places is not None:
        raise ScenarioError(f"scenario is missing: {'workload' if workload is not None else 'places'} belongs to one.")
    return None


def _print(change: aliases.Change, as_json: bool) -> None:
    if as_json:
        print(json.dumps(change.as_dict()))
    else:
        print(f"{change.alias} ({change.scope}): {change.before or 'none'} → {change.after[:SHORT]}")
