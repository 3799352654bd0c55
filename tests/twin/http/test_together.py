"""Steps that wait are decided together, and are the same as alone; urgent work overtakes other work."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pandas as pd
import pytest
import torch

from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.twin.http.errors import StatusError
from iomt_core.twin.http.service import MOST_TOGETHER, Steps, Threads
from iomt_core.twin.http.views import STEP_COLUMNS
from iomt_core.twin.mapping.synchronisation import Synchronisation
from iomt_core.twin.northbound import Twin, advance_together
from tests.own_loop import run_coroutine

WARDS = {
    "greedy": PRESETS["lecture"].changed(T=4),
    "price-response": PRESETS["drained"].changed(T=4),
    "optimum": PRESETS["lecture"].changed(T=4),  # plans ahead
    "qmix@paper": PRESETS["paper"].changed(T=4),  # with memory
}


@pytest.fixture
def threads() -> Iterator[Threads]:
    opened = Threads(1, waiting=100)
    yield opened
    opened.close()


def twins(s: Scenario, policy: str, count: int) -> list[Twin]:
    """Twins with different tasks at different steps."""
    made = [Twin(s, policy, seed) for seed in range(count)]
    for number, twin in enumerate(made):
        for _ in range(number % 3):
            twin.advance()
    return made


@pytest.mark.parametrize("policy", WARDS)
def test_a_step_of_several_twins_is_that_of_each_alone(policy: str) -> None:
    together, alone = (twins(WARDS[policy], policy, 5) for _ in range(2))
    for _ in range(2):
        for record, twin in zip(advance_together(together), alone, strict=True):
            expected = twin.advance()
            assert torch.equal(record.action.choice, expected.action.choice)
            for name in ("cpu", "bandwidth"):
                torch.testing.assert_close(
                    getattr(record.action, name), getattr(expected.action, name), rtol=1e-5, atol=1e-6
                )
            torch.testing.assert_close(record.snapshot.battery, expected.snapshot.battery, rtol=1e-5, atol=0)
            assert (record.step, record.scenario) == (expected.step, expected.scenario)
    tables = [[twin.table() for twin in several] for several in (together, alone)]
    for found, expected_table in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(found, expected_table, rtol=1e-5)


def test_forks_of_a_twin_that_is_synchronised_late_keep_what_each_has_seen() -> None:
    first = Twin(WARDS["greedy"], "greedy", 3, synchronisation=Synchronisation(interval=2, delay=1))
    first.advance()
    fork, alone = first.fork(shares="optimal"), first.fork(shares="optimal")
    assert fork.decider is first.decider
    for _ in range(2):
        advance_together([first, fork])
        alone.advance()
    pd.testing.assert_frame_equal(fork.table(), alone.table())


def test_requests_that_wait_are_all_answered(threads: Threads) -> None:
    steps, s = Steps(threads), WARDS["greedy"]
    several = twins(s, "greedy", MOST_TOGETHER + 5)
    others = twins(s, "all-local", 3)

    async def play() -> list[bytes]:
        return await asyncio.gather(*(steps.play(twin) for twin in (*several, *others)))

    for twin, answer in zip((*several, *others), run_coroutine(play()), strict=True):
        shown, table = json.loads(answer), twin.table()
        last = table[table["step"] == shown["step"]]
        assert shown["tasks"]["choice"] == last["choice"].tolist()
        assert set(shown["tasks"]) == set(STEP_COLUMNS)


def test_an_episode_that_is_over_does_not_disturb_others(threads: Threads) -> None:
    steps, (over, twin) = Steps(threads), twins(WARDS["greedy"], "greedy", 2)
    over.run()

    async def play() -> list[bytes | BaseException]:
        return await asyncio.gather(steps.play(over), steps.play(twin), return_exceptions=True)

    refused, answer = run_coroutine(play())
    assert isinstance(refused, ScenarioError)
    assert "the episode ended in step 4" in str(refused)
    assert isinstance(answer, bytes)
    with pytest.raises(RuntimeError, match="ended"):
        advance_together([twin, over])
    assert int(twin.record().step.max()) == 2  # nobody was stepped


def test_an_error_reaches_everybody_who_waits(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, several = Steps(threads), twins(WARDS["greedy"], "greedy", 3)

    def broken(given: object) -> None:
        raise ScenarioError("broken")

    async def play() -> list[bytes | BaseException]:
        return await asyncio.gather(*(steps.play(twin) for twin in several), return_exceptions=True)

    with monkeypatch.context() as patch:
        patch.setattr("iomt_core.twin.http.service.play_steps", broken)
        assert [str(error) for error in run_coroutine(play())] == ["broken"] * 3
    assert all(isinstance(answer, bytes) for answer in run_coroutine(play()))


def test_urgent_work_overtakes_and_too_much_is_refused() -> None:
    threads, order, begin = Threads(1, waiting=2), list[str](), threading.Event()

    async def work() -> None:
        first = asyncio.create_task(threads.run(begin.wait, 10))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(threads.run(order.append, "slow", urgent=False))]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(threads.run(order.append, "urgent")))
        await asyncio.sleep(0)
        with pytest.raises(StatusError, match="busy"):
            await threads.run(order.append, "too much")
        begin.set()
        await asyncio.gather(first, *waiting)
        gone = asyncio.create_task(threads.run(order.append, "gone"))
        gone.cancel()
        assert await threads.run(len, "as before") == 9

    run_coroutine(work())
    threads.close()
    assert order == ["urgent", "slow"]
