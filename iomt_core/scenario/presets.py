"""Scenarios to start from, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iomt_core.scenario.parameters import KILOBYTE, Scenario, TaskKind


def _hospital_mix() -> tuple[TaskKind, ...]:
    """Medical task kinds of assumed size: seconds of one signal, a short window of several, a compressed photograph."""
    kb = KILOBYTE
    return (
        TaskKind(name="ECG arrhythmia", share=0.30, D=(20 * kb, 40 * kb), C=(1.2e5, 2.0e5), P=(2, 3)),
        TaskKind(name="fall detection", share=0.20, D=(10 * kb, 20 * kb), C=(0.6e5, 1.2e5), P=(3, 3)),
        TaskKind(name="SpO2 trend", share=0.30, D=(4 * kb, 10 * kb), C=(0.4e5, 0.8e5), P=(1, 2)),
        TaskKind(name="wound image", share=0.20, D=(60 * kb, 120 * kb), C=(2.0e5, 4.0e5), P=(1, 1)),
    )


PRESETS: Mapping[str, Scenario] = MappingProxyType(
    {
        "paper": Scenario(name="paper"),
        "lecture": Scenario(name="lecture", users=3, tasks=4, servers=2),
        "crowded": Scenario(name="crowded", users=12, tasks=12, servers=3),
        "hospital": Scenario(name="hospital", channel="log-distance", kinds=_hospital_mix()),
        "drained": Scenario(name="drained", Cap=1.5e-3),
    }
)
PRESET_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "paper": "8 users, 8 tasks each, 4 servers: the paper's ward and Table II.",
        "lecture": "3 users, 4 tasks each, 2 servers: small enough to follow every task by eye.",
        "crowded": "12 users, 12 tasks each, 3 servers: too much work for too few servers.",
        "hospital": "The paper's size with medical task kinds on the log-distance channel: distance decides.",
        "drained": "The paper's ward on batteries so small that a policy without a plan for them ends the episode early.",
    }
)
