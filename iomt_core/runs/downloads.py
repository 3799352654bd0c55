"""Downloads of a training run: its configuration, its recorded lines as a table, its last checkpoint."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from iomt_core.runs.curves import curves
from iomt_core.training.checkpoints import CheckpointError, last_checkpoint
from iomt_core.training.run_spec import RunSpec

ATTEMPTS = 3


def configuration(spec: RunSpec) -> str:
    """Algorithm, scenario, settings and seed as JSON: the run's run.json."""
    return json.dumps(spec.as_json(), indent=1, ensure_ascii=False) + "\n"


def metrics_csv(folder: Path) -> str:
    """All lines of the run as CSV, one row per batch of episodes, SI units."""
    return str(curves(folder).table().to_csv(index=False))


def checkpoint_zip(folder: Path) -> bytes:
    """The last complete checkpoint as a zip. Raises `CheckpointError` if there is none yet."""
    for _ in range(ATTEMPTS):
        last = last_checkpoint(folder)
        if last is None:
            break
        packed = io.BytesIO()
        try:
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:  # weights do not compress
                for path in sorted(last.iterdir()):
                    file.write(path, f"{folder.name}/{last.name}/{path.name}")
        except OSError:  # the run replaced it in the meantime
            continue
        return packed.getvalue()
    raise CheckpointError(f"run = {folder.name!r} has no checkpoint yet.")
