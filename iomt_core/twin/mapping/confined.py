"""Runs a job on the log of one user, in a process that gets this log and this user's key and can open nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from iomt_core.paths import ROOT
from iomt_core.twin.mapping.sealed_log import sealed_copy
from iomt_core.twin.warehouse.errors import Audit, WarehouseError, no_audit
from iomt_core.twin.warehouse.reading import Warehouse

MODULE = "iomt_core.twin.mapping.confined_process"
Progress = Mapping[str, Any]  # "done" of "total", and what a job adds
LAST_WORDS = 2000  # bytes of a failed process's errors


def run(
    folder: Path,
    user: int,
    job: str,
    arguments: Mapping[str, Any],
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    audit: Audit = no_audit,
) -> tuple[dict[str, Any], bytes]:
    """Does a job of `jobs.JOBS` on a user's log. Returns its result, and its tensors as safetensors.

    on_progress: called several times a second. stop: read as often; when it is true, the job ends early with what it has. The
    process gets no variable of the lab, and the key through a pipe. Raises `WarehouseError` and what the job raises.
    """
    warehouse = Warehouse(folder)
    content, versions = sealed_copy(folder, user), warehouse.keys.for_user(user).versions(user)
    audit(job, {"user": user, "revision": warehouse.revision})
    header = {
        "job": job, "user": user, "arguments": arguments, "bytes": len(content),
        "key": {version: key.hex() for version, key in versions.items()},
    }  # fmt: skip
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_environment(),
            cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(header).encode() + b"\n" + content)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended early; what it said follows
            return _follow(process.stdout, process, errors, on_progress, stop)
        finally:
            process.kill()
            process.wait()


def _follow(
    lines: IO[bytes],
    process: subprocess.Popen[bytes],
    errors: IO[bytes],
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> tuple[dict[str, Any], bytes]:
    stopping = False
    for text in lines:
        line = json.loads(text)
        if "problems" in line:
            raise WarehouseError(line["problems"])
        if "result" in line:
            return line["result"], lines.read(line["bytes"])
        on_progress(line["progress"])
        if not stopping and stop():
            stopping = True
            process.terminate()
    errors.seek(0)
    words = errors.read()[-LAST_WORDS:].decode(errors="replace").strip()
    raise WarehouseError(f"the process ended with status {process.wait()} and no result. {words}")


def _environment() -> dict[str, str]:
    """The environment without the lab's variables, so that the process does not know where keys and data are."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IOMT_")}
    paths = [os.fspath(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}
