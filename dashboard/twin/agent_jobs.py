"""Training of agents' twins and of models of tasks in the background, for the Twin page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from iomt_core.experiments.agent_twins import TwinCheck, check_twin
from iomt_core.runs.owner import Person
from iomt_core.scenario import ScenarioError
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.mapping.agent_twin import AgentTwin, train_agent
from iomt_core.twin.mapping.generation import GeneratedTasks, generate
from iomt_core.twin.warehouse.errors import WarehouseError

Kind = Literal["twin", "tasks"]
State = Literal["running", "finished", "failed"]
AGENTS = "agents"  # folder of the twins, in the warehouse's
COMPARED_EPISODES = 20


@dataclass
class AgentJob:
    """A process that trains from the log of one user, and the thread of the server that follows it."""

    kind: Kind
    warehouse: str
    user: int
    owner: Person
    part: float = 0.0  # that is done, 0 to 1
    state: State = "running"
    problem: str = ""
    check: TwinCheck | None = None  # of a twin
    generated: GeneratedTasks | None = None  # of a model of tasks
    started: float = field(default_factory=time.monotonic)
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take; None before that is known."""
        return (time.monotonic() - self.started) * (1 / self.part - 1) if self.part > 0 else None


_jobs: dict[tuple[str, Kind, int], AgentJob] = {}  # the latest one of each kind and user
_lock = threading.Lock()


def job_of(warehouse: str, kind: Kind, user: int) -> AgentJob | None:
    """The latest job since the server was started; None if there was none."""
    return _jobs.get((warehouse, kind, user))


def running() -> AgentJob | None:
    """The job that runs, of whatever warehouse."""
    return next((job for job in _jobs.values() if job.state == "running"), None)


def start_twin(folder: Path, user: int, person: Person) -> AgentJob:
    """Begins to train the twin of a user's agent. Raises `ScenarioError` if another job runs."""
    return _start(folder, AgentJob("twin", folder.name, user, person), _train)


def start_tasks(folder: Path, user: int, model: str, person: Person) -> AgentJob:
    """Begins to train a model of a user's tasks, and to generate. Raises `ScenarioError` if another job runs."""
    return _start(folder, AgentJob("tasks", folder.name, user, person), lambda job, *rest: _generate(job, model, *rest))


def twin_of(folder: Path, user: int) -> AgentTwin | None:
    """The user's twin on disk; None if there is none that can be read."""
    try:
        return AgentTwin.load(twin_folder(folder, user))
    except ScenarioError:
        return None


def twin_folder(folder: Path, user: int) -> Path:
    """Where a user's twin is."""
    return folder / AGENTS / f"user-{user}"


def _start(folder: Path, job: AgentJob, work: Callable[[AgentJob, Path, Any], None]) -> AgentJob:
    with _lock:
        if (other := running()) is not None:
            raise WarehouseError(f"user {other.user} of {other.warehouse} is being trained from: wait, or cancel it.")
        _jobs[folder.name, job.kind, job.user] = job
    threading.Thread(target=_work, args=(job, folder, work), name=f"{job.kind}-{job.user}", daemon=True).start()
    return job


def _work(job: AgentJob, folder: Path, work: Callable[[AgentJob, Path, Any], None]) -> None:
    try:
        with open_audit_log(folder) as log:
            work(job, folder, audit_hook(log, f"agent:{job.user}"))
        job.state = "finished"
    except ScenarioError as error:
        job.problem, job.state = str(error), "failed"
    except BaseException as error:
        job.problem, job.state = f"{type(error).__name__}: {error}", "failed"
        raise


def _train(job: AgentJob, folder: Path, audit: Any) -> None:
    twin = train_agent(folder, job.user, on_progress=_follow(job), stop=job.cancel.is_set, audit=audit)
    twin.save(twin_folder(folder, job.user))
    job.check = check_twin(folder, twin, COMPARED_EPISODES)


def _generate(job: AgentJob, model: str, folder: Path, audit: Any) -> None:
    job.generated = generate(folder, job.user, model, on_progress=_follow(job), stop=job.cancel.is_set, audit=audit)


def _follow(job: AgentJob) -> Callable[[Mapping[str, Any]], None]:
    def follow(line: Mapping[str, Any]) -> None:
        job.part = line["done"] / line["total"]

    return follow
