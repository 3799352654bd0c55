"""`iomt dashboard`: start the app."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from iomt_core.cli.common import notes

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def dashboard(
    context: typer.Context,
    class_: Annotated[
        bool, typer.Option("--class", help="For many people: being on this machine does not make one the operator.")
    ] = False,
    operator_token: Annotated[
        str | None,
        typer.Option(help="The operator's secret, which makes the operator's link; drawn at random if not given."),
    ] = None,
) -> None:
    """Start the dashboard at http://localhost:8501. Other options are Streamlit's own, for example --server.port 8502.

    Only its owner and the operator can stop, resume or delete a run. The operator is who opens the lab on this machine; with
    --class, and from other machines, who opens it with the operator's link, which is then printed.
    """
    if class_:
        os.environ["IOMT_CLASS"] = "1"
        operator_token = operator_token or secrets.token_urlsafe(18)
    if operator_token:
        os.environ["IOMT_OPERATOR_TOKEN"] = operator_token
        notes.print(
            f"Operator's link: http://localhost:{_port(context.args)}/?operator={operator_token}", soft_wrap=True
        )
    # A fresh process, because the number of OpenMP threads must be set before torch is loaded.
    command = [sys.executable, "-m", "dashboard", *context.args]
    if os.name == "posix":
        os.execv(sys.executable, command)
    sys.exit(subprocess.call(command))


def _port(options: Sequence[str]) -> str:
    found = re.search(r"--server\.port[ =](\d+)", " ".join(options))
    return found[1] if found else "8501"
