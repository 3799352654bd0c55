"""The state of a run is true whatever happens to its process, its directory, its disk or its onlookers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from iomt_core.runs import jobs as jobs
from iomt_core.runs.curves import curves, thinned
from iomt_core.runs.downloads import checkpoint_zip, metrics_csv
from iomt_core.runs.jobs import Job
from iomt_core.runs.run import last_checkpoint
from iomt_core.runs.workers import Worker, read_json, seat
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import catalogue
from iomt_core.training.run_spec import RunSpec
from tests.runs.test_runs import SHORT, WARD

ROOT = Path(__file__).parents[2]
BRIEF = RunSpec("mt-pdqn", WARD, SHORT.model_copy(update={"updates": 1}), seed=1)
ENDLESS = RunSpec(
    "mt-pdqn", WARD, SHORT.model_copy(update={"episodes": 1_000_000, "evaluate_every": 1_000_000}), seed=1
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for runs of the test's own; whatever still trains there at its end is ended."""
    runs = tmp_path / "runs"
    monkeypatch.setenv("IOMT_RUNS", str(runs))
    monkeypatch.delenv("IOMT_WORKERS", raising=False)
    yield runs
    for file in runs.glob("*/worker.json"):
        worker = Worker.of(read_json(file))
        process = worker.process() if worker else None
        if process is not None and process.pid != os.getpid():
            process.kill()


def until(name: str, holds: Callable[[Job], bool], timeout: float = 90.0) -> Job:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        now = jobs.job(name)
        if holds(now):
            return now
        time.sleep(0.05)
    raise AssertionError(f"{jobs.job(name)} after {timeout} s")


def trains(now: Job) -> bool:
    return now.state == "running" and not now.starting and now.episodes >= 16


def process_of(now: Job) -> psutil.Process:
    worker = Worker.of(read_json(now.place / "worker.json"))
    process = worker.process() if worker else None
    assert process is not None
    return process


def test_two_train_at_once_and_the_queue_moves_on_without_anybody(place: Path) -> None:
    # Begun by a process that is gone at once, as a server that is restarted would be.
    code = (
        "from iomt_core.runs import jobs; from tests.runs.test_jobs import BRIEF\n"
        "for name in ('a', 'b', 'c'): jobs.create(name, BRIEF)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert [(job.name, job.state, job.ahead) for job in reversed(jobs.jobs())] == [
        ("a", "running", 0), ("b", "running", 0), ("c", "queued", 0),
    ]  # fmt: skip
    began: list[str] = []
    most = 0
    end = time.monotonic() + 120
    while time.monotonic() < end and not all(job.state == "finished" for job in jobs.jobs()):
        active = sorted(job.name for job in jobs.jobs() if job.active)
        most = max(most, len(active))
        began += [name for name in active if name not in began]
        time.sleep(0.02)
    assert [job.state for job in jobs.jobs()] == ["finished"] * 3
    assert most == 2
    assert sorted(began[:2]) + began[2:] == ["a", "b", "c"]
    assert {"run:a", "run:c"} <= set(catalogue())
    found = curves(place / "a")
    assert len(found.metrics["episodes"]) == SHORT.episodes / SHORT.num_envs
    assert found.beside["optimum"]["gap"] < found.beside["random"]["gap"]
    assert found.bound is not None
    assert found.bound <= found.beside["optimum"]["cost"]
    assert metrics_csv(place / "a").count("\n") == 1 + SHORT.episodes / SHORT.num_envs
    assert checkpoint_zip(place / "a")[:2] == b"PK"


