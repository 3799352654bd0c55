"""Sweeps: the same numbers however they come about, nothing computed twice, and clear words for what cannot be swept."""

from __future__ import annotations

import html.parser
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from iomt_core.charts.sweep import colour_span, curves
from iomt_core.charts.sweep_report import command, report
from iomt_core.cli.commands import application
from iomt_core.experiments.evaluation import evaluate
from iomt_core.experiments.sweeps.executors import executor
from iomt_core.experiments.sweeps.points import Store
from iomt_core.experiments.sweeps.run import SWEEPS, Sweep, read_results
from iomt_core.experiments.sweeps.spec import Axis, SweepSpec, axis_from_words, spaced, sweep_spec
from iomt_core.runs.queue import RunRecord
from iomt_core.scenario import PRESETS, ScenarioError, ScenarioWarning

ROOT = Path(__file__).resolve().parents[2]
WARD = PRESETS["lecture"].changed(T=2)


def tiny(**changes: Any) -> SweepSpec:
    values = {"scenario": WARD, "axes": [spaced("users", 1, 3, 3)], "policies": ("greedy", "random"), "episodes": 3}
    return sweep_spec({**values, **changes})


@pytest.fixture
def here() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def swept(place: Path, spec: SweepSpec, pool: Executor, store: Path | None = None, **more: Any) -> pd.DataFrame:
    sweep = Sweep.create(place, spec, Store(store or place / "points"))
    assert sweep.run(pool, **more) == "finished"
    return pd.read_parquet(place / "results.parquet")


def after(points: int) -> tuple[Callable[[], bool], Callable[[Any], None]]:
    """A stop that is asked for as soon as so many points are done."""
    seen = {"done": 0}
    return lambda: seen["done"] >= points, lambda status: seen.update(done=status["done"])


def test_a_point_is_what_evaluate_says_of_its_scenario(tmp_path: Path, here: Executor) -> None:
    table = swept(tmp_path, tiny(seed=4), here)
    row = table[(table["users"] == 2) & (table["policy"] == "greedy")].iloc[0]
    alone = evaluate(WARD.changed(users=2), "greedy", 3, 4)
    for name in ("cost", "gap", "mean_delay_s", "mean_energy_j", "deadline_miss_share", "local_share"):
        assert row[name] == alone[name]
        assert [row[f"{name}_low"], row[f"{name}_high"]] == alone["ci95"][name]
    assert len(table) == 6


def test_values_of_a_count_are_whole_wards_and_other_values_keep_who_is_switched_off() -> None:
    part = WARD.changed(servers_off=2, users_off=(1, 3))
    counts = tiny(scenario=part, axes=[spaced("users", 1, 4, 4), axis_from_words("servers=1,2")])
    for (users, servers), ward in counts.cells.items():
        assert ward == WARD.changed(users=int(users), servers=int(servers))
    assert [note.partition(":")[0] for note in counts.notes] == ["Users", "Edge servers"]
    assert "although 2 of 3 are switched off in the present ward." in counts.notes[0]
    other = tiny(scenario=part, axes=[spaced("F_k", 1e9, 2e9, 2)])
    assert all((ward.servers_off, ward.users_off) == ((2,), (1, 3)) for ward in other.cells.values())
    assert other.notes == tiny().notes == []


def test_a_stopped_sweep_resumed_ends_with_the_numbers_of_one_that_was_not(tmp_path: Path, here: Executor) -> None:
    spec = tiny(axes=[spaced("users", 1, 16, 16)])  # so many points that the stop comes before the last
    whole = swept(tmp_path / "whole", spec, here)
    stop, on_status = after(2)
    place, store = tmp_path / "cut", Store(tmp_path / "cut-points")
    assert Sweep.create(place, spec, store).run(here, stop, on_status, report) == "stopped"
    assert "points are missing" in (place / "report.html").read_text(encoding="utf-8")
    part = pd.read_csv(place / "results.csv")
    assert 2 <= len(part) < 32
    resumed = Sweep.resume(place, store)
    assert resumed.run(here) == "finished"
    assert resumed.computed == 32 - len(part)
    pd.testing.assert_frame_equal(pd.read_parquet(place / "results.parquet"), whole, check_exact=True)


