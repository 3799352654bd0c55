"""The tab of the Twin page about agents' twins and generated tasks."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from dashboard.twin import agent_jobs
from iomt_core.experiments.agent_twins import check_twin
from iomt_core.runs.owner import OPERATOR
from iomt_core.scenario import ScenarioError
from iomt_core.twin.mapping.agent_training import ALGORITHM, UPDATES, AgentTrainer
from iomt_core.twin.mapping.agent_twin import KIND, AgentTwin
from iomt_core.twin.mapping.generation import GeneratedTasks, fit_and_generate
from iomt_core.twin.mapping.own_episodes import own_episodes
from iomt_core.twin.mapping.sealed_log import SealedLog, sealed_copy
from iomt_core.twin.mapping.task_steps import ATTRIBUTES, TaskSteps
from iomt_core.twin.warehouse.reading import Warehouse
from tests.dashboard.test_twin import opened, root, ward, words

__all__ = ["root", "ward"]


def test_agents_twins_and_generated_tasks_are_shown(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_jobs, "_jobs", {})
    app = opened("agents")
    assert not app.button(key="twin_train").disabled
    log = SealedLog(sealed_copy(ward, 1), 1, Warehouse(ward).keys.versions(1))
    episodes, _ = own_episodes(log)
    facts = {"kind": KIND, "algorithm": ALGORITHM, "user": 1, "recording": 1, "mean_priority": episodes.mean_priority}
    facts["scenario"] = episodes.scenario.model_dump(mode="json")
    twin = AgentTwin(facts, AgentTrainer(episodes, 1, 0).weights())
    generator = np.random.default_rng(0)
    steps = TaskSteps(ATTRIBUTES[:3], generator.random((100, 2, 3)) * 1e5, np.arange(100) > 0)
    made, _ = fit_and_generate(
        steps, steps, {"model": "copula", "steps": 5, "seed": 0}, lambda line: None, lambda: False
    )
    jobs = [agent_jobs.AgentJob("twin", "lecture-1", 1, OPERATOR, state="finished", check=check_twin(ward, twin, 2)),
            agent_jobs.AgentJob("tasks", "lecture-1", 1, OPERATOR, state="finished",
                                generated=GeneratedTasks(1, "copula", steps.part(slice(5)), made["report"]))]  # fmt: skip
    for job in jobs:
        agent_jobs._jobs["lecture-1", job.kind, 1] = job
    app.run()
    assert not app.exception
    assert "2 episodes that were not recorded" in words(app)
    assert "Not private" in words(app)
    assert any("copies of a training task" in str(table.value) for table in app.table)
    jobs[0].state, jobs[0].part = "running", 0.5
    app.run()
    assert app.button(key="twin_generate").disabled
    app.button(key="twin_stop_twin").click().run()
    assert jobs[0].cancel.is_set()
    jobs[0].state, jobs[0].problem = "failed", "the disk is full"
    assert "The twin of user 1: the disk is full" in words(opened("agents"))


def test_an_agent_is_trained_in_the_background(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_jobs, "_jobs", {})
    job = agent_jobs.start_twin(ward, 2, OPERATOR)
    job.cancel.set()  # keeps what it has after the first report
    with pytest.raises(ScenarioError, match="user 2 of lecture-1 is being trained from"):
        agent_jobs.start_tasks(ward, 1, "flow", OPERATOR)
    for _ in range(1200):
        if job.state != "running":
            break
        time.sleep(0.05)
    assert (job.state, job.problem) == ("finished", "")
    twin = agent_jobs.twin_of(ward, 2)
    assert twin is not None
    assert 1 <= twin.facts["updates"] < UPDATES
    assert job.check is not None
