"""`iomt dashboard`: start the app."""

from __future__ import annotations

import os
import subprocess
import sys

import typer

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def dashboard(context: typer.Context) -> None:
    """Start the dashboard at http://localhost:8501. Options are Streamlit's own, for example --server.port 8502."""
    # A fresh process, because the number of OpenMP threads must be set before torch is loaded.
    command = [sys.executable, "-m", "dashboard", *context.args]
    if os.name == "posix":
        os.execv(sys.executable, command)
    sys.exit(subprocess.call(command))