def test_a_run_is_halted_killed_resumed_and_stopped_by_two_at_once(place: Path) -> None:
    jobs.create("one", ENDLESS)
    now = until("one", trains)
    with pytest.raises(ScenarioError, match="cannot be deleted: it is running; stop it first"):
        jobs.delete("one")
    with pytest.raises(ScenarioError, match="name = 'one' is taken"):
        jobs.create("one", ENDLESS)

    assert jobs.pause("one").state == "paused"
    before = (place / "one" / "metrics.jsonl").stat().st_size
    time.sleep(0.8)
    assert (place / "one" / "metrics.jsonl").stat().st_size == before
    asked = time.time()
    assert jobs.resume("one").state == "running"
    later = until("one", lambda job: job.told > asked)
    assert later.seconds - now.seconds < later.told - now.told - 0.7, "the pause does not count as training"

    process_of(later).kill()
    assert until("one", lambda job: job.state != "running").state == "interrupted"
    with pytest.raises(ScenarioError, match="cannot be stopped: it is interrupted"):
        jobs.stop("one")
    kept = last_checkpoint(place / "one")
    assert kept is not None

    jobs.resume("one")
    assert until("one", lambda job: not job.starting).episodes >= int(kept.name)
    until("one", trains)
    threads = [threading.Thread(target=jobs.stop, args=("one",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = until("one", lambda job: not job.active)
    assert ended.state == "stopped"
    last = last_checkpoint(place / "one")
    assert last is not None
    assert int(last.name) == ended.episodes == curves(place / "one").metrics["episodes"][-1]
    assert jobs.stop("one").state == "stopped"

    jobs.delete("one")
    assert jobs.jobs() == []
    assert not list(place.glob("*/one*"))
    with pytest.raises(ScenarioError, match="run = 'one' is not there"):
        jobs.resume("one")


def test_a_full_disk_leaves_the_last_checkpoint_and_is_told_in_words(place: Path) -> None:
    jobs.create("full", ENDLESS)
    now = until("full", trains)
    process_of(now).rlimit(psutil.RLIMIT_FSIZE, (100_000, 100_000))  # smaller than the weights, larger than its lines
    failed = until("full", lambda job: not job.active)
    assert failed.state == "failed"
    assert "cannot be written: " in failed.reason
    assert "too large" in failed.reason
    kept = last_checkpoint(place / "full")
    assert kept is not None
    assert not list((place / "full" / "checkpoints").glob(".*"))
    jobs.resume("full")
    assert until("full", lambda job: job.episodes > failed.episodes).state == "running"


def test_a_directory_that_vanishes_under_a_run_stays_away(place: Path) -> None:
    jobs.create("gone", ENDLESS)
    process = process_of(until("gone", trains))
    (place / "gone").rename(place.parent / "elsewhere")
    process.wait(60)
    assert not (place / "gone").exists()
    with pytest.raises(ScenarioError, match="run = 'gone' is not there"):
        jobs.stop("gone")


def made(place: Path, name: str, **files: object) -> Job:
    """A run that no process ever had."""
    folder = place / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(BRIEF.as_json()))
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return jobs.job(name)


def test_a_process_number_given_away_again_is_not_the_worker(place: Path) -> None:
    me = Worker.me()
    assert made(place, "mine", worker=vars(me)).state == "running"
    other = {"pid": me.pid, "started": me.started - 3600}
    assert made(place, "old", worker=other, status={"state": "running", **other}).state == "interrupted"
    jobs.delete("old")
    os.kill(me.pid, 0)


def test_a_queued_run_can_be_taken_out_and_put_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOMT_WORKERS", "1")
    made(place, "busy", worker=vars(Worker.me()))
    for name in ("a", "b"):
        assert jobs.create(name, BRIEF).state == "queued"
    assert jobs.stop("a").state == "stopped"
    assert jobs.resume("a").ahead == 1
    jobs.delete("b")
    assert jobs.job("a").ahead == 0
    monkeypatch.setenv("IOMT_WORKERS", "none")
    with pytest.raises(ScenarioError, match="IOMT_WORKERS = 'none' cannot be used: allowed is 1 to 64"):
        jobs.start_waiting()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc",
        "a\\b",
        "-a",
        "a-",
        "A",
        "a b",
        "a\n",
        "ä",
        "a.b",
        "a\x00",
        "a" * 41,
        "run:a",
    ],
)
def test_hostile_names_are_refused(name: str, place: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be used: allowed are 1 to 40 of a-z"):
        jobs.create(name, BRIEF)
    made(place, "victim")
    for act in (jobs.stop, jobs.resume, jobs.pause, jobs.delete):
        with pytest.raises(ScenarioError, match="is not there"):
            act(name)
    assert (place / "victim" / "run.json").exists()


def test_suggested_names_are_names(place: Path) -> None:
    made(place, "x-1")
    assert jobs.free_name("x") == "x-2"
    for words in ("", "../../etc", "Ünïcode ward!", "a" * 200):
        jobs.checked_name(jobs.free_name(words))


def test_a_run_is_trained_by_one_process_only(place: Path) -> None:
    made(place, "one")
    code = "import sys, time; from pathlib import Path; from iomt_core.runs import workers\n"
    code += "workers.SEAT_WAIT = 0.1\nwith workers.seat(Path(sys.argv[1])): pass"
    with seat(place / "one"):
        told = subprocess.run([sys.executable, "-c", code, place / "one"], cwd=ROOT, capture_output=True, text=True)
    assert "is being trained by another process" in told.stderr
    assert subprocess.run([sys.executable, "-c", code, place / "one"], cwd=ROOT).returncode == 0


def test_a_run_that_cannot_be_read_is_shown_and_can_go(place: Path) -> None:
    made(place, "odd")
    (place / "odd" / "run.json").write_text('{"algorithm": 7}')
    os.utime(place / "odd" / "run.json", ns=(1, 1))
    (place / "not-a-run").mkdir()
    assert [(job.name, job.state) for job in jobs.jobs()] == [("odd", "failed")]
    assert "algorithm = 7 cannot be used" in jobs.job("odd").reason
    jobs.delete("odd")
    assert jobs.jobs() == []


def test_lines_are_followed_as_they_grow_are_cut_and_replaced(place: Path) -> None:
    path = made(place, "one").place / "metrics.jsonl"

    def seen() -> list[float]:
        return list(curves(path.parent).metrics.get("cost", []))

    assert seen() == []
    with path.open("w") as file:
        file.write('{"episodes": 4, "cost": 1.0}\n{"episodes": 8, "co')
        file.flush()
        assert seen() == [1.0]
        file.write('st": 2.0}\nnot JSON\n[1]\n{"episodes": 12, "cost": NaN, "new": 1}\n')
        file.flush()
        assert seen()[:2] == [1.0, 2.0]
    assert [len(values) for values in curves(path.parent).metrics.values()] == [3, 3, 3]
    assert thinned(curves(path.parent).metrics, "cost") == ([4.0, 8.0], [1.0, 2.0])
    other = path.with_name("other")
    other.write_text('{"episodes": 4, "cost": 7.0}\n')
    other.replace(path)
    assert seen() == [7.0]
    shutil.rmtree(path.parent)
    assert seen() == []


def test_a_drawn_curve_is_short_and_its_points_stay() -> None:
    def drawn(count: int) -> tuple[list[float], list[float]]:
        return thinned({"episodes": [float(n) for n in range(count)], "y": [float(n % 7) for n in range(count)]}, "y")

    for count in (1, 499, 500, 501, 4000, 99_999):
        x, y = drawn(count)
        assert 0 < len(x) == len(y) <= 500
        assert sum(y) / len(y) == pytest.approx(sum(n % 7 for n in range(count)) / count, abs=0.1)
    assert drawn(1100)[0][:200] == drawn(1900)[0][:200]
