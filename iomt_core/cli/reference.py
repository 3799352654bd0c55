"""Commands that print a scenario, or the tables of parameters, presets, policies and results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from iomt_core.cli.common import SCENARIO_HELP, PlacesOption, WorkloadOption, scenario_from
from iomt_core.experiments.paper.claims import paper_claims_table
from iomt_core.experiments.paper.results import claim_table, results_table
from iomt_core.experiments.paper.table_iii import table_iii
from iomt_core.paths import PRETRAINED
from iomt_core.scenario import EARLIER_NOTES, PRESET_NOTES
from iomt_core.scenario.files import dump_scenario
from iomt_core.scenario.reference import parameter_table
from iomt_core.training.catalogue import catalogue


def scenario(
    source: Annotated[str, typer.Argument(metavar="PRESET|FILE", help=SCENARIO_HELP)],
    workload: WorkloadOption = None,
    places: PlacesOption = None,
    format_: Annotated[Literal["json", "yaml"], typer.Option("--format", help="Format of the output.")] = "json",
) -> None:
    """Print the whole scenario in SI units, as a file that reads back as the same scenario; null is automatic."""
    print(dump_scenario(scenario_from(source, workload, places), format_), end="")


def parameters() -> None:
    """Print the table of all parameters as Markdown; docs/parameters.md holds it."""
    print(parameter_table())


def presets() -> None:
    """List the presets, and what names of presets meant before."""
    table = Table("preset", "what it is")
    for name, note in {**PRESET_NOTES, **EARLIER_NOTES}.items():
        table.add_row(name, note)
    Console(markup=False).print(table)


def policies() -> None:
    """List the policies. A trained policy's name means one network; `iomt evaluate` says why it cannot decide in a scenario."""
    table = Table("policy", "decentralised", "network", "what it does")
    for policy in catalogue().values():
        table.add_row(policy.name, "yes" if policy.decentralised else "no", policy.network, policy.summary)
    Console(markup=False).print(table)


def results(
    place: Annotated[Path, typer.Option(help="Directory of the shipped policies.", metavar="DIR")] = PRETRAINED,
) -> None:
    """Print the results of the shipped policies, and which of the paper's claims hold, as Markdown."""
    print(f"{results_table(place)}\n\n{claim_table(place)}\n\n{paper_claims_table()}")


def table3() -> None:
    """Count parameters and FLOPs of every agent network as the paper's Table III does, and compare with its figures."""
    table = Table(
        "network", "parameters", "paper", "", "FLOPs", "paper", title="Table III: 10 tasks, 4 servers, one step"
    )
    for row in table_iii():
        off = f"{(row.parameters / row.paper_parameters - 1) * 100:+.1f} %"
        table.add_row(
            row.network,
            f"{row.parameters:,}",
            f"{row.paper_parameters:,}",
            off,
            f"{row.flops:,}",
            f"{row.paper_flops:,}",
        )
    Console(markup=False).print(table)
