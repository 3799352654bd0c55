"""All commands, as one Typer application."""

from __future__ import annotations

import typer

from iomt_core.cli import answer, dashboard, evaluate, pretrained, reference, sweep, train
from iomt_core.cli.common import notes

__all__ = ["app", "notes"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The command line of the IoMT Twin Lab. `COMMAND --help` explains a command.",
)
for command in (
    sweep.sweep, reference.scenario, reference.parameters, reference.presets, reference.policies, evaluate.evaluate,
    train.train, pretrained.pretrained, reference.results, reference.table3,
):  # fmt: skip
    app.command()(command)
app.add_typer(answer.app, name="answer")
app.command(context_settings=dashboard.CONTEXT)(dashboard.dashboard)
