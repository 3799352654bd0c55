"""A step whose users are divided among workers: its bound is that of one machine, and a lost worker is an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from typing import Any

import psutil
import pytest
import torch
from typer.testing import CliRunner

from iomt_core.cli.commands import application
from iomt_core.experiments.blocks.block import MOST_WARD_USERS, WardStep
from iomt_core.experiments.blocks.bound import bound_of, ward_bound
from iomt_core.experiments.blocks.workers import resident_workers
from iomt_core.paths import ROOT
from iomt_core.policies.dual import solve_dual
from iomt_core.scenario import PRESETS, Places, Scenario, ScenarioError
from tests.wards import BY_USER, anywhere, steps, whole_range

WARD = PRESETS["paper"].changed(users=30, T=3)
MOVING = PRESETS["hospital"].changed(users=23, T=3, speed=1.0, burst=0.6, background=0.4)


class Here:
    """A worker in this process."""

    name = "here"

    def start(self, kind: type, *arguments: Any) -> Future[Any]:
        self.kept = kind(*arguments)
        return self._done(None)

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        return self._done(getattr(self.kept, method)(*arguments))

    def is_lost(self) -> bool:
        return False

    def _done(self, value: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(value)
        return future


def here(count: int) -> list[Here]:
    return [Here() for _ in range(count)]


@pytest.mark.parametrize("s", [MOVING, WARD, *(anywhere(n) for n in range(6))])
def test_a_block_is_drawn_as_the_whole_ward_has_it(s: Scenario) -> None:
    whole = steps(s, 3).select(slice(2, 3))
    ward = WardStep(s, s.users, 2)
    parts = [ward.draw(users) for users in ward.shares(3)]
    for name in sorted(BY_USER):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], 1), getattr(whole, name))
    for part in parts:
        assert all(torch.equal(getattr(part, x), getattr(whole, x)) for x in ("F_k", "B_k", "latency", "servers_xy"))


@pytest.mark.parametrize("seed", range(21))
def test_the_bound_is_that_of_one_machine_however_the_users_are_divided(seed: int) -> None:
    s = anywhere(seed) if seed % 3 else whole_range(seed)[0]
    whole = solve_dual(steps(s, 1), s)
    divided = [bound_of(WardStep(s, s.users), here(count)) for count in (1, 2, 3)]
    for one in divided:
        assert one.bound == pytest.approx(float(whole.bound), rel=1e-6)
        assert one.skip_bound == pytest.approx(float(whole.skip_bound), rel=1e-6)
        assert one.gap >= 0


def test_a_ward_beyond_the_range_of_scenarios_grows_from_a_smaller_one() -> None:
    """Its first users are those of the smaller ward, and its bound is that of all of them together."""
    s = WARD.changed(users=1, tasks=2)
    ward = WardStep(s, 4100)
    assert torch.equal(ward.draw(range(30)).D, steps(s.changed(users=30), 1).D)
    blocks = [block for share in ward.shares(2) for block in ward.blocks(share)]
    assert [user for block in blocks for user in block] == list(range(4100))
    assert max(map(len, blocks)) <= 2000
    one, two = (bound_of(ward, here(count)) for count in (1, 2))
    assert one.bound == pytest.approx(two.bound, rel=1e-9)
    assert one.cost == pytest.approx(two.cost, rel=1e-4)  # tasks are divided within blocks
    assert 0 <= one.gap < 0.01


def test_processes_keep_their_blocks_and_a_lost_one_is_an_error() -> None:
    whole, before = solve_dual(steps(WARD, 1), WARD), set(psutil.Process().children())
    with resident_workers(2) as workers:
        found = bound_of(WardStep(WARD, WARD.users), workers)
        assert found.bound == pytest.approx(float(whole.bound), rel=1e-6)
        assert [used.users for used in found.workers] == [15, 15]
        assert all(used.peak >= used.before > 1e7 for used in found.workers)

        def kill(count: int) -> None:
            if count == 3:
                next(
                    p for p in psutil.Process().children() if p not in before and "spawn_main" in p.cmdline()[-2]
                ).kill()

        with pytest.raises(ScenarioError, match=r"workers: process \d is lost"):
            bound_of(WardStep(WARD, WARD.users), workers, kill)


def test_a_cluster_gives_the_same_bound_and_a_lost_worker_is_an_error() -> None:
    from distributed import Client, LocalCluster

    whole, ward = solve_dual(steps(WARD, 2, 1).select(slice(1, 2)), WARD), WardStep(WARD, WARD.users)
    with LocalCluster(n_workers=0, protocol="tcp", host="127.0.0.1", dashboard_address=None) as scheduler:
        address = scheduler.scheduler_address
        with pytest.raises(ScenarioError, match="has no worker"):
            ward_bound(ward, cluster=address)
        worker = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard", "--nthreads", "1",
             "--host", "127.0.0.1"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=60)
            words = f"bound --set users={WARD.users} --set T={WARD.T} --step 2 --seed 1 --cluster {address}"
            done = CliRunner().invoke(application(["bound"]), words.split())
            assert done.exit_code == 0, done.exception
            assert f"{float(whole.bound):.8g}" in done.stdout
            with pytest.raises(ScenarioError, match=r"workers: tcp://\S+ is lost"):
                ward_bound(
                    ward, cluster=address, on_iteration=lambda n: worker.send_signal(signal.SIGKILL) if n == 3 else None
                )
        finally:
            worker.kill()
            worker.wait()


@pytest.mark.parametrize(
    ("s", "users", "step", "message"),
    [
        (WARD, 0, 0, "users = 0 is out of range"),
        (WARD, MOST_WARD_USERS + 1, 0, "users = 1000001 is out of range"),
        (WARD, 30, 3, "step = 4 is out of range: allowed is 1 to 3"),
        (WARD.changed(users=2, servers=1, places=Places(users=((0, 0),) * 2, servers=((1, 1),))), 3, 0, "allowed is 2"),
    ],
)
def test_a_ward_that_cannot_be_is_refused(s: Scenario, users: int, step: int, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        WardStep(s, users, step)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--set users=2.5", "no whole number"),
        ("--set users=1e999", "no whole number"),
        ("--set users=many", "users = 'many': not a number"),
        ("--set user=5", "Did you mean 'users'"),
        ("--set users", "NAME=VALUE"),
        ("--workers 65", "workers = 65 is out of range"),
        ("--workers 2 --cluster tcp://a:1", "give one of them"),
        ("--cluster http://a:1", "not a scheduler's address"),
        ("--scenario city --set users=500", "allowed is 100"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(words: str, message: str) -> None:
    failed = CliRunner().invoke(application(["bound"]), ["bound", *words.split()]).exception
    assert isinstance(failed, ScenarioError)
    assert message in str(failed)
