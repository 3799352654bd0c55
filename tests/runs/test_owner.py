"""Whose run it is, who may change it, and when a waiting run starts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from iomt_core.runs.directory import write_json
from iomt_core.runs.owner import OPERATOR, OWNER, Person
from iomt_core.runs.queue import RunKind, RunQueue, RunRecord
from iomt_core.runs.waiting import seconds_until_start
from iomt_core.scenario import ScenarioError

ANNA, BEN = Person.with_token("a" * 32, "Anna"), Person.with_token("b" * 32, "Anna")  # a name alone proves nothing


@pytest.fixture
def queue(tmp_path: Path) -> RunQueue:
    """A queue that starts nothing."""
    kind = RunKind(
        "run", "IOMT_RUNS", lambda: tmp_path / "runs", "train", lambda: 0, "run.json",
        read_spec=lambda folder: {}, write_spec=lambda folder, spec: write_json(folder / "run.json", spec), total=lambda spec: 1,
    )  # fmt: skip
    return RunQueue(kind)


def test_a_run_is_changed_by_its_owner_and_the_operator_only(queue: RunQueue) -> None:
    for change in (queue.stop, queue.resume, queue.delete):
        for owner, others in ((ANNA, (BEN, Person())), (OPERATOR, (ANNA, Person()))):
            name = f"{change.__name__}-{'anna' if owner is ANNA else 'operator'}"
            queue.create(name, {}, owner)
            if change == queue.resume:
                queue.stop(name, owner)
            for other in others:
                with pytest.raises(ScenarioError, match=f"{name}.*it belongs to {owner.name}; only its owner"):
                    change(name, other)
            change(name, owner)
            if change != queue.delete:
                change(name, OPERATOR)


def test_the_secret_is_not_kept_and_a_name_is_one_short_line(queue: RunQueue) -> None:
    token, name = "secret-" * 5, " An\nna\t\x00 of   group " + "x" * 100
    run = queue.create("run", {}, Person.with_token(token, name))
    assert token not in (run.folder / OWNER).read_text()
    assert run.owner.name.startswith("An na of group xxx")
    assert len(run.owner.name) == 40
    assert Person.with_token(token).may_change(run.owner)
    assert queue.create("other", {}, Person.with_token(token, " \n")).owner.name == "anonymous"


def record(name: str, state: str, **facts: float) -> RunRecord:
    status = {"seconds": facts.pop("seconds", 0), "done": facts.pop("done", 0), "updated_at": time.time()}
    if "left" in facts:
        status["seconds_left"] = facts.pop("left")
    return replace(RunRecord(name, Path(name), state, "same", total=100, status=status), **facts)  # type: ignore[arg-type]


def test_the_time_until_a_run_starts_follows_from_those_before_it() -> None:
    busy = [record("a", "running", left=30, seconds=10, done=10), record("b", "running", left=100, seconds=5, done=5)]
    first, second = record("c", "queued", ahead=0), record("d", "queued", ahead=1)
    known = [*busy, first, second]
    assert seconds_until_start(first, known, 2, str) == pytest.approx(30, abs=1)
    # The first takes 100 episodes of 1 s, from second 30 on; the other place is free before.
    assert seconds_until_start(second, known, 2, str) == pytest.approx(100, abs=1)
    assert seconds_until_start(first, known, 3, str) == 0
    assert seconds_until_start(second, known, 2, lambda spec: object()) is None, (
        "the run before it has not been measured"
    )
    assert seconds_until_start(first, [record("a", "running"), first], 1, str) is None, "the running one neither"
