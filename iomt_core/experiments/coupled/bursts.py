"""An own workload with bursts that all users share: 1 task in the first step, 16 in the mean, and 64 at most."""

from __future__ import annotations

import math
import random

from iomt_core.scenario import PRESETS, Scenario

STEPS, MEAN, MOST = 40, 16, 64
CORRELATION, SPREAD = 0.8, 1.0  # from step to step, and standard deviation, of the logarithm of the number of tasks
SEEDS = (1, 2)


def task_counts(seed: int) -> list[int]:
    """Number of tasks in each step: 1, then an AR(1) process in the logarithm, scaled to the mean."""
    draw, score, scores = random.Random(seed), -2.5, list[float]()
    for _ in range(STEPS - 1):
        score = CORRELATION * score + math.sqrt(1 - CORRELATION**2) * draw.gauss(0, 1)
        scores.append(math.exp(SPREAD * score))

    def counts(factor: float) -> list[int]:
        return [1, *(min(MOST, max(1, round(factor * x))) for x in scores)]

    low, high = 0.01, 1e4
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if sum(counts(middle)) < MEAN * STEPS else (low, middle)
    return counts(high)


def bursty(seed: int = SEEDS[0]) -> Scenario:
    """The paper's ward with this workload, whose tasks are dealt to the users in turn."""
    draw = random.Random(-seed)
    tasks = [
        {
            "step": step,
            "user": 1 + number % 8,
            "D": draw.uniform(2e5, 4e5),
            "C": draw.uniform(1e5, 2e5),
            "P": draw.randint(1, 3),
        }
        for step, count in enumerate(task_counts(seed), 1)
        for number in range(count)
    ]
    return PRESETS["paper"].changed(name=f"bursts {seed}", T=STEPS, workload=tasks)
