"""Wards to test on: some steps of a scenario, and random scenarios from all over the sliders' range."""

from __future__ import annotations

import math
import random

import torch

from iomt_core.environment.counter import world_seeds
from iomt_core.environment.world import World
from iomt_core.model.batch import concatenate
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action, Snapshot
from iomt_core.scenario import Scenario, scenario


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
