"""Points, the wards that sweeps and answers evaluate policies on: their results, and the store that keeps them.

The result of a point is a pure function of its key: scenario, policy with its networks, shares, seed, episodes and code. The
store is a directory of JSON files, named by the SHA-256 of the key and written atomically. So a stopped sweep continues where
it stopped, and a repeated sweep computes nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy
import torch

from iomt_core.experiments.evaluation import Summary, records
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.paths import PACKAGE
from iomt_core.policies.base import Shares
from iomt_core.scenario import Scenario, os_errors, scenario
from iomt_core.scenario.files import write_text_atomically
from iomt_core.training.catalogue import entry, fingerprint, why_not

FORMAT = 1
# The sources that a point's result depends on; charts, the command line and the other experiments are not among them.
DEPENDS_ON = ("algorithms", "environment", "model", "nets", "policies", "scenario", "training", "twin")
FILES = (
    "metrics.py", "record.py", "rollout.py", "experiments/evaluation.py", "experiments/statistics.py",
    "experiments/sweeps/points.py",
)  # fmt: skip


@lru_cache(maxsize=1)
def source_digest() -> str:
    """SHA-256 over the sources that a point's result depends on."""
    files = [PACKAGE / name for name in FILES]
    for folder in DEPENDS_ON:
        files += (PACKAGE / folder).rglob("*.py")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"\n{file.relative_to(PACKAGE).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def code_version() -> str:
    """SHA-256 over `source_digest` and the versions of the libraries that compute a point's result."""
    return hashlib.sha256(f"torch {torch.__version__} numpy {numpy.__version__} {source_digest()}".encode()).hexdigest()


@dataclass(frozen=True)
class Point:
    """One policy on one ward."""

    values: tuple[float, ...]  # of a sweep's axes, SI; empty for an answer
    policy: str
    scenario: Scenario


def jobs(
    points: Iterable[Point], shares: Shares, seed: int, episodes: int, per_episode: bool = False
) -> Iterator[tuple[Point, dict[str, Any]]]:
    """Yields every point with its key: all that its result depends on, as plain JSON values.

    per_episode: whether the result has the sums of every episode, `evaluation.Summary.sums`, for paired intervals.

    Raises `ScenarioError` if a policy no longer exists.
    """
    network = lru_cache(maxsize=None)(fingerprint)
    for point in points:
        job = {
            "format": FORMAT, "scenario_digest": point.scenario.digest, "policy": point.policy,
            "networks": network(point.policy), "shares": shares, "seed": seed, "episodes": episodes,
            "code": code_version(), **({"per_episode": True} if per_episode else {}),
        }  # fmt: skip
        yield point, job


def parcel(point: Point, job: Mapping[str, Any]) -> dict[str, Any]:
    """The job that is sent to a worker: the point's key and the whole scenario."""
    return {**job, "scenario": point.scenario.model_dump(mode="json", exclude={"name"})}


def key(job: Mapping[str, Any]) -> str:
    """SHA-256 of a point's key, which is the point's name in the store."""
    return hashlib.sha256(json.dumps(dict(job), sort_keys=True).encode()).hexdigest()


def compute(job: Mapping[str, Any]) -> dict[str, Any]:
    """Computes the metrics of a point in SI units, with 95 % intervals over episodes. Runs on a worker, in one thread.

    If the policy cannot decide in this ward, the point is "unavailable", with the reason. Raises `RuntimeError` if the worker's
    code or networks differ from those of the sweep, because its results would differ too.
    """
    begun = time.perf_counter()
    torch.set_num_threads(1)
    if job["code"] != code_version():
        raise RuntimeError("this worker runs another version of the code than the sweep: bring it to the same state")
    if job["networks"] != fingerprint(job["policy"]):
        raise RuntimeError(f"policy {job['policy']!r} has other networks on this worker than where the sweep was begun")
    s = scenario(job["scenario"])
    if reason := why_not(job["policy"], s):
        return {"state": "unavailable", "reason": reason, "seconds": time.perf_counter() - begun}
    shares = cast(Shares, job["shares"])
    summary = Summary(s, job["policy"], shares, job["seed"], entry(job["policy"]).network)
    for record in records(s, job["policy"], job["episodes"], job["seed"], shares):
        summary.add(record)
    values = summary.values()
    metrics = {name: values.get(name) for name in (*METRICS, *CONTEXT)}
    done = {"state": "done", "network": values["network"], "ci95": values["ci95"]}
    if job.get("per_episode"):
        done["sums"] = summary.sums
    return {**done, **metrics, "seconds": time.perf_counter() - begun}


class Store:
    """Results of points on disk, by key; damaged or foreign files count as absent."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def get(self, name: str) -> dict[str, Any] | None:
        """The result of the point with this key, or `None` if there is none."""
        try:
            found = json.loads(self._file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("key") != name or not isinstance(found.get("result"), dict):
            return None
        result = found["result"]
        return result if result.get("state") in ("done", "unavailable") else None

    def put(self, name: str, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Stores the result of a job. Raises `ScenarioError` if the directory cannot be written."""
        file = self._file(name)
        with os_errors(f"store = {str(self.place)!r} cannot be made a directory"):
            file.parent.mkdir(parents=True, exist_ok=True)
        stored = {"key": name, "of": dict(job), "result": dict(result)}
        write_text_atomically(file, json.dumps(stored) + "\n")

    def _file(self, name: str) -> Path:
        return self.place / name[:2] / f"{name}.json"
