"""Answers: the same numbers as a direct comparison, claims that hold when they are checked, and doubt where there is doubt."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from iomt_core.experiments.answers.goal_seek import GoalSeek
from iomt_core.experiments.answers.question import IMPACTS, Question
from iomt_core.experiments.answers.results import Results
from iomt_core.experiments.answers.run import ANSWERS, Answer, make_question, point_store, read_results
from iomt_core.experiments.answers.screening import COLUMNS, Screening, indices, scaled
from iomt_core.experiments.answers.sensitivity import PRICED, WITHOUT_EFFECT, Effect, Sensitivity
from iomt_core.experiments.answers.trade_off import TradeOff, envelope
from iomt_core.experiments.comparison.sides import Side, compare
from iomt_core.experiments.evaluation import evaluate
from iomt_core.experiments.sweeps.points import Point, Store, compute, jobs, parcel
from iomt_core.experiments.sweeps.spec import ends_from_words
from iomt_core.metrics import ANSWERS as MORE_METRICS
from iomt_core.scenario import PRESETS, Scenario, ScenarioError, metadata
from tests.wards import anywhere

ROOT = Path(__file__).resolve().parents[2]
WARD = PRESETS["lecture"].changed(T=2)


@pytest.fixture
def here() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def ask(kind: str, s: Scenario = WARD, **values: Any) -> Question:
    return make_question({"kind": kind, "scenario": s, "episodes": 3, **values})


def goal(over: str, target: float, s: Scenario = WARD, **values: Any) -> GoalSeek:
    return cast(
        GoalSeek, ask("goal-seek", s, **{"policy": "greedy", **values}, axis=ends_from_words(over, s), target=target)
    )


def answered(question: Question, place: Path, pool: Executor) -> Results:
    run = Answer.create(place, question, Store(place / "points"))
    assert run.run(pool) == "finished"
    return run.known


def some_effects(question: Sensitivity, *names: str) -> list[Effect]:
    """The effects of these parameters only, so that not all of them are played."""
    wards = [question.scenario, *(v.scenario for v in question.variations if v.parameter in names and v.scenario)]
    points = [Point((), question.policy, ward) for ward in wards]
    found = jobs(points, question.shares, question.seed, question.episodes, per_episode=True)
    results = Results({(p.scenario.digest, p.policy): compute(parcel(p, job)) for p, job in found})
    return [effect for effect in question.effects(results) if effect.pairs]


def as_if(question: GoalSeek, delay: Callable[[float], float], spread: float = 0.0) -> Results:
    """Results as they would be if the mean delay were this function of the parameter, give or take `spread`."""
    results = Results({})
    while fresh := [p for p in question.points(results) if results.of(p.scenario, p.policy) is None]:
        found = dict(results.found)
        for point in fresh:
            value = delay(point.values[0])
            sums = {"delay": [value - spread, value, value + spread], "done": [1.0] * 3, "ended": [0.0] * 3}
            found[point.scenario.digest, point.policy] = {"state": "done", "sums": sums}
        results = Results(found)
    return results


# -- what matters most -------------------------------------------------------------------------------------------------


def test_a_difference_is_that_of_a_direct_comparison() -> None:
    question = cast(Sensitivity, ask("sensitivity", policy="optimum", seed=3))
    effects = some_effects(question, "F_k", "servers", "D", "alpha_T", "users")
    assert len(effects) == 10
    for effect in effects:
        assert effect.variation.scenario is not None
        direct = compare(Side(WARD, "optimum"), Side(effect.variation.scenario, "optimum"), 3, 3)
        for metric in IMPACTS:
            mine, theirs = effect.pairs[metric], direct.pair(metric)
            assert mine.differences == pytest.approx(theirs.differences, rel=1e-9)
            assert mine.interval == pytest.approx(theirs.interval, rel=1e-9)


def test_every_parameter_is_changed_or_has_a_reason() -> None:
    question = cast(Sensitivity, ask("sensitivity", WARD.changed(alpha_T=1.0), policy="greedy"))
    seen = {(v.parameter, v.up): v for v in question.variations}
    numbers = {name for name, meta in metadata().items() if meta.low is not None} - WITHOUT_EFFECT
    assert set(seen) == set(itertools.product(numbers, (False, True)))
    assert all(bool(v.reason) != (v.scenario is not None and v.after != v.before) for v in seen.values())
    assert (seen["users", True].after, seen["F_k", False].after) == (WARD.users + 1, pytest.approx(0.9 * WARD.F_k))
    assert "upper end" in seen["alpha_T", True].reason
    assert "users move" in seen["step_time", True].reason


def test_what_is_left_out_changes_nothing() -> None:
    base = evaluate(WARD, "optimum", 2, 0)
    values = {"c": 2.0, "alpha": 1.0, "mu": 1.0, "gamma_t": 10.0, "gamma_e": 10.0, "gamma": 0.5}
    assert {*values, "seed"} == WITHOUT_EFFECT
    changed = evaluate(WARD.changed(**values), "optimum", 2, 0)
    assert [base[name] for name in IMPACTS] == [changed[name] for name in IMPACTS]


def test_shadow_prices_predict_the_change_of_the_bound() -> None:
    question = cast(Sensitivity, ask("sensitivity", PRESETS["paper"].changed(T=2), policy="greedy", change=0.01))
    base = evaluate(question.scenario, "greedy", 3, 0)
    for effect in some_effects(question, *PRICED):
        assert effect.variation.scenario is not None
        bound = evaluate(effect.variation.scenario, "greedy", 3, 0)["lower_bound"]
        predicted = (effect.predicted or 0.0) * base["cost"]
        assert predicted == pytest.approx(bound - base["lower_bound"], rel=0.05)


def test_the_indices_of_an_additive_function_are_known() -> None:
    axes = [ends_from_words(words, WARD) for words in ("F_k=1e9:2e9:linear", "B_k=1e9:2e9:linear", "users=1:8")]
    slopes = np.array([4.0, 2.0, 0.0])
    for method, samples in (("morris", 16), ("sobol", 512)):
        question = cast(Screening, ask("screening", policy="greedy", axes=axes, method=method, samples=samples))
        table = indices(question.method, axes, question.design, question.design @ slopes + 7, 0)
        if method == "morris":
            np.testing.assert_allclose(table["mu_star"], slopes, atol=1e-9)
            np.testing.assert_allclose(table["sigma"], 0, atol=1e-9)
        else:
            expected = slopes**2 / (slopes**2).sum()
            for column in ("first", "total"):
                assert (abs(table[column] - expected) < np.maximum(0.02, table[f"{column}_conf"])).all()
        again = cast(Screening, ask("screening", policy="greedy", axes=axes, method=method, samples=samples))
        np.testing.assert_array_equal(again.design, question.design)
        pd.testing.assert_frame_equal(indices(again.method, axes, again.design, again.design @ slopes + 7, 0), table)
        flat = indices(question.method, axes, question.design, np.full(len(question.design), 3.0), 0)
        assert (flat[list(COLUMNS[question.method])] == 0).all(axis=None)


def test_samples_reach_both_ends_and_incomplete_blocks_do_not_count() -> None:
    whole = ends_from_words("servers=1:4", WARD)
    assert [scaled(whole, u) for u in (0, 0.2499, 0.25, 0.999, 1)] == [1, 1, 2, 4, 4]
    logarithmic = ends_from_words("F_k=1e8:1e10", WARD)
    assert [scaled(logarithmic, u) for u in (0, 0.5, 1)] == pytest.approx([1e8, 1e9, 1e10])
    question = cast(Screening, ask("screening", policy="greedy", axes=[whole, logarithmic], samples=8))
    values = question.design @ np.array([1.0, 2.0])
    values[1] = math.nan
    np.testing.assert_allclose(indices("morris", question.axes, question.design, values, 0)["mu_star"], [1, 2])
    assert indices("morris", question.axes, question.design, values * math.nan, 0).empty


# -- how much is needed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["servers", "F_k=2e8:4e9"])
def test_the_answer_holds_and_its_neighbour_does_not(over: str, tmp_path: Path, here: Executor) -> None:
    s = WARD.changed(servers=2)
    target = evaluate(s, "greedy", 3, 0)["mean_delay_s"] * 1.001
    question = goal(over, target, s)
    finding = question.finding(answered(question, tmp_path, here))
    assert finding.verdict == "found"
    assert finding.answer is not None
    assert finding.neighbour is not None
    for probe, holds in ((finding.answer, True), (finding.neighbour, False)):
        direct = evaluate(question.ward(probe.value), "greedy", 3, 0)["mean_delay_s"]
        assert direct == pytest.approx(probe.mean, rel=1e-9)
        assert (direct <= target) == holds
    if over == "servers":
        assert (finding.answer.value, finding.neighbour.value) == (2, 1)
    else:
        assert math.log(finding.answer.value / finding.neighbour.value) <= 0.02 * math.log(20)


@pytest.mark.parametrize(
    ("seek", "delay", "verdict", "value"),
    [
        ("least", lambda v: 10 - v, "found", 5),
        ("most", lambda v: v + 1, "found", 4),
        ("least", lambda v: 3, "at once", 1),
        ("least", lambda v: v + 1, "at once", 1),
        ("most", lambda v: 9 - v, "at once", 8),
        ("least", lambda v: 20 - v, "never", None),
        ("least", lambda v: abs(v - 4) + 3, "not steady", None),
        # A rise after the crossing: every value was tried, so the least is still known.
        ("least", lambda v: 9 - v if v < 8 else 2.5, "found", 4),
    ],
)
def test_verdicts(seek: str, delay: Callable[[float], float], verdict: str, value: float | None) -> None:
    question = goal("servers", 5.0, seek=seek)
    results = as_if(question, delay)
    finding = question.finding(results)
    assert (finding.verdict, finding.answer and finding.answer.value) == (verdict, value)
    words = question.sentence(results)
    assert ("not certain" not in words) == (value is not None) or verdict in ("never", "not steady")
    if verdict == "not steady":
        assert words.startswith("No single least value")
        assert all(f"{v}" in words.partition("holds at")[2] for v in (2, 3, 4, 5, 6))


def test_a_number_of_servers_is_sought_among_whole_wards() -> None:
    part = WARD.changed(servers_off=2)
    question, whole = goal("servers=1:4", 5.0, part), goal("servers=1:4", 5.0, WARD)
    assert [question.ward(v) for v in question.grid] == [whole.ward(v) for v in whole.grid]
    results = as_if(question, lambda v: 9 - v)
    assert any("whole ward of that many" in note for note in question.notes(results))
    assert not any("whole ward of that many" in note for note in whole.notes(results))


def test_a_wavy_curve_over_a_continuous_range_is_not_claimed() -> None:
    question = goal("B_k=1e8:1e10", 0.5)
    results = as_if(question, lambda v: 0.6 + 0.3 * math.sin(4 * math.log(v)) - 0.05 * math.log10(v / 1e8))
    assert question.finding(results).verdict == "not steady"
    assert len(question.points(results)) == len(question.grid)


def test_doubt_is_said() -> None:
    question = goal("servers", 5.0)
    results = as_if(question, lambda v: 8 - v / 2, spread=0.2)
    finding = question.finding(results)
    assert finding.answer is not None
    assert finding.certain is not None
    assert finding.refuted is not None
    assert finding.refuted.value < finding.answer.value < finding.certain.value
    assert "This is not certain" in question.sentence(results)
    assert "at 7 and more, none of it at 5 and less" in question.sentence(results)


def test_a_steady_curve_is_divided_until_the_answer_is_within_a_hundredth_of_the_range() -> None:
    for crossing in (1.3e8, 1e9, 9.7e9):
        question = goal("B_k=1e8:1e10", 1 / crossing)
        finding = question.finding(as_if(question, lambda v: 1 / v))
        assert finding.answer is not None
        assert finding.neighbour is not None
        assert finding.neighbour.value < crossing <= finding.answer.value
        assert finding.answer.value / finding.neighbour.value < 100**0.011


def test_a_battery_that_never_ended_is_no_proof(tmp_path: Path, here: Executor) -> None:
    question = goal("Cap=1mJ:1J", 0.0, PRESETS["drained"].changed(users=2), metric="ended_share")
    results = answered(question, tmp_path, here)
    assert question.finding(results).verdict in ("found", "at once")
    assert "not certain" in question.sentence(results)
    probe = question.finding(results).probes[-1]
    low, high = probe.evaluation.interval(MORE_METRICS["ended_share"]) or (0, 0)
    assert low == probe.mean == 0
    assert high > 0.5


# -- what the trade-off is ---------------------------------------------------------------------------------------------


def test_no_policy_lies_below_the_bound(tmp_path: Path, here: Executor) -> None:
    policies, checked = ("optimum", "price-response", "greedy", "random"), 0
    for seed in range(12):  # every number of users with every number of tasks
        s = anywhere(seed).changed(users=1 + seed % 4, tasks=1 + seed % 3, servers=1 + seed % 3, T=2)
        question = cast(TradeOff, ask("trade-off", s, compared=policies, weights=(0.01, 0.4, 0.9, 1.0), episodes=2))
        results = answered(question, tmp_path / str(seed), here)
        lines, choices = question.bound(results), question.choices(results)
        assert {line.alpha_T for line in lines} == {choice.alpha_T for choice in choices}
        checked += len(lines) * len(choices)
        for choice, line in itertools.product(choices, lines):
            assert line.slack(choice.delay, choice.energy) >= -1e-9 * line.bound
        corners = envelope(lines, [c.delay for c in choices])
        for (delay, energy), line in itertools.product(corners, lines):
            assert line.slack(delay, energy) >= -1e-6 * line.bound
        energies = [energy for _, energy in corners]
        assert energies == sorted(energies, reverse=True)
        own = {c.alpha_T: c for c in choices if c.evaluation.policy == "optimum"}
        for alpha, choice in own.items():
            cost = evaluate(question.ward(alpha), "optimum", 2, 0)["cost"]
            weighted = alpha * choice.delay / s.T_max + (1 - alpha) * choice.energy / s.E_ref
            assert weighted == pytest.approx(cost, rel=1e-9)
    assert checked > 400


def test_a_choice_is_dominated_if_another_beats_it(tmp_path: Path, here: Executor) -> None:
    question = cast(TradeOff, ask("trade-off", compared=("optimum", "greedy", "random"), weights=(0.1, 0.5, 0.9)))
    results = answered(question, tmp_path, here)
    choices = question.choices(results)
    for one in choices:
        beaten = any(
            o.delay <= one.delay and o.energy <= one.energy and (o.delay, o.energy) != (one.delay, one.energy)
            for o in choices
        )
        assert one.dominated == beaten
    front = question.front(results)
    assert [c.energy for c in front] == sorted((c.energy for c in front), reverse=True)
    assert "The same decisions at every weight: Greedy, Random." in question.notes(results)


def test_episodes_cut_short_are_neither_drawn_nor_bounded(tmp_path: Path, here: Executor) -> None:
    s = PRESETS["drained"].changed(Cap=1e-4)
    question = cast(TradeOff, ask("trade-off", s, compared=("all-local",), weights=(0.4, 0.6), episodes=2))
    results = answered(question, tmp_path, here)
    assert question.choices(results) == []
    assert question.bound(results) == []
    assert "a battery ended episodes early" in " ".join(question.notes(results))


# -- runs --------------------------------------------------------------------------------------------------------------


def test_a_stopped_answer_keeps_what_is_done_and_ends_with_the_same_numbers(tmp_path: Path, here: Executor) -> None:
    question = goal("F_k=2e8:4e9", 2e-3)
    whole = question.table(answered(question, tmp_path / "whole", here))
    place, store, seen = tmp_path / "cut", Store(tmp_path / "cut-points"), {"done": 0}
    run = Answer.create(place, question, store)
    state = run.run(here, lambda: seen["done"] >= 9, lambda status: seen.update(done=status["done"]))
    assert state == "stopped"
    kept = len(run.results)
    assert len(question.grid) < 9 <= kept < len(whole)
    assert len(pd.read_csv(place / "results.csv")) >= len(question.grid)
    again = Answer.resume(place, store)
    assert again.run(here) == "finished"
    assert again.computed == len(whole) - kept
    pd.testing.assert_frame_equal(question.table(again.known), whole, check_exact=True)
    assert read_results(place).found.keys() == again.results.keys()


def test_a_worker_of_the_queue_answers_and_writes_table_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOMT_ANSWERS", str(tmp_path))
    question = ask("trade-off", compared=("greedy", "sae-mt-qmix"), weights=(0.4, 0.6), episodes=2)
    Answer.create(tmp_path / "mine", question, point_store())
    words = [sys.executable, "-m", "iomt_core", "answer", "--resume", str(tmp_path / "mine"), "--workers", "1"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    done = ANSWERS.run("mine")
    assert (done.state, done.done, done.spec) == ("finished", 4, question)
    assert ended.stdout.strip() == question.answer(read_results(done.folder))
    table = pd.read_csv(done.folder / "results.csv")
    assert table["network"].fillna("").tolist() == ["", "", "general network", "general network"]
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert "SAE-MT-QMIX, general network" in page
    repeated = re.search(r"<pre>(python .*?)</pre>", page)
    assert repeated
    assert "--weights 0.4,0.6" in repeated[1]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("sensitivity", {"policy": "best"}, "policy = 'best' is not known"),
        ("sensitivity", {"policy": "greedy", "change": 0.9}, "change = 0.9 is out of range"),
        ("sensitivity", {"policy": "greedy", "episodes": 1}, "episodes = 1 is out of range: allowed is 2 to"),
        ("screening", {"policy": "greedy", "axes": ["F_k"]}, "1 parameters: allowed is 2 to"),
        ("screening", {"policy": "greedy", "axes": ["F_k", "B_k"], "method": "sobol", "samples": 6}, "a power of 2"),
        ("goal-seek", {"policy": "greedy", "axis": "D", "target": 1.0, "s": "hospital"}, "set by the task kinds"),
        ("goal-seek", {"policy": "greedy", "axis": "F_k", "target": -1.0}, "target = -1"),
        (
            "goal-seek",
            {"policy": "greedy", "axis": "F_k", "target": 1.0, "metric": "gap"},
            "metric = 'gap' is not known",
        ),
        ("trade-off", {"compared": ("greedy",), "weights": (0.0, 1.0)}, "allowed is 0.01 to 1"),
        ("trade-off", {"compared": ("greedy", "greedy")}, "different ones"),
        ("why", {}, "question = 'why' is not known"),
    ],
)
def test_a_question_that_cannot_be_is_refused(kind: str, values: dict[str, Any], expected: str) -> None:
    s = PRESETS[values.pop("s", "lecture")]
    if "axes" in values:
        values["axes"] = [ends_from_words(words, s) for words in values["axes"]]
    if "axis" in values:
        values["axis"] = ends_from_words(values["axis"], s)
    with pytest.raises(ScenarioError) as refused:
        ask(kind, s, **values)
    assert expected in str(refused.value)
