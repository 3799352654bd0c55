"""Shuts a process in: from then on it opens no file, socket or pipe and starts no program.

Two guards, since each has a gap. `RLIMIT_NOFILE` = 0 makes the kernel refuse every new descriptor, also to C++ libraries, and
cannot be raised again without privileges; it does not concern calls that need no descriptor, such as removing a file. An audit
hook of Python sees those, cannot be removed, and does not see what C++ code does by itself. Neither stops machine code that
was brought in on purpose, and a process with the privilege CAP_SYS_RESOURCE can raise its limits.
"""

from __future__ import annotations

import sys

REFUSED = (
    "open", "socket.", "subprocess.", "os.", "shutil.", "pty.", "sqlite3.connect", "sqlite3.load_extension", "ctypes.dlopen",
    "mmap.", "urllib.", "http.", "ftplib.", "smtplib.", "tempfile.", "glob.", "pathlib.", "fcntl.", "resource.", "signal.pthread",
    "winreg.", "webbrowser.", "syslog.",
)  # fmt: skip


class ConfinedError(PermissionError):
    """A process that is shut in tried to open or to start something."""


def shut_in() -> None:
    """Shuts this process in, for ever; its open descriptors stay. Modules that it needs must be imported before."""
    try:
        import resource
    except ImportError:  # Windows has the audit hook only
        pass
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith(REFUSED):
        what = repr(arguments[0])[:80] if arguments else ""
        raise ConfinedError(f"{event} {what} is refused: this process opens nothing but what it was given.")
