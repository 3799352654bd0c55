"""TEMPORARY, until the data warehouse is there: an evaluation's directory as the source of aggregates.

`open_warehouse` is to be replaced by the data warehouse's own, which has to return something that fulfils
`warehouse_access.Warehouse`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from iomt_core.scenario import PRESETS
from iomt_core.twin.access.privacy import task_sums


class EvaluationWarehouse:
    """The decisions of `iomt evaluate --scenario PRESET --out DIR`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.identity = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        facts = json.loads((self.directory / "summary.json").read_text(encoding="utf-8"))
        self.scenario = PRESETS[facts["scenario"]]

    @property
    def users(self) -> Sequence[int]:
        """All users."""
        return self.scenario.user_numbers

    @property
    def revision(self) -> int:
        """An evaluation never changes."""
        return 1

    def aggregates(self, at: int) -> pd.DataFrame:
        """One row a user."""
        return task_sums(pd.read_parquet(self.directory / "decisions.parquet"))


def open_warehouse(directory: Path) -> EvaluationWarehouse:
    """The evaluation in this directory."""
    return EvaluationWarehouse(directory)
