"""The process that trains from one user's log; `confined.run` starts it, never a person.

It reads its task, the user's key and the sealed log from its standard input, imports what it needs, shuts itself in, and only
then decrypts. What leaves it are lines of progress, one result as JSON, and tensors as safetensors.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

PROGRESS_SECONDS = 0.2  # between two lines of progress


def main() -> None:
    """Does the task on the standard input."""
    source, out = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints must not get between the lines
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    header = json.loads(source.readline())
    content = source.read(header["bytes"])

    from iomt_core.scenario import ScenarioError
    from iomt_core.twin.mapping.confinement import ConfinedError, shut_in
    from iomt_core.twin.mapping.jobs import JOBS
    from iomt_core.twin.mapping.sealed_log import SealedLog

    try:
        job = JOBS[header["job"]]
        job.warm_up()
        versions = {int(version): bytes.fromhex(key) for version, key in header["key"].items()}
        log = SealedLog(content, header["user"], versions)
        shut_in()
        facts, tensors = job.run(log, header["arguments"], _reporter(out), lambda: stopped)
        _send(out, {"result": facts, "bytes": len(tensors)})
        out.write(tensors)
        out.flush()
    except (ScenarioError, ConfinedError) as error:
        problems = error.problems if isinstance(error, ScenarioError) else [str(error)]
        _send(out, {"problems": problems})
    except Exception as error:  # words of an unknown error may hold recorded values: only its kind leaves
        places = " < ".join(
            f"{place.filename}:{place.lineno}" for place in traceback.extract_tb(error.__traceback__)[:-6:-1]
        )
        words = f"{type(error).__name__} at {places}"
        _send(out, {"problems": [f"the process of user {header['user']} failed: {words}."]})
        sys.exit(1)


def _reporter(out: BinaryIO) -> Callable[[Mapping[str, Any]], None]:
    latest = 0.0

    def report(progress: Mapping[str, Any]) -> None:
        nonlocal latest
        if time.monotonic() - latest >= PROGRESS_SECONDS or progress.get("done") == progress.get("total"):
            latest = time.monotonic()
            _send(out, {"progress": progress})

    return report


def _send(out: BinaryIO, line: Mapping[str, Any]) -> None:
    out.write(json.dumps(line).encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
