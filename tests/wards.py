"""Wards to test on: some steps of a scenario, and random scenarios from all over the sliders' range."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import PRESETS, Scenario, metadata, scenario

# Fields of a snapshot with an axis of users, which is the second.
BY_USER = {
    "D",
    "C",
    "P",
    "weight",
    "active",
    "kind",
    "deadline",
    "P_tr",
    "battery",
    "F_i",
    "users_xy",
    "distance",
    "beta",
}


def steps(s: Scenario, count: int, seed: int = 0) -> Snapshot:
    """`count` steps of the ward as one batch."""
    world = World(s, world_seeds(seed, 0, -(-count // s.T)))
    return concatenate(world.episode()).select(slice(0, count))


def totals(snapshot: Snapshot, action: Action, s: Scenario) -> torch.Tensor:
    """Total weighted cost of each step; a skipped task costs 1."""
    return (outcome(snapshot, action, s).cost * snapshot.weight).sum((1, 2))


def random_action(snapshot: Snapshot, seed: int) -> Action:
    """Any choices, any shares."""
    generator = torch.Generator().manual_seed(seed)
    choice = torch.randint(0, snapshot.shape[3] + 1, snapshot.D.shape, generator=generator)
    cpu, bandwidth = (torch.rand(snapshot.D.shape, generator=generator, dtype=snapshot.D.dtype) for _ in range(2))
    return Action(choice, cpu, bandwidth)


def anywhere(seed: int) -> Scenario:
    """A scenario with every slider somewhere in its range."""
    draw = random.Random(seed)

    def log(low: float, high: float) -> float:
        return 10 ** draw.uniform(math.log10(low), math.log10(high))

    def span(low: float, high: float) -> tuple[float, float]:
        a, b = sorted((log(low, high), log(low, high)))
        return a, b

    return scenario(
        {
            "users": draw.randint(1, 16),
            "tasks": draw.randint(1, 16),
            "servers": draw.randint(1, 8),
            "T": 4,
            "area": log(5, 2000),
            "D": span(800, 8e7),
            "C": span(1e3, 1e9),
            "P_tr": span(1e-3, 10),
            "F_i": log(1e6, 1e10),
            "F_k": log(1e7, 1e12),
            "B_k": log(1e5, 1e11),
            "k0": log(1e-30, 1e-22),
            "N0": log(1e-22, 1e-12),
            "PL0": draw.uniform(1, 120),
            "eta": draw.uniform(1, 6),
            "sigma2": log(0.01, 10),
            "T_max": log(1e-4, 60),
            "E_ref": log(1e-7, 10),
            "alpha_T": draw.uniform(0.02, 1),
            "alpha_E": draw.uniform(0, 1),
            "channel": draw.choice(["paper", "log-distance"]),
            "background": draw.choice([0.0, 0.5]),
            "Cap": 1000.0,
        }
    )


LARGE = 0.01  # of the drawn groups may be as large as there are: they take the most time
LARGEST = (
    {"users": 16, "tasks": 16, "servers": 8}, {"users": 3, "tasks": 64, "servers": 3}, {"users": 60, "tasks": 3, "servers": 3},
    {"users": 3, "tasks": 3, "servers": 60},
)  # fmt: skip
WORKLOAD, KINDS = 0.06, 0.15  # of the drawn scenarios bring their own tasks, or a mix of task kinds
LATENCY, DEADLINES = 0.25, 0.2  # of the groups have servers with latency, or kinds with deadlines of their own
DEVICES = 0.25  # of the drawn scenarios have devices that differ
# Corners that make links weak. Chance would not bring them together, so some of the drawn scenarios have them all.
WEAK = 0.05
WEAK_LOW, WEAK_HIGH = ("d0", "sigma2", "P_tr"), ("N0", "PL0", "eta", "area", "D")
# What the scenarios of a group have in common, so that their steps can be decided and priced as one batch.
SIZES, OBJECTIVE = ("users", "tasks", "servers", "T"), ("T_max", "E_ref", "alpha_T", "alpha_E", "k0")


def whole_range(seed: int, count: int = 1) -> list[Scenario]:
    """A group of scenarios drawn from the whole allowed range of every parameter, with more weight on corners and presets.

    The scenarios of a group have sizes and objective in common. Most have few users, tasks and servers and one or two
    steps, so that thousands can be checked; a few are as large as there are.
    """
    group = _Draw([seed])
    large = group.rng.random() < LARGE
    most = LARGEST[group.rng.integers(len(LARGEST))] if large else {"users": 3, "tasks": 3, "servers": 3, "T": 2}
    common = {name: 1 + int(group.rng.integers(high)) for name, high in most.items()} | ({"T": 1} if large else {})
    common |= {name: group.number(name) for name in OBJECTIVE}
    latency, deadlines = group.rng.random() < LATENCY, group.rng.random() < DEADLINES
    return [scenario(_Draw([seed, n]).values(common, latency, deadlines)) for n in range(count)]


class _Draw:
    """Values of parameters by their metadata: a corner, a preset's value, or anything in between."""

    def __init__(self, seed: list[int]) -> None:
        self.rng = np.random.default_rng(seed)
        # How often a value is the lowest, the highest and a preset's: all corners, near a preset, or a mixture.
        self.odds = ((0.35, 0.35, 0.15), (0.08, 0.08, 0.7), (0.15, 0.15, 0.2))[self.rng.integers(3)]

    def number(self, name: str) -> float:
        """A value of a parameter; one of the two ends of a range."""
        meta = metadata()[name]
        assert meta.low is not None
        assert meta.high is not None
        presets = [getattr(s, name) for s in PRESETS.values()]
        preset = presets[self.rng.integers(len(presets))]
        if isinstance(preset, tuple):
            preset = preset[self.rng.integers(2)]
        between = self.rng.uniform(meta.low, meta.high)
        if meta.log:
            between = math.exp(self.rng.uniform(math.log(meta.low or meta.span[0]), math.log(meta.high)))
        low, high, same = self.odds
        options = [meta.low, meta.high, meta.low if preset is None else preset, between]
        return float(options[self.rng.choice(4, p=[low, high, same, 1 - low - high - same])])

    def pair(self, name: str) -> tuple[float, ...]:
        """Both ends of a range."""
        ends = sorted((self.number(name), self.number(name)))
        return tuple(map(round, ends)) if name == "P" else tuple(ends)

    def values(self, common: dict[str, Any], latency: bool, deadlines: bool) -> dict[str, Any]:
        """All values of a scenario, these among them; with latency, and with kinds that have their own deadlines."""
        values = {**common, "channel": str(self.rng.choice(["paper", "log-distance"]))}
        for name, meta in metadata().items():
            if name not in values and meta.low is not None:
                ranged = isinstance(getattr(PRESETS["paper"], name), tuple)
                values[name] = self.pair(name) if ranged else self.number(name)
        values["seed"] = int(values["seed"])
        values["latency"] = max(values["latency"], 1e-6) if latency else 0.0
        if self.rng.random() < WEAK:
            values["channel"] = "log-distance"
            for names, end in ((WEAK_LOW, "low"), (WEAK_HIGH, "high")):
                for name in names:
                    extreme = getattr(metadata()[name], end)
                    values[name] = (extreme, extreme) if isinstance(values[name], tuple) else extreme
        for name in ("gamma_t", "gamma_e", "speed", "burst", "background"):  # None, or off
            if self.rng.random() < 0.5:
                del values[name]
        if self.rng.random() < DEVICES:
            values["user_devices"] = self._devices(values["users"], ("F_i", "P_tr", "Cap"))
            values["server_devices"] = self._devices(values["servers"], ("F_k", "B_k", *["latency"] * latency))
        own = 0.0 if deadlines else self.rng.random()
        if own < KINDS:
            values["kinds"] = [
                {"name": f"kind {n}", "share": 10.0 ** self.rng.uniform(-3, 3), **self._task_ranges()}
                for n in range(self.rng.integers(1, 4))
            ]
            for kind in values["kinds"] if deadlines else ():
                kind["T_max"] = self.number("T_max")
        elif own < KINDS + WORKLOAD:  # ragged: some users have no task
            values["workload"] = [self._task(values) for _ in range(self.rng.integers(1, values["tasks"] + 1))]
        return values

    def _devices(self, count: int, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Devices of some of `count` numbers, each with some values of its own."""
        chosen = [n for n in range(1, count + 1) if self.rng.random() < 0.6]
        return [{"number": n} | {name: self.number(name) for name in names if self.rng.random() < 0.6} for n in chosen]

    def _task_ranges(self) -> dict[str, Any]:
        return {name: self.pair(name) for name in ("D", "C", "P")}

    def _task(self, values: dict[str, Any]) -> dict[str, Any]:
        step, user = (1 + int(self.rng.integers(values[name])) for name in ("T", "users"))
        return {
            "step": step, "user": user, "D": self.number("D"), "C": self.number("C"), "P": round(self.number("P"))
        }  # fmt: skip
