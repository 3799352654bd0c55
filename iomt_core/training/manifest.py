"""The manifest of the shipped policies: how each was trained and how good it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from iomt_core.paths import PRETRAINED


def read_manifest(place: Path = PRETRAINED) -> dict[str, Any] | None:
    """The shipped policies' manifest; `None` where none can be read."""
    try:
        found: dict[str, Any] = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
