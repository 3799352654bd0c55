"""Curves over one parameter, which a process of its own computes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from threading import Thread

import psutil
import pytest

from iomt_core.experiments.around import CurveComputer, Curves, axis_around, present_value
from iomt_core.experiments.evaluation import evaluate_episode
from iomt_core.experiments.sweeps.spec import sweepable
from iomt_core.policies.base import Shares
from iomt_core.scenario import PRESETS, Scenario, metadata

WARD = PRESETS["lecture"].changed(T=3)
POLICIES: Mapping[str, Shares] = {"greedy": "optimal", "sae-mt-qmix": "own"}
SECONDS = 120.0  # the process has to start first


@pytest.fixture(scope="module")
def computer() -> Iterator[CurveComputer]:
    computer = CurveComputer()
    yield computer
    computer.close()


def processes() -> set[psutil.Process]:
    """Those that compute curves."""

    def computes(one: psutil.Process) -> bool:
        try:
            return "LokyProcess" in " ".join(one.cmdline())
        except psutil.Error:  # a child of another test that has just ended
            return False

    return set(filter(computes, psutil.Process().children(recursive=True)))


def ask(
    computer: CurveComputer,
    s: Scenario,
    parameter: str,
    client: str = "someone",
    policies: Mapping[str, Shares] = POLICIES,
) -> Curves:
    return computer.curves(client, s, axis_around(s, parameter), policies, seed=4)


def complete(computer: CurveComputer, s: Scenario, parameter: str, policies: Mapping[str, Shares] = POLICIES) -> Curves:
    end = time.monotonic() + SECONDS
    while not (found := ask(computer, s, parameter, policies=policies)).complete:
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("parameter", sweepable())
def test_an_axis_holds_the_present_value_and_others_that_do_not_move_with_it(parameter: str) -> None:
    now, meta = present_value(WARD, parameter), metadata()[parameter]
    values = axis_around(WARD, parameter).values
    assert now is None or now in values
    assert 5 <= len(values) <= 12
    assert list(values) == sorted(set(values))
    assert meta.low is not None
    assert meta.high is not None
    assert meta.low <= values[0] <= values[-1] <= meta.high


def test_most_values_stay_while_the_present_one_moves() -> None:
    one, other = (axis_around(WARD.changed(F_k=f), "F_k").values for f in (1.1e9, 1.2e9))
    assert len(set(one) - {1.1e9} - set(other)) <= 1


def test_the_curve_goes_through_what_the_page_shows(computer: CurveComputer) -> None:
    curves = complete(computer, WARD, "F_k")
    for policy, shares in POLICIES.items():
        shown = evaluate_episode(WARD, policy, 4, shares)
        for metric in ("mean_delay_s", "mean_energy_j", "cost", "lower_bound"):
            curve = dict(curves.of(policy, metric))
            assert list(curve) == list(curves.axis.values)
            assert curve[WARD.F_k] == shown[metric]
        elsewhere = WARD.changed(F_k=curves.axis.values[0])
        assert curve[elsewhere.F_k] == evaluate_episode(elsewhere, policy, 4, shares)["lower_bound"]
    assert ask(computer, WARD, "F_k").complete  # it is kept


def test_the_nearest_values_come_first(computer: CurveComputer) -> None:
    s, known, end = WARD.changed(alpha_T=0.35), set[float](), time.monotonic() + SECONDS
    distances = sorted(axis_around(s, "PL0").values, key=lambda value: abs(value - s.PL0))
    while len(known) < len(distances):
        known = {value for value, policy in ask(computer, s, "PL0").results}
        assert known == set(distances[: len(known)])
        assert time.monotonic() < end
        time.sleep(0.02)


def test_where_a_policy_cannot_decide_it_says_why(computer: CurveComputer) -> None:
    curves = complete(computer, WARD, "users", {"qmix@paper": "own", "greedy": "optimal"})
    assert "fits 8 users" in curves.reasons("qmix@paper")[1.0]
    assert 1.0 not in dict(curves.of("qmix@paper", "cost"))
    assert 1.0 in dict(curves.of("greedy", "cost"))


def test_a_curve_over_servers_is_of_whole_wards_also_where_one_is_switched_off(computer: CurveComputer) -> None:
    part = WARD.changed(servers_off=1)
    assert present_value(part, "servers") is None
    assert present_value(part, "users") == WARD.users
    mixed, whole = complete(computer, part, "servers"), complete(computer, WARD, "servers")
    assert (mixed.axis, mixed.results) == (whole.axis, whole.results)


def test_a_new_request_takes_the_place_of_the_last_one(computer: CurveComputer) -> None:
    long = PRESETS["paper"].changed(T=100, seed=3)
    assert not ask(computer, long, "B_k").complete
    complete(computer, WARD, "T_max")
    assert len(ask(computer, long, "B_k", "another").results) < 8  # of 16
    ask(computer, WARD, "T_max", "another")


def test_what_a_client_that_left_has_wanted_is_not_computed() -> None:
    computer, long = CurveComputer(forget_seconds=0.3), PRESETS["paper"].changed(T=100, seed=4)
    assert not ask(computer, long, "B_k", "another").complete
    complete(computer, WARD, "T_max")
    time.sleep(1.0)
    assert len(ask(computer, long, "B_k", "another").results) < 8  # of 16
    computer.close()


def test_it_goes_on_after_its_process_was_killed(computer: CurveComputer) -> None:
    complete(computer, WARD, "F_k")
    for process in processes():
        process.kill()
    end = time.monotonic() + SECONDS
    while any(complete(computer, WARD, "E_ref").reasons(policy) for policy in POLICIES):
        assert time.monotonic() < end


def test_all_threads_share_one_process(computer: CurveComputer) -> None:
    """The dashboard has a new thread for each run of a page."""
    complete(computer, WARD, "F_k")
    before = processes()
    for metric in ("T_max", "E_ref", "N0"):
        thread = Thread(target=complete, args=(computer, WARD.changed(seed=8), metric))
        thread.start()
        thread.join()
    assert processes() == before


def test_it_ends_at_once_though_much_is_wanted() -> None:
    computer, before = CurveComputer(), processes()
    assert not ask(computer, PRESETS["paper"].changed(T=100, seed=5), "B_k").complete
    began = time.monotonic()
    computer.close()
    assert time.monotonic() - began < 5
    assert processes() == before