def test_what_is_known_is_not_computed_again_and_a_change_is(tmp_path: Path, here: Executor) -> None:
    store = tmp_path / "points"
    first = swept(tmp_path / "a", tiny(), here, store)
    again = Sweep.create(tmp_path / "b", tiny(), Store(store))
    again.run(here)
    assert (again.computed, again.cached) == (0, 6)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "b" / "results.parquet"), first, check_exact=True)
    wider = Sweep.create(tmp_path / "c", tiny(axes=[spaced("users", 1, 4, 4)]), Store(store))
    wider.run(here)
    assert (wider.computed, wider.cached) == (2, 6)
    other = Sweep.create(tmp_path / "d", tiny(seed=1), Store(store))
    other.run(here)
    assert other.computed == 6


def test_a_damaged_point_is_computed_again(tmp_path: Path, here: Executor) -> None:
    store = tmp_path / "points"
    first = swept(tmp_path / "a", tiny(), here, store)
    victim = next(store.rglob("*.json"))
    victim.write_text(victim.read_text()[:40])
    pd.testing.assert_frame_equal(swept(tmp_path / "b", tiny(), here, store), first, check_exact=True)


def test_a_process_pool_gives_the_same_numbers(tmp_path: Path, here: Executor) -> None:
    spec = tiny(axes=[spaced("F_k", 5e8, 2e9, 3, "logarithmic"), axis_from_words("servers=1,2")])
    local = swept(tmp_path / "here", spec, here)
    with executor(2) as pool:
        pooled = swept(tmp_path / "pool", spec, pool)
    pd.testing.assert_frame_equal(pooled, local, check_exact=True)


def start(*words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *words], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def test_a_dask_worker_killed_midway_changes_no_number(tmp_path: Path, here: Executor) -> None:
    from distributed import Client, LocalCluster

    spec = tiny(axes=[spaced("users", 1, 3, 3), spaced("seed", 0, 5, 6)])
    local = swept(tmp_path / "here", spec, here)
    with LocalCluster(n_workers=0, protocol="tcp", host="127.0.0.1", dashboard_address=None) as scheduler:
        address = scheduler.scheduler_address
        options = ("--no-nanny", "--no-dashboard", "--nthreads", "1", "--host", "127.0.0.1")
        workers = [start("distributed.cli.dask_worker", address, *options) for _ in range(2)]
        try:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
            killed = []

            def kill(status: Any) -> None:
                if status["done"] >= 4 and not killed:
                    workers[0].send_signal(signal.SIGKILL)
                    killed.append(status["done"])

            with executor(cluster=address) as pool:
                clustered = swept(tmp_path / "cluster", spec, pool, on_status=kill)
            assert killed
            assert killed[0] < spec.count
            assert workers[0].wait(timeout=10) == -signal.SIGKILL
            assert workers[1].poll() is None
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    pd.testing.assert_frame_equal(clustered, local, check_exact=True)


def test_csv_and_parquet_agree(tmp_path: Path, here: Executor) -> None:
    parquet = swept(tmp_path, tiny(), here)
    csv = pd.read_csv(tmp_path / "results.csv")
    assert list(csv.columns) == list(parquet.columns)
    for name in csv:
        if parquet[name].dtype.kind in "if":
            np.testing.assert_array_equal(csv[name].to_numpy(float), parquet[name].to_numpy(float))
        else:
            assert csv[name].astype(object).fillna("").tolist() == parquet[name].tolist()


