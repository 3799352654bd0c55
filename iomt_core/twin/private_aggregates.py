"""A data warehouse as the source of private answers, see `access.privacy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from iomt_core.scenario import Scenario, ScenarioError, scenario
from iomt_core.twin.warehouse.errors import Audit, no_audit
from iomt_core.twin.warehouse.reading import Warehouse

FOLDER = "access"  # of the audit log, in the warehouse's directory


class WarehouseAggregates:
    """Sums of each user of a warehouse, with what is public: its users, revision and scenario."""

    def __init__(self, folder: Path, audit: Audit = no_audit) -> None:
        self._warehouse = Warehouse(folder, audit=audit)
        self.identity: str = self._warehouse.identity

    @property
    def users(self) -> Sequence[int]:
        """All users of the ward, those who were forgotten too."""
        return self._warehouse.ward

    @property
    def revision(self) -> int:
        """The latest revision."""
        return self._warehouse.revision

    def aggregates(self, at: int) -> pd.DataFrame:
        """One row for each user of whom something can be read, see `access.privacy.AggregateSource`."""
        return self._warehouse.aggregates(at)

    @property
    def scenario(self) -> Scenario:
        """Of the first recording, without an own workload. Raises `ScenarioError` where everybody was forgotten."""
        users = self._warehouse.users
        if not users:
            raise ScenarioError("the warehouse has no users who can be read: there is nothing to ask.")
        values: Mapping[str, object] = self._warehouse.log(users[0]).configuration(1)["scenario"]
        return scenario({**values, "workload": None})
