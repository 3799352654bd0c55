"""Commands that print what there is: scenarios, parameters, presets, policies, results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from iomt_core.experiments.paper.results import claim_table, results_table
from iomt_core.experiments.paper.table_iii import table_iii
from iomt_core.scenario import PRESET_NOTES, PRESETS
from iomt_core.scenario.files import read_scenario
from iomt_core.scenario.reference import parameter_table
from iomt_core.training.catalogue import PRETRAINED, catalogue


def scenario(
    source: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="A preset's name, or a YAML or JSON file.")],
) -> None:
    """Print the full scenario as JSON in SI units."""
    print(json.dumps(read_scenario(source).resolved(), indent=2, ensure_ascii=False))


def parameters() -> None:
    """Print the table of all parameters as Markdown."""
    print(parameter_table())


def presets() -> None:
    """List the presets."""
    table = Table("preset", "what it is")
    for name in PRESETS:
        table.add_row(name, PRESET_NOTES[name])
    Console(markup=False).print(table)


def policies() -> None:
    """List the policies."""
    table = Table("policy", "decentralised", "trained", "what it does")
    for policy in catalogue().values():
        words = ("yes" if yes else "no" for yes in (policy.decentralised, policy.trained))
        table.add_row(policy.name, *words, policy.summary)
    Console(markup=False).print(table)


def results(
    place: Annotated[Path, typer.Option(help="Where the shipped policies stand.", metavar="DIR")] = PRETRAINED,
) -> None:
    """Print the results of the shipped policies, and whether the paper's claim holds in them, as Markdown."""
    print(f"{results_table(place)}\n\n{claim_table(place)}")


def table3() -> None:
    """Count parameters and FLOPs of every agent network as the paper's Table III does, beside its figures."""
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