class Loads(html.parser.HTMLParser):
    """Everything that a page would fetch, and the text it shows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.fetched += [v for k, v in values.items() if k in ("src", "href", "data", "srcset", "action") and v]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""


def test_the_report_loads_nothing_and_escapes_what_people_name_things(tmp_path: Path, here: Executor) -> None:
    name = "<img src=http://evil.example/x onerror=alert(1)></script><script>alert(2)</script>"
    swept(tmp_path, tiny(scenario=WARD.changed(name=name[:80])), here, report=report)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    seen = Loads(page)
    assert seen.fetched == []
    assert "img" not in seen.tags
    assert seen.policy.startswith("default-src 'none'")
    assert "http" not in seen.policy
    assert "onerror=alert(1)&gt;" in page
    assert page.count("plotly.js v") == 1
    assert "--over users=1,2,3" in page


def test_points_at_which_not_everything_was_done_are_open_and_to_be_compared_by_their_return(
    tmp_path: Path, here: Executor
) -> None:
    axis = axis_from_words("Cap=0.01 mJ,1 J")  # the smaller battery is empty in the first step
    spec = tiny(axes=[axis], policies=("greedy", "optimum"))
    table = swept(tmp_path, spec, here, report=report)
    labels = {"greedy": "Greedy", "optimum": "Optimum"}
    for name in ("cost", "return"):
        figure = curves(table, axis, name, labels)
        lines = {trace.name: trace for trace in figure.data if trace.name in labels.values()}
        for policy, label in labels.items():
            rows = table[table["policy"] == policy].set_index("Cap")
            left_out = (rows["episodes_ended_by_battery"] > 0) | (rows["skipped_share"] > 0)
            assert left_out.tolist() == [True, False]
            assert ["open" in symbol for symbol in lines[label].marker.symbol] == [True, False]
            assert "3 of 3 episodes ended early" in lines["Greedy"].customdata[0]
            assert list(lines[label].y) == pytest.approx(rows[name].tolist())
        (bound,) = (trace for trace in figure.data if (trace.name or "").startswith("certified"))
        column = "lower_bound" if name == "cost" else "return_bound"
        assert list(bound.y) == pytest.approx(table[table["policy"] == "optimum"][column].tolist(), rel=1e-6)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "At 2 of 4 points a battery ended episodes early, or tasks were skipped" in page
    assert "At " not in report(spec, table[table["Cap"] == 1.0], {})[:2000]


def test_the_command_of_the_report_repeats_the_sweep(tmp_path: Path, here: Executor) -> None:
    spec = tiny(scenario=PRESETS["lecture"], axes=[spaced("users", 1, 2, 2)], policies=("all-local",), episodes=1)
    expected = swept(tmp_path / "a", spec, here)
    words = shlex.split(command(spec, str(tmp_path / "b")))
    assert words[:3] == ["python", "-m", "iomt_core"]
    done = CliRunner().invoke(application(), [*words[3:], "--workers", "1", "--points", str(tmp_path / "others")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "b" / "report.html").exists()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "b" / "results.parquet"), expected, check_exact=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"axes": []}, "allowed is 1 or 2"),
        ({"axes": [spaced("users", 1, 2, 2)] * 2}, "is given twice"),
        ({"policies": ()}, "policies: 0"),
        ({"policies": ("best",)}, "policy = 'best' is not known"),
        ({"episodes": 0}, "episodes = 0 is out of range: allowed is 1 to"),
        ({"seed": -1}, "seed = -1 is out of range"),
        ({"shares": "most"}, "shares = 'most' cannot be used"),
        ({"scenario": PRESETS["hospital"], "axes": [spaced("D", 1e5, 2e5, 2)]}, "set by the task kinds"),
        ({"axes": [spaced("D", 1.1, 1e5, 2)]}, "D (low end) ="),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_with_field_value_and_range(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        tiny(**change)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("user=1:2:2", "Did you mean 'users'?"),
        ("users=1:4000:4", "users = 4000 is out of range: allowed is 1 to 2000"),
        ("users=1.5,2", "users = 1.5 is not a whole number"),
        ("users=3:1:2", "the low end may not lie above the high"),
        ("users=1:4:99", "count = 99 is out of range: allowed is 1 to 50"),
        ("users=2,1", "ascending order"),
        ("speed=0:10:3:log", "has no logarithm"),
        ("F_k=fast", "over = 'F_k=fast' cannot be read"),
        ("name=1,2", "cannot be swept"),
        ("F_k=nan,1e9", "F_k"),
    ],
)
def test_an_axis_that_cannot_be_is_refused(words: str, expected: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        axis_from_words(words)
    assert expected in str(refused.value)


def test_the_words_of_an_axis_say_it_exactly() -> None:
    for axis in (spaced("F_k", 3e8, 7e9, 7, "logarithmic"), spaced("users", 1, 9, 4), spaced("burst", 0, 0.9, 4)):
        assert axis_from_words(axis.words) == axis


def test_a_range_is_swept_by_its_middle_with_both_ends_in_proportion() -> None:
    axis: Axis = spaced("D", 2e5, 4e5, 2)
    spec = tiny(axes=[axis])
    low, high = WARD.D
    for middle, s in zip(axis.values, spec.cells.values(), strict=True):
        assert sum(s.D) / 2 == pytest.approx(middle)
        assert s.D[1] / s.D[0] == pytest.approx(high / low)


def test_a_policy_that_cannot_decide_there_leaves_a_gap_and_says_why(
    tmp_path: Path, here: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iomt_core.runs.training_run import TrainingRun
    from iomt_core.training.run_spec import RunSpec, default_settings

    monkeypatch.setenv("IOMT_RUNS", str(tmp_path / "runs"))
    settings = default_settings("qmix", episodes=8)
    ward = WARD.changed(users=2, tasks=2)
    TrainingRun.create(tmp_path / "runs" / "mine", RunSpec("qmix", ward, settings, 0)).train()
    spec = tiny(scenario=ward, policies=("run:mine", "greedy"), axes=[spaced("users", 1, 3, 3)])
    table = swept(tmp_path / "sweep", spec, here)
    mine = table[table["policy"] == "run:mine"]
    assert mine["state"].tolist() == ["unavailable", "done", "unavailable"]
    assert mine["reason"].iloc[0] == "Your run mine fits 2 users only; this ward has 1 user."
    assert mine["cost"].notna().tolist() == [False, True, False]
    line = curves(table, spec.axes[0], "cost", {"run:mine": "mine"}).data[-2]
    assert [y is None for y in line["y"]] == [True, False, True]


def test_points_of_another_network_than_the_policys_are_left_out(tmp_path: Path, here: Executor) -> None:
    """Old sweeps have such points: a policy's name meant several networks."""
    spec = tiny(scenario=PRESETS["paper"].changed(T=2), axes=[spaced("servers", 3, 4, 2)], policies=("sae-mt-qmix",))
    table = swept(tmp_path, spec, here)
    assert table["network"].tolist() == ["general network"] * 2
    points = tmp_path / "points.jsonl"
    first, second = points.read_text(encoding="utf-8").splitlines()
    points.write_text(f"{first}\n{second.replace('general network', 'paper network')}\n", encoding="utf-8")
    assert read_results(tmp_path, spec)["servers"].tolist() == [table["servers"].iloc[0]]


