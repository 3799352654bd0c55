"""The wards that general networks decide for: the range of every parameter, and how training and tests draw from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from iomt_core.scenario import PRESETS, Scenario, metadata
from iomt_core.scenario.parameters import ServerDevice, TaskKind, UserDevice

STEPS = 4  # of an episode in training
COUNTS = {"users": (1, 16), "tasks": (1, 16), "servers": (1, 8)}
LOGARITHMIC = {
    "F_i": (2.5e7, 4e8), "F_k": (2.5e8, 4e9), "k0": (2.5e-26, 4e-25), "B_k": (2.5e8, 4e9), "N0": (4e-22, 4e-20),
    "sigma2": (0.3, 3.0), "area": (30.0, 1000.0), "T_max": (5e-3, 80e-3), "E_ref": (25e-6, 1e-3),
}  # fmt: skip
EVEN = {"alpha_T": (0.1, 1.0), "alpha_E": (0.0, 1.0), "PL0": (20.0, 60.0), "eta": (2.0, 4.0)}
SPANS = {"D": (2e4, 1.6e6), "C": (2.5e4, 8e5), "P_tr": (0.05, 1.6)}  # both ends of a scenario's range lie within these
MOST_PRIORITY = 6
BACKGROUND, CORRELATION, BURST = (0.0, 0.5), (0.0, 0.95), (0.0, 0.9)
AMPLE = 1000.0  # J, a battery that never runs low
# Parts of the wards that are drawn with background load, with bursts, with task kinds, with devices that differ, and with
# batteries that may run low; and the range of such a battery's charge, in units of E_ref for each task of an episode.
LOADED, BURSTY, MIXED, VARIED, DRAINED = 0.4, 0.2, 0.25, 0.2, 0.2
CHARGE = (0.02, 0.5)
MOST_LATENCY = 0.5  # of the deadline
# Task kinds may differ as medical signals do. In half of the mixes their deadlines then fit their sizes: so many times what a
# server needs for one.
OF_KINDS, SLACK = {"D": (8.0, 4e6), "C": (300.0, 2e9), "P": (1.0, 10.0), "T_max": (2.5e-3, 10.0)}, (4.0, 200.0)
NEVER_DRAWN = ("speed", "d0")  # all drawn wards have what the preset "paper" has
RANGES: dict[str, tuple[float, float]] = {
    **COUNTS, **LOGARITHMIC, **EVEN, **SPANS, "P": (1, MOST_PRIORITY), "background": BACKGROUND,
}  # fmt: skip


def draw_ward(generator: np.random.Generator, steps: int = STEPS) -> Scenario:
    """A random ward with episodes of `steps` steps: counts uniform, scales uniform in the logarithm, either channel.

    Some wards have background load, bursts, task kinds with deadlines of their own, devices that differ, or small batteries.
    """
    values: dict[str, Any] = {name: int(generator.integers(low, high + 1)) for name, (low, high) in COUNTS.items()}
    values |= {name: _log_uniform(generator, low, high) for name, (low, high) in LOGARITHMIC.items()}
    values |= {name: float(generator.uniform(low, high)) for name, (low, high) in EVEN.items()}
    for name in SPANS:
        values[name] = _span(generator, SPANS[name], 4.0)
    values["P"] = (1, int(generator.integers(1, MOST_PRIORITY + 1)))
    values["channel"] = ("paper", "log-distance")[int(generator.integers(2))]
    values["seed"] = int(generator.integers(2**31))
    if generator.uniform() < LOADED:
        values |= {"background": float(generator.uniform(*BACKGROUND))}
        values |= {"background_correlation": float(generator.uniform(*CORRELATION))}
    if generator.uniform() < BURSTY:
        values["burst"] = float(generator.uniform(*BURST))
    if generator.uniform() < MIXED:
        wide = bool(generator.uniform() < 0.5)
        values["kinds"] = tuple(_kind(generator, n, values, wide) for n in range(int(generator.integers(2, 5))))
    if generator.uniform() < VARIED:
        values |= _devices(generator, values)
    charge = _log_uniform(generator, *CHARGE) * values["E_ref"] * values["tasks"] * steps
    values["Cap"] = charge if generator.uniform() < DRAINED else AMPLE
    return PRESETS["paper"].changed(name="random ward", T=steps, **values)


def training_ward(seed: int) -> Scenario:
    """The random ward of a seed, with short episodes."""
    return draw_ward(np.random.default_rng(seed))


def outside_range(s: Scenario) -> str:
    """What of a scenario lies outside the trained range, as the predicate of a sentence; empty if nothing does.

    General networks decide there too, but how well was not tested in training.
    """
    trained, found = [], []
    spans = {"D": s.data_span, "C": s.cycle_span, "P": s.priority_span, "T_max": s.deadline_span}
    spans |= {name: (min(values), max(values)) for name, values in s.device_values.items()}
    spans["P_tr"] = spans["P_low"][0], spans["P_high"][1]
    for name, (low, high) in _trained_range(s).items():
        value = spans.get(name, getattr(s, name))
        ends = tuple(dict.fromkeys(value)) if isinstance(value, tuple) else (value,)
        if not all(low * (1 - 1e-9) <= end <= high * (1 + 1e-9) for end in ends):
            show = metadata()[name].show
            highest = "" if low == high else " or more" if high == math.inf else f" to {show(high)}"
            condition = f" for T = {s.T}" if name == "Cap" else ""
            trained.append(f"{name} = {show(low)}{highest}{condition}")
            found.append(f"{name} = {' to '.join(map(show, ends))}")
    return f"was trained on {', '.join(trained)}; this ward has {', '.join(found)}" if found else ""


def _trained_range(s: Scenario) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every parameter that `draw_ward` could give this scenario.

    General networks see which part of an episode is left, not how many steps: T counts only as the time for which a battery has
    to last. What does nothing in this scenario is left out.
    """
    found = RANGES | (OF_KINDS if s.kinds else {})
    found |= {name: (getattr(PRESETS["paper"], name),) * 2 for name in NEVER_DRAWN}
    found |= {"burst": (0.0, BURST[1]), "latency": (0.0, MOST_LATENCY * s.T_max)}
    found["Cap"] = CHARGE[0] * s.E_ref * s.tasks * s.T, math.inf
    return found | ({"background_correlation": (0.0, CORRELATION[1])} if s.background else {})


