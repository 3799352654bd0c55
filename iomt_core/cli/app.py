"""The command line: `iomt --help`, or `python -m iomt_core --help`."""

from __future__ import annotations

import sys

import typer

from iomt_core.cli import dashboard, evaluate, pretrained, reference, sweep, train
from iomt_core.cli.common import notes
from iomt_core.scenario import ScenarioError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
for command in (
    sweep.sweep, reference.scenario, reference.parameters, reference.presets, reference.policies, evaluate.evaluate,
    train.train, pretrained.pretrained, reference.results, reference.table3,
):  # fmt: skip
    app.command()(command)
app.command(context_settings=dashboard.CONTEXT)(dashboard.dashboard)


def main() -> None:
    """Runs the command line; a bad scenario, file or value is a message and exit code 2, not a traceback."""
    try:
        app()
    except ScenarioError as error:
        for problem in error.problems:
            notes.print(f"error: {problem}", style="red", highlight=False)
        sys.exit(2)
