"""What a person takes away from a run: its configuration, its lines as a table, its last checkpoint."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from iomt_core.runs.curves import curves
from iomt_core.training.checkpoints import CheckpointError, last_checkpoint
from iomt_core.training.run_spec import RunSpec

TRIES = 3


def configuration(spec: RunSpec) -> str:
    """Algorithm, scenario, settings and seed as JSON: the run's run.json."""
    return json.dumps(spec.as_json(), indent=1, ensure_ascii=False) + "\n"


def metrics_csv(place: Path) -> str:
    """All lines of the run, a row a batch of episodes, SI units."""
    return str(curves(place).table().to_csv(index=False))


def checkpoint_zip(place: Path) -> bytes:
    """The last complete checkpoint as a zip. Raises `CheckpointError` where there is none yet."""
    for _ in range(TRIES):
        last = last_checkpoint(place)
        if last is None:
            break
        packed = io.BytesIO()
        try:
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:  # weights do not shrink
                for path in sorted(last.iterdir()):
                    file.write(path, f"{place.name}/{last.name}/{path.name}")
        except OSError:  # a later one took its place meanwhile
            continue
        return packed.getvalue()
    raise CheckpointError(f"run = {place.name!r} has no checkpoint yet.")
