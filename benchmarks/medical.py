"""A ward of medical signals with a deadline for each kind: one task is one window of a signal.

Sampling from the data sets named; cycles: an INT8 autoencoder for ECG (9 ms on a 240 MHz ESP32-S3, arXiv 2606.02256), otherwise
assumed. Windows below 800 bit and cycles above 1e9 are cut to the range of a scenario.
"""

from __future__ import annotations

from iomt_core.scenario import Scenario
from iomt_core.scenario.parameters import TaskKind

# name, bit, cycles, deadline in s, windows a minute, priority
WINDOWS = (
    ("ECG arrhythmia", 86_400, 2.2e6, 0.3, 6, 9),  # MIT-BIH Arrhythmia: 360 Hz, 12 bit, 2 channels, 10 s
    ("EEG seizure", 188_416, 7.77e6, 0.3, 30, 10),  # CHB-MIT: 256 Hz, 16 bit, 23 channels, 2 s
    ("PPG for SpO2", 16_000, 6.6e5, 1.0, 7.5, 5),  # BIDMC: 125 Hz, 16 bit, 8 s
    ("SpO2 number", 800, 1e3, 1.0, 60, 3),  # BIDMC: 1 Hz
    ("fall or activity", 12_288, 5.07e5, 0.3, 23.4, 9),  # UCI HAR: 50 Hz, 6 axes, 16 bit, 2.56 s
    ("all sensors", 47_104, 1.94e6, 0.3, 23.4, 6),  # UCI MHEALTH: 50 Hz, 23 columns, 2.56 s
    ("wound image", 2_096_944, 1e9, 5.0, 0.1, 1),  # FUSeg 2021: median of 1210 files
)


def medical(F_k: float = 1e9, Cap: float = 1000.0) -> Scenario:
    """The ward, at Table II's devices unless given."""
    kinds = tuple(
        TaskKind(name=name, share=often, D=(bits, bits), C=(cycles, cycles), P=(priority, priority), T_max=deadline)
        for name, bits, cycles, deadline, often, priority in WINDOWS
    )
    return Scenario(name="medical", channel="log-distance", kinds=kinds, T_max=1.0, E_ref=1e-3, F_k=F_k, Cap=Cap)
