"""The process beside the dashboard: how far it is, and that it stops what nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from iomt_core.experiments.around import CurveComputer, Request, certificate, played
from iomt_core.experiments.background import BackgroundProcess, Task
from iomt_core.model import progress
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import first_episode, play

WARD = PRESETS["lecture"].changed(T=2)
SECONDS = 60.0


@pytest.fixture(scope="module")
def process() -> Iterator[BackgroundProcess]:
    process = BackgroundProcess()
    yield process
    process.close()


def tick(seconds: float) -> str:
    """A long computation that reports the share of it that is done."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.report(1 - left / seconds)
        time.sleep(0.01)
    return "done"


def ended(task: Task) -> bool:
    end = time.monotonic() + SECONDS
    while not task.future.done() and time.monotonic() < end:
        time.sleep(0.01)
    return task.future.done()


def test_parts_of_a_computation_report_shares_of_the_whole() -> None:
    seen: list[float] = []
    with progress.watched(seen.append), progress.part(0.5, 1.0):
        for n in range(2):
            with progress.part(n / 2, (n + 1) / 2):
                progress.report(0.5)
                progress.report()
    progress.report(0.1)  # nobody watches
    assert seen == pytest.approx([0.5, 0.5, 0.625, 0.625, 0.75, 0.875, 0.875])


def test_it_computes_one_task_after_the_other_and_says_how_far_each_is(process: BackgroundProcess) -> None:
    first, second = process.submit(tick, 0.5), process.submit(tick, 0.0)
    shares = []
    while not first.future.done():
        shares.append(process.share(first))
        assert process.share(second) == 0.0 or first.future.done()
        time.sleep(0.02)
    assert shares == sorted(shares)
    assert shares[-1] > 0.5
    assert ended(second)
    assert second.future.result() == "done"
    assert process.share(second) == 1.0


def test_it_stops_what_nobody_waits_for_any_more(process: BackgroundProcess) -> None:
    assert ended(process.submit(tick, 0.0))
    stopped, forgotten, kept = (
        process.submit(tick, 500.0),
        process.submit(tick, 500.0, seconds=0.3),
        process.submit(tick, 0.1),
    )
    while process.share(stopped) == 0.0:
        time.sleep(0.01)
    process.stop(stopped)
    assert ended(kept)  # the others gave way
    assert stopped.stopped
    assert forgotten.stopped
    assert not kept.stopped


def test_a_new_ward_takes_the_place_of_the_last_one_also_if_that_has_begun(process: BackgroundProcess) -> None:
    computer = CurveComputer(process=process)
    long = {"certificate": Request.of(certificate, PRESETS["crowded"].changed(T=2000), "optimum", 0)}
    found, done = computer.large("page", long)
    end = time.monotonic() + SECONDS
    while done["certificate"] == 0.0 and time.monotonic() < end:
        found, done = computer.large("page", long)
        time.sleep(0.02)
    assert 0 < done["certificate"] < 1
    short = {
        "record": Request.of(played, WARD, "price-response", "own", 3),
        "certificate": Request.of(certificate, WARD, "optimum", 3),
    }
    while len(found) < 2 and time.monotonic() < end:
        found, _ = computer.large("page", short)
        time.sleep(0.02)
    here = play(WARD, "price-response", 3)
    assert found["record"].dual is None
    assert torch.equal(found["record"].action.choice, here.action.choice)
    dual = first_episode(WARD, 3).dual
    assert dual is not None
    assert torch.equal(found["certificate"].bound, dual.bound)
    assert found["certificate"].values.numel() == 0


def test_what_is_quick_does_not_wait_for_what_takes_long(process: BackgroundProcess) -> None:
    other = BackgroundProcess()
    computer = CurveComputer(process=process, quick=other)
    end, found = time.monotonic() + SECONDS, dict[str, object]()
    long = {"certificate": Request.of(certificate, PRESETS["crowded"].changed(T=2000), "optimum", 1)}
    quick = {"record": Request.of(played, WARD, "nearest", "own", 4, quick=True)}
    try:
        while not found and time.monotonic() < end:
            computer.large("bound", long)
            found, _ = computer.large("map", quick)
            time.sleep(0.02)
        assert "record" in found
        assert not computer.large("bound", long)[0]
    finally:
        computer.large("bound", {})  # given up
        other.close()
