"""Every parameter of a ward once; scenario files, share links and CSV tables."""

from iomt_core.scenario.errors import ScenarioError, check_known, check_range, os_errors
from iomt_core.scenario.notes import ScenarioWarning, collect_notes
from iomt_core.scenario.parameters import (
    ASSUMED,
    GROUPS,
    KILOBYTE,
    SCHEMA_VERSION,
    Frozen,
    Meta,
    Places,
    Scenario,
    ServerDevice,
    TaskKind,
    UserDevice,
    WorkloadTask,
    beyond_bounds,
    counted,
    metadata,
    scenario,
    set_elsewhere,
)
from iomt_core.scenario.presets import EARLIER_NOTES, EARLIER_PRESETS, PRESET_NOTES, PRESETS

__all__ = [
    "ASSUMED", "EARLIER_NOTES", "EARLIER_PRESETS", "GROUPS", "KILOBYTE", "PRESETS", "PRESET_NOTES", "SCHEMA_VERSION", "Frozen",
    "Meta", "Places", "Scenario", "ScenarioError", "ScenarioWarning", "ServerDevice", "TaskKind", "UserDevice", "WorkloadTask",
    "beyond_bounds", "check_known", "check_range", "collect_notes", "counted", "metadata", "os_errors", "scenario",
    "set_elsewhere",
]  # fmt: skip
