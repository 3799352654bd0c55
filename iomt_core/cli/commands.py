"""The commands as one Typer application. A worker starts often, so a command's module is imported only if it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from keyword import iskeyword
from types import MappingProxyType
from typing import Any

import typer

# Module of each command, in the order of the help; its function has the command's name, unless Python keeps that for itself.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "import": "import_tables", "bound": "bound",
        "sweep": "sweep", "scenario": "reference", "parameters": "reference", "presets": "reference", "policies": "reference",
        "evaluate": "evaluate", "train": "train", "pretrained": "pretrained", "paper": "paper", "coupled": "coupled",
        "results": "reference",
        "table3": "reference", "answer": "answer", "warehouse": "warehouse", "twin": "twin", "models": "models",
        "serve": "serve",
        "dashboard": "dashboard",
    }
)  # fmt: skip
GROUPS = ("answer", "warehouse", "twin", "models")  # commands with commands of their own


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """The application with the command that the arguments begin with, or with all commands."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="The command line of the IoMT Twin Lab. `COMMAND --help` explains a command.",
    )
    app.callback()(lambda: None)  # keeps the command's name where there is only one
    wanted = [name for name in arguments[:1] if name in COMMANDS] or list(COMMANDS)
    for name in wanted:
        module: Any = import_module(f"iomt_core.cli.{COMMANDS[name]}")
        if name in GROUPS:
            app.add_typer(module.app, name=name)
        else:
            settings = {"context_settings": module.CONTEXT} if name == "dashboard" else {}
            app.command(name, **settings)(getattr(module, COMMANDS[name] if iskeyword(name) else name))
    return app