def test_a_running_sweep_is_drawn_with_the_traces_and_axis_of_a_finished_one(tmp_path: Path, here: Executor) -> None:
    spec = tiny(policies=("greedy", "random"))
    table, axis, names = swept(tmp_path, spec, here), spec.axes[0], {"greedy": "Greedy", "random": "Random"}
    full, part = (curves(rows, axis, "cost", names) for rows in (table, table.iloc[:1]))
    assert [trace.name for trace in part.data] == [trace.name for trace in full.data]
    assert part.layout.xaxis.range == full.layout.xaxis.range
    assert part.layout.uirevision == full.layout.uirevision


def test_nearly_equal_values_have_nearly_equal_colours() -> None:
    low, high = colour_span(pd.DataFrame({"cost": [0.1244, 0.1259]}), "cost")
    assert (0.1259 - 0.1244) / (high - low) < 0.1


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("T_max=10ms:40 ms:4", (0.01, 0.02, 0.03, 0.04)),
        ("F_k=1 GHz,2e9", (1e9, 2e9)),
        ("D=20 KB:40 KB:2", (160000, 320000)),
    ],
)
def test_an_axis_may_have_units(words: str, values: tuple[float, ...]) -> None:
    assert axis_from_words(words).values == values
    with pytest.raises(ScenarioError, match="'J' is not a unit"):
        axis_from_words("T_max=10 J,20 J")
    with pytest.warns(ScenarioWarning, match="'10 ms'"):
        axis_from_words("T_max=10,20")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the test's own sweeps; whatever still runs there at its end is ended."""
    monkeypatch.setenv("IOMT_SWEEPS", str(tmp_path / "sweeps"))
    yield tmp_path / "sweeps"
    for sweep in SWEEPS.runs():
        SWEEPS.kill(sweep.name)


