"""The wards that general networks decide for: the range of every parameter, and how training and tests draw from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from iomt_core.scenario import PRESETS, Scenario, metadata
from iomt_core.training.observation_encoder import MOST_SERVERS, MOST_TASKS, MOST_USERS

STEPS = 4  # of an episode in training: steps differ in their tasks only
COUNTS = {"users": (2, MOST_USERS), "tasks": (2, MOST_TASKS), "servers": (1, MOST_SERVERS)}
LOGARITHMIC = {
    "F_i": (2.5e7, 4e8), "F_k": (2.5e8, 4e9), "k0": (2.5e-26, 4e-25), "B_k": (2.5e8, 4e9), "N0": (4e-22, 4e-20),
    "sigma2": (0.3, 3.0), "area": (30.0, 300.0), "T_max": (5e-3, 80e-3), "E_ref": (25e-6, 400e-6),
}  # fmt: skip
EVEN = {"alpha_T": (0.1, 1.0), "alpha_E": (0.0, 1.0), "PL0": (20.0, 60.0), "eta": (2.0, 4.0)}
SPANS = {"D": (4e4, 1.6e6), "C": (2.5e4, 8e5), "P_tr": (0.05, 1.6)}  # both ends of a scenario's range lie within these
MOST_PRIORITY = 6
RANGES: dict[str, tuple[float, float]] = {**COUNTS, **LOGARITHMIC, **EVEN, **SPANS, "P": (1, MOST_PRIORITY)}


def draw_ward(generator: np.random.Generator) -> Scenario:
    """A random ward: counts uniform, scales uniform in the logarithm, either channel."""
    values: dict[str, Any] = {name: int(generator.integers(low, high + 1)) for name, (low, high) in COUNTS.items()}
    values |= {name: _log_uniform(generator, low, high) for name, (low, high) in LOGARITHMIC.items()}
    values |= {name: float(generator.uniform(low, high)) for name, (low, high) in EVEN.items()}
    for name, (low, high) in SPANS.items():
        first = _log_uniform(generator, low, high / 1.5)
        values[name] = (first, min(high, first * float(generator.uniform(1.0, 4.0))))
    values["P"] = (1, int(generator.integers(1, MOST_PRIORITY + 1)))
    values["channel"] = ("paper", "log-distance")[int(generator.integers(2))]
    values["seed"] = int(generator.integers(2**31))
    return PRESETS["paper"].changed(name="random ward", Cap=1000.0, **values)


def training_ward(seed: int) -> Scenario:
    """The random ward of a seed, with short episodes."""
    return draw_ward(np.random.default_rng(seed)).changed(T=STEPS)


def outside_range(s: Scenario) -> str:
    """What of a scenario lies outside the trained range, as the predicate of a sentence; empty if nothing does."""
    trained, found = [], []
    for name, (low, high) in RANGES.items():
        value = getattr(s, "data_span" if name == "D" else "cycle_span" if name == "C" else name)
        if name in s.device_values:
            value = min(s.device_values[name]), max(s.device_values[name])
            value = value[0] if value[0] == value[1] else value
        ends = value if isinstance(value, tuple) else (value,)
        if not all(low * (1 - 1e-9) <= end <= high * (1 + 1e-9) for end in ends):
            meta = metadata()[name]
            trained.append(f"{name} = {meta.show(low)} to {meta.show(high)}")
            found.append(f"{name} = {' to '.join(map(meta.show, ends))}")
    return f"was trained on {', '.join(trained)}; this ward has {', '.join(found)}" if found else ""


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return math.exp(generator.uniform(math.log(low), math.log(high)))
