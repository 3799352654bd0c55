"""The state of a run stays correct when its process, its directory, its disk or other readers fail."""

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

from iomt_core.runs.curves import curves, thinned
from iomt_core.runs.directory import checked_name, read_json
from iomt_core.runs.downloads import checkpoint_zip, metrics_csv
from iomt_core.runs.process import lower_priority
from iomt_core.runs.queue import RunRecord
from iomt_core.runs.training_run import TRAINING
from iomt_core.runs.worker import Worker, run_lock
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import catalogue
from iomt_core.training.checkpoints import last_checkpoint
from iomt_core.training.run_spec import RunSpec
from tests.runs.test_training_run import SHORT, WARD

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
        worker = Worker.parse(read_json(file))
        process = worker.process() if worker else None
        if process is not None and process.pid != os.getpid():
            process.kill()


def until(name: str, holds: Callable[[RunRecord], bool], timeout: float = 90.0) -> RunRecord:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        now = TRAINING.run(name)
        if holds(now):
            return now
        time.sleep(0.05)
    raise AssertionError(f"{TRAINING.run(name)} after {timeout} s")


def trains(now: RunRecord) -> bool:
    return now.state == "running" and not now.starting and now.done >= 16


def process_of(now: RunRecord) -> psutil.Process:
    worker = Worker.parse(read_json(now.folder / "worker.json"))
    process = worker.process() if worker else None
    assert process is not None
    return process