def _span(generator: np.random.Generator, span: tuple[float, float], widest: float) -> tuple[float, float]:
    """A range within `span`, whose ends differ by a factor of at most `widest`."""
    low, high = span
    first = _log_uniform(generator, low, high / 1.5)
    return first, min(high, first * float(generator.uniform(1.0, widest)))


def _kind(generator: np.random.Generator, number: int, ward: Mapping[str, Any], wide: bool) -> TaskKind:
    """A task kind; `wide`: from all sizes of `OF_KINDS`. Half of the others have a deadline of their own."""
    spans, T_max, most = (OF_KINDS if wide else SPANS), ward["T_max"], int(OF_KINDS["P"][1])
    first = int(generator.integers(1, most + 1))
    D, C = (_span(generator, spans[name], 2.0) for name in ("D", "C"))
    deadline = (
        float(np.clip(C[1] / ward["F_k"] * _log_uniform(generator, *SLACK), *OF_KINDS["T_max"])) if wide else None
    )
    if not wide and generator.uniform() < 0.5:
        deadline = _log_uniform(generator, T_max / 2, T_max * 4)
    share, P = float(generator.uniform(0.2, 1.0)), (first, int(generator.integers(first, most + 1)))
    return TaskKind(name=f"kind {number + 1}", share=share, D=D, C=C, P=P, T_max=deadline)


def _devices(
    generator: np.random.Generator, ward: Mapping[str, Any]
) -> dict[str, tuple[UserDevice | ServerDevice, ...]]:
    """Devices of which each has half to twice the ward's CPU and bandwidth; servers with a latency."""

    def near(name: str) -> float:
        return float(np.clip(ward[name] * 2 ** generator.uniform(-1, 1), *LOGARITHMIC[name]))

    users = tuple(UserDevice(number=n + 1, F_i=near("F_i")) for n in range(ward["users"]))
    latency = MOST_LATENCY * ward["T_max"]
    servers = tuple(
        ServerDevice(number=n + 1, F_k=near("F_k"), B_k=near("B_k"), latency=latency * float(generator.uniform()) ** 2)
        for n in range(ward["servers"])
    )
    return {"user_devices": users, "server_devices": servers}


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return math.exp(generator.uniform(math.log(low), math.log(high)))