def until(name: str, holds: Callable[[RunRecord], bool]) -> RunRecord:
    end = time.monotonic() + 90
    while not holds(now := SWEEPS.run(name)):
        assert time.monotonic() < end, now
        time.sleep(0.1)
    return now


def test_sweeps_queue_are_killed_resumed_and_stopped(root: Path) -> None:
    spec = tiny(scenario=PRESETS["paper"], axes=[spaced("users", 1, 16, 16)], episodes=20)
    SWEEPS.create("mine", spec, workers=1)
    assert SWEEPS.create("other", tiny(), workers=1).state == "queued"
    SWEEPS.stop("other")
    running = until("mine", lambda sweep: sweep.done >= 1)
    worker = psutil.Process(int(running.number("pid")))
    children = worker.children(recursive=True)
    worker.kill()
    assert until("mine", lambda sweep: not sweep.active).state == "interrupted"
    _, left = psutil.wait_procs(children, timeout=20)
    assert not left

    known = read_results(running.folder, spec)
    assert 1 <= len(known) < spec.count
    SWEEPS.resume("mine", workers=1)
    until("mine", lambda sweep: sweep.status["cached"] >= len(known) and sweep.done > sweep.status["cached"])
    assert SWEEPS.stop("mine").stopping
    stopped = until("mine", lambda sweep: not sweep.active)
    assert stopped.state == "stopped"
    assert len(pd.read_parquet(stopped.folder / "results.parquet")) == stopped.done < spec.count

    SWEEPS.resume("other", workers=1)
    SWEEPS.stop("other")
    assert SWEEPS.kill("other").state == "stopped"
    SWEEPS.delete("mine")
    assert [sweep.name for sweep in SWEEPS.runs()] == ["other"]


def test_a_folder_that_vanishes_under_a_sweep_is_an_error_in_words(tmp_path: Path, here: Executor) -> None:
    sweep = Sweep.create(tmp_path / "gone", tiny(), Store(tmp_path / "points"))
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(ScenarioError, match="cannot be written"):
        sweep.run(here)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".points", "a b", "x" * 61, "-x", "é"])
def test_a_name_is_never_a_path(root: Path, name: str) -> None:
    with pytest.raises(ScenarioError, match="is not there"):
        SWEEPS.run(name)
    with pytest.raises(ScenarioError, match="name ="):
        SWEEPS.create(name, tiny())


@pytest.mark.parametrize("cluster", ["http://a:1", "tcp://a", "tcp://a:99999", "tcp://a:1/x", "tcp://a b:1", ""])
def test_a_cluster_is_named_by_its_address_only(cluster: str) -> None:
    with pytest.raises(ScenarioError, match="cluster ="), executor(cluster=cluster):
        pass
