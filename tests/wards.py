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


def steps(s: Scenario, count: int, seed: int = 0) -> Snapshot:
    """`count` steps of the ward as one batch."""
    world = World(s, world_seeds(seed, 0, -(-count // s.T)))
    return concatenate(world.episode()).worlds(slice(0, count))


def totals(snapshot: Snapshot, action: Action, s: Scenario) -> torch.Tensor:
    """Total weighted cost of each step."""
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


LARGE = 0.003  # of the drawn scenarios may be as large as there are: they take the most time
WORKLOAD, KINDS = 0.06, 0.15  # of the drawn scenarios bring their own tasks, or a mix of task kinds


class _Draw:
    """Values of parameters by their metadata: a corner, a preset's value, or anything in between."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        # A scenario may be all corners, near a preset, or a mixture of everything.
        self.odds = ((0.35, 0.35, 0.15), (0.08, 0.08, 0.7), (0.15, 0.15, 0.2))[self.rng.integers(3)]

    def number(self, name: str) -> float:
        """A value of parameter `name`; one of the two ends of a range."""
        meta = metadata()[name]
        assert meta.low is not None
        assert meta.high is not None
        how, (low, high, preset) = self.rng.random(), self.odds
        if how < low:
            return meta.low
        if how < low + high:
            return meta.high
        if how < low + high + preset:
            value = getattr(PRESETS[str(self.rng.choice(list(PRESETS)))], name)
            return value[self.rng.integers(2)] if isinstance(value, tuple) else meta.low if value is None else value
        if meta.log:
            return float(np.exp(self.rng.uniform(math.log(meta.low), math.log(meta.high))))
        return float(self.rng.uniform(meta.low, meta.high))

    def count(self, name: str, most: int) -> int:
        """A whole number of parameter `name`, at most `most`."""
        meta = metadata()[name]
        return min(most, int(meta.low or 0) + int(self.rng.integers(most)))

    def pair(self, name: str) -> tuple[float, float]:
        """A range of parameter `name`."""
        low, high = sorted((self.number(name), self.number(name)))
        return low, high


def whole_range(seed: int) -> Scenario:
    """A scenario drawn from the whole allowed range of every parameter, with more weight on corners and presets.

    Most have few users, tasks and servers and one or two steps, so that thousands can be checked; a few are as large as
    there are.
    """
    draw = _Draw(seed)
    large = draw.rng.random() < LARGE
    values: dict[str, Any] = {
        "users": draw.count("users", 16 if large else 3),
        "tasks": draw.count("tasks", 16 if large else 3),
        "servers": draw.count("servers", 8 if large or draw.rng.random() < 0.1 else 3),
        "T": 1 if draw.rng.random() < 0.7 else 2,
        "channel": str(draw.rng.choice(["paper", "log-distance"])),
    }
    for name, meta in metadata().items():
        if name in values or meta.low is None:
            continue
        value: Any = draw.pair(name) if isinstance(getattr(PRESETS["paper"], name), tuple) else draw.number(name)
        values[name] = tuple(round(x) for x in value) if name == "P" else int(value) if name == "seed" else value
    for name in ("gamma_t", "gamma_e", "speed", "burst", "background"):
        if draw.rng.random() < 0.5:
            del values[name]
    own = draw.rng.random()
    if own < KINDS:
        values["kinds"] = [
            {
                "name": f"kind {n}", "share": float(draw.rng.choice([1e-3, 1.0, 1000.0])),
                "D": draw.pair("D"), "C": draw.pair("C"), "P": tuple(round(x) for x in draw.pair("P")),
            }
            for n in range(int(draw.rng.integers(1, 4)))
        ]  # fmt: skip
    elif own < KINDS + WORKLOAD:  # ragged: some users have no task at all
        values["workload"] = [
            {
                "step": int(draw.rng.integers(1, values["T"] + 1)), "user": int(draw.rng.integers(1, values["users"] + 1)),
                "D": draw.number("D"), "C": draw.number("C"), "P": round(draw.number("P")),
            }
            for _ in range(int(draw.rng.integers(1, values["tasks"] + 1)))
        ]  # fmt: skip
    return scenario(values)
