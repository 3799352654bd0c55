"""What a point of a sweep is worth, and the store that keeps it.

A point's figures are a pure function of its key: scenario, policy with its networks, shares, seed, episodes, and the code.
The store is a directory of JSON files named by the key's SHA-256, each written whole or not at all: a sweep that was
stopped goes on where it was, and one that is repeated costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy
import torch

from iomt_core.experiments.evaluation import Summary, records
from iomt_core.experiments.sweeps.spec import Point, SweepSpec
from iomt_core.policies.base import Shares
from iomt_core.scenario import ScenarioError, scenario
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import fingerprint, network_of
from iomt_core.training.catalogue import policy as make_policy

FORMAT = 1
PACKAGE = Path(__file__).parents[2]
# What a point's figures depend on; drawings, the command line and the rest of the experiments are not among them.
DEPENDS_ON = ("algorithms", "environment", "model", "nets", "policies", "scenario", "training", "twin")
FILES = ("record.py", "rollout.py", "experiments/evaluation.py", "experiments/sweeps/points.py")


@dataclass(frozen=True)
class Figure:
    """One figure of a point, and how a person reads it."""

    label: str
    unit: str = ""
    factor: float = 1.0
    meaning: str = ""

    @property
    def title(self) -> str:
        """As an axis says it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


FIGURES: Mapping[str, Figure] = {
    "cost": Figure("Cost", meaning="priority-weighted mean task cost, α_T T/T_max + α_E E/E_ref"),
    "gap": Figure(
        "Gap to the bound", "%", 100.0, "how far at most above the certified lower bound of any policy's cost"
    ),
    "mean_delay_s": Figure("Mean delay", "ms", 1e3, "mean task delay, eq. (9)"),
    "mean_energy_j": Figure("Mean energy", "µJ", 1e6, "mean energy a task costs its user, eq. (10)"),
    "deadline_miss_share": Figure("Deadline misses", "%", 100.0, "share of tasks later than T_max (C6)"),
    "delay_utility_12": Figure("Utility of delay (12)", meaning="T_all of eq. (12), mean over steps; more is better"),
    "energy_utility_13": Figure("Utility of energy (13)", meaning="E_all of eq. (13), mean over steps; more is better"),
    "local_share": Figure("Computed locally", "%", 100.0, "share of tasks that stay on their user's device"),
}
BESIDE = ("lower_bound", "tasks", "steps", "episodes_ended_by_battery", "mean_steps")


@lru_cache(maxsize=1)
def code_version() -> str:
    """SHA-256 over the sources that a point's figures depend on, and the libraries that compute them."""
    files = [PACKAGE / name for name in FILES]
    for folder in DEPENDS_ON:
        files += (PACKAGE / folder).rglob("*.py")
    digest = hashlib.sha256(f"torch {torch.__version__} numpy {numpy.__version__}".encode())
    for file in sorted(files):
        digest.update(f"\n{file.relative_to(PACKAGE).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def jobs(spec: SweepSpec) -> Iterator[tuple[Point, dict[str, Any]]]:
    """Every point with what its figures depend on, as plain JSON values.

    Raises `ScenarioError` where a policy is not there any more.
    """
    networks = {policy: fingerprint(policy) for policy in spec.policies}
    for point in spec.points():
        job = {
            "format": FORMAT, "scenario_digest": point.scenario.digest, "policy": point.policy,
            "networks": networks[point.policy], "shares": spec.shares, "seed": spec.seed, "episodes": spec.episodes,
            "code": code_version(),
        }  # fmt: skip
        yield point, job


def parcel(point: Point, job: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the scenario itself, for a worker."""
    return {**job, "scenario": point.scenario.model_dump(mode="json", exclude={"name"})}


def key(job: Mapping[str, Any]) -> str:
    """SHA-256 of a point's work: its name in the store."""
    return hashlib.sha256(json.dumps(dict(job), sort_keys=True).encode()).hexdigest()


def compute(job: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a point, SI, with 95 % intervals over episodes; runs on any worker, on one thread.

    A policy that cannot decide on this ward makes the point "unavailable", with the reason. Raises `RuntimeError` on a
    worker whose code or networks are not those that the sweep was begun with: its numbers would be others.
    """
    begun = time.perf_counter()
    torch.set_num_threads(1)
    if job["code"] != code_version():
        raise RuntimeError("this worker runs another version of the code than the sweep: bring it to the same state")
    if job["networks"] != fingerprint(job["policy"]):
        raise RuntimeError(f"policy {job['policy']!r} has other networks on this worker than where the sweep was begun")
    s = scenario(job["scenario"])
    try:
        make_policy(job["policy"], s)
    except ScenarioError as error:
        return {"state": "unavailable", "reason": " ".join(error.problems), "seconds": time.perf_counter() - begun}
    shares = cast(Shares, job["shares"])
    summary = Summary(s, job["policy"], shares, job["seed"], network_of(job["policy"], s))
    for record in records(s, job["policy"], job["episodes"], job["seed"], shares):
        summary.add(record)
    values = summary.values()
    figures = {name: values.get(name) for name in (*FIGURES, *BESIDE)}
    return {
        "state": "done",
        "network": values["network"],
        **figures,
        "ci95": values["ci95"],
        "seconds": time.perf_counter() - begun,
    }


class Store:
    """Points on disk by key; damaged or foreign files count as absent."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def get(self, name: str) -> dict[str, Any] | None:
        """The point of this key, or nothing."""
        try:
            found = json.loads(self._file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("key") != name or not isinstance(found.get("result"), dict):
            return None
        result = found["result"]
        return result if result.get("state") in ("done", "unavailable") else None

    def put(self, name: str, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keeps a point. Raises `ScenarioError` where the place cannot be written."""
        file = self._file(name)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ScenarioError(f"store = {str(self.place)!r} cannot be made a directory: {error.strerror}.") from None
        kept = {"key": name, "of": dict(job), "result": dict(result)}
        write_text_atomically(file, json.dumps(kept) + "\n")

    def _file(self, name: str) -> Path:
        return self.place / name[:2] / f"{name}.json"