def test_two_train_at_once_and_the_queue_moves_on_without_anybody(place: Path) -> None:
    # Begun by a process that is gone at once, as a server that is restarted would be.
    code = """
import json, os
from iomt_core.runs.training_run import TRAINING
from tests.runs.test_queue import BRIEF
for name in ("a", "b", "c"): TRAINING.create(name, BRIEF)
print(json.dumps([(run.name, run.state, run.ahead) for run in reversed(TRAINING.runs())]), flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    assert json.loads(done.stdout) == [["a", "running", 0], ["b", "running", 0], ["c", "queued", 0]]
    began = ["a", "b"]
    most = 2
    end = time.monotonic() + 120
    while time.monotonic() < end and not all(run.state == "finished" for run in TRAINING.runs()):
        active = sorted(run.name for run in TRAINING.runs() if run.active)
        most = max(most, len(active))
        began += [name for name in active if name not in began]
        time.sleep(0.02)
    assert [run.state for run in TRAINING.runs()] == ["finished"] * 3
    assert most == 2
    assert began == ["a", "b", "c"]
    assert {"run:a", "run:c"} <= set(catalogue())
    found = curves(place / "a")
    assert len(found.metrics["episodes"]) == SHORT.episodes / SHORT.num_envs
    assert found.references["optimum"]["gap"] < found.references["random"]["gap"]
    assert found.bound is not None
    assert found.bound <= found.references["optimum"]["cost"]
    assert metrics_csv(place / "a").count("\n") == 1 + SHORT.episodes / SHORT.num_envs
    assert checkpoint_zip(place / "a")[:2] == b"PK"


def test_a_run_is_killed_resumed_and_stopped_by_two_at_once(place: Path) -> None:
    TRAINING.create("one", ENDLESS)
    now = until("one", trains)
    assert now.seconds_left is not None
    with pytest.raises(ScenarioError, match="cannot be deleted: it is running; stop it first"):
        TRAINING.delete("one")
    with pytest.raises(ScenarioError, match="name = 'one' is taken"):
        TRAINING.create("one", ENDLESS)

    process_of(now).kill()
    assert until("one", lambda run: run.state != "running").state == "interrupted"
    with pytest.raises(ScenarioError, match="cannot be stopped: it is interrupted"):
        TRAINING.stop("one")
    kept = last_checkpoint(place / "one")
    assert kept is not None

    TRAINING.resume("one")
    assert until("one", lambda run: not run.starting).done >= int(kept.name)
    until("one", trains)
    threads = [threading.Thread(target=TRAINING.stop, args=("one",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = until("one", lambda run: not run.active)
    assert ended.state == "stopped"
    last = last_checkpoint(place / "one")
    assert last is not None
    assert int(last.name) == ended.done == curves(place / "one").metrics["episodes"][-1]
    assert TRAINING.stop("one").state == "stopped"

    TRAINING.delete("one")
    assert TRAINING.runs() == []
    assert not list(place.glob("*/one*"))
    with pytest.raises(ScenarioError, match="run = 'one' is not there"):
        TRAINING.resume("one")


def test_a_full_disk_leaves_the_last_checkpoint_and_is_told_in_words(place: Path) -> None:
    TRAINING.create("full", ENDLESS)
    now = until("full", trains)
    process_of(now).rlimit(psutil.RLIMIT_FSIZE, (100_000, 100_000))  # smaller than the weights, larger than its lines
    failed = until("full", lambda run: not run.active)
    assert failed.state == "failed"
    assert "cannot be written: " in failed.reason
    assert "too large" in failed.reason
    kept = last_checkpoint(place / "full")
    assert kept is not None
    assert not list((place / "full" / "checkpoints").glob(".*"))
    TRAINING.resume("full")
    assert until("full", lambda run: run.done > failed.done).state == "running"


def test_a_directory_that_vanishes_under_a_run_stays_away(place: Path) -> None:
    TRAINING.create("gone", ENDLESS)
    process = process_of(until("gone", trains))
    (place / "gone").rename(place.parent / "elsewhere")
    process.wait(60)
    assert not (place / "gone").exists()
    with pytest.raises(ScenarioError, match="run = 'gone' is not there"):
        TRAINING.stop("gone")


def made(place: Path, name: str, **files: object) -> RunRecord:
    """A run that no process ever had."""
    folder = place / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(BRIEF.as_json()))
    for file, content in files.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return TRAINING.run(name)


def test_a_process_number_given_away_again_is_not_the_worker(place: Path) -> None:
    me = Worker.current()
    assert made(place, "mine", worker=vars(me)).state == "running"
    other = {"pid": me.pid, "started": me.started - 3600}
    assert made(place, "old", worker=other, status={"state": "running", **other}).state == "interrupted"
    TRAINING.delete("old")
    os.kill(me.pid, 0)


def test_a_queued_run_can_be_taken_out_and_put_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOMT_WORKERS", "1")
    made(place, "busy", worker=vars(Worker.current()))
    for name in ("a", "b"):
        assert TRAINING.create(name, BRIEF).state == "queued"
    assert TRAINING.stop("a").state == "stopped"
    assert TRAINING.resume("a").ahead == 1
    TRAINING.delete("b")
    assert TRAINING.run("a").ahead == 0
    monkeypatch.setenv("IOMT_WORKERS", "none")
    with pytest.raises(ScenarioError, match="IOMT_WORKERS = 'none' cannot be used: allowed is 1 to 64"):
        TRAINING.start_waiting()


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
        TRAINING.create(name, BRIEF)
    made(place, "victim")
    for act in (TRAINING.stop, TRAINING.resume, TRAINING.kill, TRAINING.delete):
        with pytest.raises(ScenarioError, match="is not there"):
            act(name)
    assert (place / "victim" / "run.json").exists()


def test_suggested_names_are_names(place: Path) -> None:
    made(place, "x-1")
    assert TRAINING.free_name("x") == "x-2"
    for words in ("", "../../etc", "Ünïcode ward!", "a" * 200):
        checked_name(TRAINING.free_name(words))


def test_a_worker_steps_back_behind_other_programs() -> None:
    # In a session of its own, as a worker is: Linux lowers the whole session, here it would be that of the tests.
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    process = psutil.Process(child.pid)
    before = process.nice()
    lower_priority(process, 0)
    assert process.nice() == before
    lower_priority(process, 19)
    assert process.nice() != before
    child.communicate()


def test_a_run_is_worked_on_by_one_process_only(place: Path) -> None:
    made(place, "one")
    code = "import sys; from pathlib import Path; from iomt_core.runs import worker\n"
    code += "worker.LOCK_WAIT = 0.1\nwith worker.run_lock(Path(sys.argv[1])): pass"
    command = [sys.executable, "-c", code, str(place / "one")]
    with run_lock(place / "one"):
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "is already being worked on by another process" in refused.stderr
    with run_lock(place / "one"):
        pass


def test_servers_that_act_at_the_same_instant_start_every_run_once(place: Path, tmp_path: Path) -> None:
    """Two processes queue the same sweep and runs again and again; the log of every run's starts has one line a start."""
    starts = tmp_path / "starts"
    code = f"""
import sys, time
from pathlib import Path
from iomt_core.runs import queue, training_run
from iomt_core.scenario import ScenarioError
from tests.runs.test_queue import BRIEF, sleeper
queue.launch = sleeper(Path({str(starts)!r}))
Path(sys.argv[1]).touch()
while len(list(Path({str(tmp_path)!r}).glob("ready-*"))) < 2: time.sleep(0.001)
for n in range(5):
    try: training_run.TRAINING.create(f"run-{{n}}", BRIEF)
    except ScenarioError as error: assert "is taken" in str(error)
    training_run.TRAINING.start_waiting()
"""
    environment = {**os.environ, "IOMT_WORKERS": "4"}
    servers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / f"ready-{n}")], cwd=ROOT, env=environment)
        for n in range(2)
    ]
    assert [server.wait(120) for server in servers] == [0, 0]
    assert sorted(starts.read_text().split()) == ["run-0", "run-1", "run-2", "run-3"]
    assert [(run.name, run.state) for run in TRAINING.runs()].count(("run-4", "queued")) == 1


def sleeper(starts: Path) -> Callable[..., Worker]:
    """A launcher that notes each start and starts a process that only lives."""

    def launch(folder: Path, *_: object) -> Worker:
        with starts.open("a") as file:
            file.write(f"{folder.name}\n")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
        return Worker(child.pid, psutil.Process(child.pid).create_time())

    return launch


def test_a_run_that_cannot_be_read_is_shown_and_can_go(place: Path) -> None:
    made(place, "odd")
    (place / "odd" / "run.json").write_text('{"algorithm": 7}')
    os.utime(place / "odd" / "run.json", ns=(1, 1))
    (place / "not-a-run").mkdir()
    assert [(run.name, run.state) for run in TRAINING.runs()] == [("odd", "failed")]
    assert "algorithm = 7 cannot be used" in TRAINING.run("odd").reason
    TRAINING.delete("odd")
    assert TRAINING.runs() == []


def test_lines_are_followed_as_they_grow_are_cut_and_replaced(place: Path) -> None:
    path = made(place, "one").folder / "metrics.jsonl"

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
