"""One episode at many values of one parameter, nearest to the present value first, computed in the background."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from iomt_core.experiments.evaluation import evaluate_episode
from iomt_core.scenario import GROUPS, Scenario, ScenarioError, metadata, set_elsewhere

POINTS = 15
LARGEST = 1e8  # parameters with a larger range are seeds


def parameters(s: Scenario) -> list[str]:
    """The parameters that can be varied in this scenario: numbers with a range that nothing else decides."""
    locked = set_elsewhere(s)
    return [
        name for name, meta in metadata().items()
        if meta.group in GROUPS and isinstance(getattr(s, name), (int, float)) and meta.high is not None and meta.high < LARGEST
        and name not in locked
    ]  # fmt: skip


def values(s: Scenario, name: str) -> list[float]:
    """The values of a parameter over its whole range, with the present one, nearest to it first."""
    meta, now = metadata()[name], getattr(s, name)
    low, high = float(meta.low or 0.0), float(meta.high or 0.0)
    if isinstance(now, int):
        found: set[float] = {round(low + n * (high - low) / (POINTS - 1)) for n in range(POINTS)}
    elif meta.log:
        found = {float(f"{low * (high / low) ** (n / (POINTS - 1)):.3g}") for n in range(POINTS)}
    else:
        found = {float(f"{low + n * (high - low) / (POINTS - 1):.6g}") for n in range(POINTS)}

    def far(value: float) -> float:
        return abs(math.log(value / now)) if meta.log else abs(value - now)

    return sorted({now, *found}, key=far)


class Around:
    """Points that a thread computes."""

    def __init__(self, s: Scenario, name: str, policies: Sequence[str], seed: int) -> None:
        self.points: dict[float, Mapping[str, Mapping[str, Any]]] = {}
        self.done = self.cancelled = False
        self._args = s, name, tuple(policies), seed
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        s, name, policies, seed = self._args
        for value in values(s, name):
            # At the present number of servers or users the ward is the shown one, with those switched off.
            here = s if value == getattr(s, name) else s.changed(**{name: value})
            found = {}
            for policy in policies:
                if self.cancelled:
                    return
                try:
                    found[policy] = evaluate_episode(here, policy, seed)
                except ScenarioError:
                    continue
            self.points[value] = found
        self.done = True
