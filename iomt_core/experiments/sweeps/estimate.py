"""How long a sweep will take: what is known already costs nothing, the rest goes by measured speed and the ward's size."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iomt_core.experiments.sweeps.points import Store, compute, jobs, key, parcel
from iomt_core.experiments.sweeps.spec import Point, SweepSpec
from iomt_core.scenario import Scenario
from iomt_core.scenario.files import write_text_atomically

FILE = "speeds.json"
MEMORY = 0.8  # weight of what was known, against the point that was just computed
TRIED = 2  # episodes of a trial


def size(s: Scenario) -> int:
    """What the time of an episode goes with: steps times tasks times devices."""
    return s.T * s.users * s.tasks * (s.servers + 1)


@dataclass
class Speeds:
    """Measured seconds an episode and unit of `size`, by policy."""

    place: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Path) -> Speeds:
        """Those kept in a store; none where there are none or they cannot be read."""
        try:
            found = json.loads((place / FILE).read_text(encoding="utf-8"))
            return cls(place, {str(k): float(v) for k, v in found.items() if math.isfinite(float(v)) and float(v) > 0})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(place)

    def learn(self, point: Point, episodes: int, result: Mapping[str, Any]) -> None:
        """Takes a computed point into account."""
        if result["state"] != "done":
            return
        now = float(result["seconds"]) / (episodes * size(point.scenario))
        before = self.seconds.get(point.policy, now)
        self.seconds[point.policy] = MEMORY * before + (1 - MEMORY) * now

    def write(self) -> None:
        """Keeps them."""
        if self.seconds:
            self.place.mkdir(parents=True, exist_ok=True)
            write_text_atomically(self.place / FILE, json.dumps(self.seconds) + "\n")


@dataclass(frozen=True)
class Estimate:
    """Points in all, how many of them are known, and the seconds that the rest takes."""

    points: int
    known: int
    seconds: float


def estimate(spec: SweepSpec, workers: int, store: Store) -> Estimate:
    """How long the sweep takes on so many processes, without their start.

    A policy that was never timed is tried on the grid's middle ward for a moment. Raises `ScenarioError`.
    """
    speeds = Speeds.read(store.place)
    waiting = [(point, job) for point, job in jobs(spec) if key(job) not in store]
    for policy in {point.policy for point, _ in waiting} - speeds.seconds.keys():
        mine = [one for one in waiting if one[0].policy == policy]
        point, job = mine[len(mine) // 2]
        tried = min(TRIED, spec.episodes)
        speeds.learn(point, tried, compute({**parcel(point, job), "episodes": tried}))
    speeds.write()
    rest = (speeds.seconds.get(point.policy, 0.0) * size(point.scenario) for point, _ in waiting)
    return Estimate(spec.count, spec.count - len(waiting), sum(rest) * spec.episodes / workers)
