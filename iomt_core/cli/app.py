"""The entry point of the command line: `iomt --help`, or `python -m iomt_core --help`.

Imports take seconds, so they happen inside `main`, where Ctrl-C is already handled.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from iomt_core.cli import INTERRUPTED


def main() -> None:
    """Run the command line. A bad scenario, file or value gives a message and exit status 2, Ctrl-C status 130."""
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where SIGINT is to be ignored
    if handled:
        signal.signal(signal.SIGINT, _exit_at_once)
    for stream in (sys.stdout, sys.stderr):
        # Where the code page of a terminal or file has no letter like α, it shows "?".
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    from iomt_core.cli.commands import application
    from iomt_core.cli.common import notes
    from iomt_core.scenario import ScenarioError

    app = application(sys.argv[1:])
    try:
        if handled:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app()
    except ScenarioError as error:
        for problem in error.problems:
            notes.print(f"error: {problem}", style="red", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:  # outside of a command; inside, Typer makes an exit status of it
        sys.exit(INTERRUPTED)
    finally:
        if handled:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends the process without a traceback while Python shuts down


def _exit_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """End the process while it still imports, when an exception could end up inside any module; nothing has begun yet."""
    os.write(2, b"Interrupted: nothing was begun.\n")
    os._exit(INTERRUPTED)
