"""Scenarios to start from, by name, and where their values come from."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from iomt_core.scenario.parameters import KILOBYTE, Places, Scenario, TaskKind

DATA = Path(__file__).parent / "data"
GZIP = 330.0  # cycles a byte
GZIP_SOURCE = "330 cycles a byte, gzip: Miettinen and Nurminen, HotCloud 2010"


@dataclass(frozen=True)
class Signal:
    """A medical task kind as data sets have it: the bits of one window, the cycles to analyse it, and both sources."""

    name: str
    bits: tuple[float, float]
    cycles: float
    per_minute: float  # windows of one patient
    deadline: float  # s, an assumption
    priority: int  # an assumption
    window: str
    data_source: str
    cycles_source: str

    @property
    def kind(self) -> TaskKind:
        """The task kind of a scenario."""
        P, C = (self.priority, self.priority), (self.cycles, self.cycles)
        return TaskKind(name=self.name, share=self.per_minute, D=self.bits, C=C, P=P, T_max=self.deadline)


def _compressed(
    name: str, bits: float, window: float, deadline: float, priority: int, form: str, source: str
) -> Signal:
    """A signal whose analysis is assumed to take as many cycles as compressing it; `window` in s."""
    cycles = GZIP * bits / 8
    return Signal(name, (bits, bits), cycles, 60 / window, deadline, priority, form, source, GZIP_SOURCE)


SIGNALS = (
    Signal(
        "ECG arrhythmia", (86_400.0, 86_400.0), 2.16e6, 6.0, 0.3, 9, "10 s of 2 leads, 360 Hz, stored in 12 bit",
        "MIT-BIH Arrhythmia Database, physionet.org/content/mitdb",
        "9 ms of a 240 MHz ESP32-S3: ArrythML, arXiv 2606.02256",
    ),
    _compressed(
        "EEG seizure", 188_416.0, 2.0, 0.3, 10, "2 s of 23 channels, 256 Hz, 16 bit",
        "CHB-MIT Scalp EEG Database, physionet.org/content/chbmit",
    ),
    _compressed(
        "PPG", 16_000.0, 8.0, 1.0, 5, "8 s of 1 channel, 125 Hz, 16 bit",
        "BIDMC PPG and Respiration Dataset, physionet.org/content/bidmc (125 Hz)",
    ),
    _compressed(
        "SpO2 number", 8.0, 1.0, 1.0, 3, "one number a second, 8 bit",
        "BIDMC PPG and Respiration Dataset, physionet.org/content/bidmc (1 Hz)",
    ),
    _compressed(
        "activity", 12_288.0, 2.56, 0.3, 9, "2.56 s of 6 axes, 50 Hz, 16 bit",
        "UCI Human Activity Recognition Using Smartphones (128 readings a window)",
    ),
    Signal(
        "wound image", (152 * KILOBYTE, 393 * KILOBYTE), 1.57e9, 0.1, 5.0, 1, "one photograph, 512 x 512 PNG",
        "Foot Ulcer Segmentation Challenge 2021: sizes of its 1210 images",
        "MobileNetV2, arXiv 1801.04381: 300 million multiply-adds at 224 x 224, scaled to 512 x 512, one a cycle",
    ),
)  # fmt: skip


def _assumed_mix() -> tuple[TaskKind, ...]:
    """Task kinds of assumed size, of the preset `hospital` until 2026."""
    kb = KILOBYTE
    return (
        TaskKind(name="ECG arrhythmia", share=0.30, D=(20 * kb, 40 * kb), C=(1.2e5, 2.0e5), P=(2, 3)),
        TaskKind(name="fall detection", share=0.20, D=(10 * kb, 20 * kb), C=(0.6e5, 1.2e5), P=(3, 3)),
        TaskKind(name="SpO2 trend", share=0.30, D=(4 * kb, 10 * kb), C=(0.4e5, 0.8e5), P=(1, 2)),
        TaskKind(name="wound image", share=0.20, D=(60 * kb, 120 * kb), C=(2.0e5, 4.0e5), P=(1, 1)),
    )


def _melbourne() -> Scenario:
    """100 users and 20 edge sites; places from `DATA`, see its README."""
    at: dict[str, list[tuple[float, float]]] = {"user": [], "server": []}
    with (DATA / "melbourne_100x20.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            at[row["kind"]].append((float(row["x_m"]), float(row["y_m"])))
    places = Places(users=tuple(at["user"]), servers=tuple(at["server"]))
    return Scenario(
        name="city", users=len(places.users), servers=len(places.servers), tasks=4, area=1000.0, places=places,
        channel="log-distance", E_ref=1e-3, Cap=0.1,
    )  # fmt: skip


PRESETS: Mapping[str, Scenario] = MappingProxyType(
    {
        "paper": Scenario(name="paper"),
        "lecture": Scenario(name="lecture", users=3, tasks=4, servers=2),
        "crowded": Scenario(name="crowded", users=12, tasks=12, servers=3),
        "hospital": Scenario(
            name="hospital", channel="log-distance", kinds=tuple(signal.kind for signal in SIGNALS), E_ref=1e-3, Cap=0.1
        ),
        "drained": Scenario(name="drained", Cap=1.5e-3),
        "city": _melbourne(),
    }
)
# Presets whose name means other values today; files and links can still name them.
EARLIER_PRESETS: Mapping[str, Scenario] = MappingProxyType(
    {"hospital-assumed": Scenario(name="hospital-assumed", channel="log-distance", kinds=_assumed_mix())}
)
EARLIER_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "hospital-assumed": "hospital as it was until 2026, with sizes that were assumed. A file or link of that time that names "
        "hospital means it."
    }
)
PRESET_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "paper": "8 users, 8 tasks each, 4 servers: the paper's ward and Table II.",
        "lecture": "3 users, 4 tasks each, 2 servers: small enough to follow every task by eye.",
        "crowded": "12 users, 12 tasks each, 3 servers: too much work for too few servers.",
        "hospital": "The paper's size with medical signals as data sets have them, each with its deadline: distance decides.",
        "drained": "The paper's ward on batteries so small that a policy without a plan for them ends the episode early.",
        "city": "100 users, 4 tasks each, 20 servers at edge sites of Melbourne's centre.",
    }
)
