"""Comparison of A and B: exact if nothing differs, antisymmetric, intervals as in scipy, correct for single decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from iomt_core.experiments.comparison.decisions import changed_decisions, flows, marks
from iomt_core.experiments.comparison.differences import differences, not_comparable, pairing
from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.comparison.sides import MOST_EPISODES, Side, advance, chunk_size, compare, episode, finished
from iomt_core.experiments.evaluation import evaluate
from iomt_core.metrics import METRICS, Metric
from iomt_core.scenario import PRESETS, ScenarioError, WorkloadTask

LECTURE = PRESETS["lecture"].changed(T=6)
FEWER = LECTURE.changed(servers=1)
WORKLOAD = LECTURE.changed(
    T=2, workload=tuple(WorkloadTask(step=t, user=u, D=2e5, C=1.5e5, P=2) for t in (1, 2) for u in (1, 3))
)


@pytest.mark.parametrize("policy", ["optimum", "random"])
def test_a_thing_beside_itself_differs_in_nothing(policy: str) -> None:
    side = Side(LECTURE, policy)
    found = compare(side, Side(LECTURE.changed(name="twin"), policy), 3, 6)
    assert all(f.difference == 0 and f.interval == [0, 0] and f.excludes_zero is False for f in found.pairs)
    assert (found.changed, found.compared) == (0, 6 * 6 * 3 * 4)
    assert changed_decisions(episode(side, 3, 2), episode(side, 3, 2)).empty
    assert differences(LECTURE, LECTURE.changed(name="twin")) == []


def test_a_parameter_without_effect_on_play_is_not_a_difference_in_results() -> None:
    found = compare(Side(LECTURE, "greedy"), Side(LECTURE.changed(gamma=0.5), "greedy"), 0, 4)
    assert found.changed == 0
    assert not any(f.excludes_zero for f in found.pairs)


def test_swapping_the_sides_turns_every_sign() -> None:
    a, b = Side(LECTURE, "optimum"), Side(FEWER, "greedy", "equal")
    there, back = compare(a, b, 0, 5), compare(b, a, 0, 5)
    for one, other in zip(there.pairs, back.pairs, strict=True):
        assert one.difference == -other.difference
        assert one.interval is not None
        assert other.interval is not None
        np.testing.assert_allclose(one.interval, (-other.interval[1], -other.interval[0]), rtol=1e-12)
        assert one.excludes_zero == other.excludes_zero
    assert (there.compared, there.changed, there.moved) == (back.compared, back.changed, back.moved)


def test_metrics_are_those_of_the_evaluation_and_intervals_those_of_the_paired_t_test() -> None:
    a, b = Side(LECTURE, "price-response"), Side(LECTURE.changed(F_k=5e8), "optimum")
    found = compare(a, b, 7, 10)
    alone = [evaluate(side.scenario, side.policy, 1, 7, shares=side.shares) for side in (a, b)]
    whole = [evaluate(side.scenario, side.policy, 10, 7, shares=side.shares) for side in (a, b)]
    for pair in found.pairs:
        assert [pair.a[0], pair.b[0]] == pytest.approx(
            [values[pair.metric.name] for values in alone], rel=1e-3, abs=1e-9
        )
        if pair.metric.name in ("mean_delay_s", "mean_energy_j", "local_share", "delay_utility_12"):
            assert [pair.mean_a, pair.mean_b] == pytest.approx([v[pair.metric.name] for v in whole], rel=1e-3)
        if pair.same:
            continue
        expected = stats.ttest_rel(pair.b, pair.a).confidence_interval(0.95)
        np.testing.assert_allclose(pair.interval, (expected.low, expected.high), rtol=1e-9)
        assert pair.excludes_zero == (stats.ttest_rel(pair.b, pair.a).pvalue < 0.05)
    assert found.pair("cost").excludes_zero


def test_one_episode_gives_no_interval() -> None:
    found = compare(Side(LECTURE, "optimum"), Side(LECTURE, "all-local"), 0, 1)
    assert all(f.interval is None and f.relative_interval is None and f.excludes_zero is None for f in found.pairs)
    assert found.pair("cost").difference > 0


def test_an_interval_around_zero_is_said_to_contain_it() -> None:
    metric = Metric("x", "X", "x of y", better="lower")
    noise = Paired(metric, (1.0, 2.0, 3.0, 4.0), (1.5, 1.5, 3.5, 3.6))
    assert noise.excludes_zero is False
    assert Paired(metric, (1.0, 2.0, 3.0), (2.0, 3.0, 4.0)).excludes_zero is True
    gap = Paired(METRICS["gap"], (0.01, 0.02, 0.03), (0.02, 0.03, 0.05))
    assert gap.interval_text == "-0.10 to +2.77 percentage points"
    assert Paired(metric, (0.0, 0.0), (1.0, 1.0)).relative is None


def test_pairing_narrows_the_interval_where_the_draws_are_shared() -> None:
    cost = compare(Side(LECTURE, "optimum"), Side(LECTURE, "greedy"), 0, 10).pair("cost")
    assert cost.narrowing is not None
    assert cost.narrowing > 1.5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Side(LECTURE, "optimum"), Side(LECTURE, "greedy")),
        (Side(LECTURE, "optimum"), Side(FEWER, "optimum")),
        (Side(LECTURE.changed(servers=4), "random"), Side(LECTURE.changed(users=2, T=4, servers=3), "offload-evenly")),
        (Side(PRESETS["drained"], "random"), Side(PRESETS["drained"], "all-local")),
        (Side(WORKLOAD, "greedy"), Side(WORKLOAD, "all-local")),
    ],
)
def test_changed_decisions_are_exactly_those_whose_choices_differ(a: Side, b: Side) -> None:
    records = [episode(side, 1, 2) for side in (a, b)]
    chosen = [
        {tuple(row[:3]): row[3] for row in r.table()[["step", "user", "task", "choice"]].to_numpy().tolist()}
        for r in records
    ]
    both = chosen[0].keys() & chosen[1].keys()
    expected = {(*at, chosen[0][at], chosen[1][at]) for at in both if chosen[0][at] != chosen[1][at]}
    table = changed_decisions(*records)
    found = table[["step", "user", "task", "choice_a", "choice_b"]].to_numpy().tolist()
    assert {tuple(row) for row in found} == expected
    assert len(found) == len(expected)
    counts = flows(*records).to_numpy()
    assert counts.sum() == len(both)
    same = sum(counts[k, k] for k in range(min(counts.shape)))
    assert counts.sum() - same == len(expected)
    for shown, other, mine in ((0, 1, 0), (1, 0, 1)):
        on_map = marks(records[shown], records[other])
        marked = {
            (int(t), i + 1, j + 1, k)
            for t, step in zip(records[shown].step, on_map, strict=True)
            for i, user in enumerate(step)
            for j, k in enumerate(user)
            if k >= 0
        }
        assert marked == {(*row[:3], row[4 - mine]) for row in expected}
    whole = compare(a, b, 1, 2)
    first = changed_decisions(episode(a, 1, 1), episode(b, 1, 1))
    assert whole.changed == len(table) + len(first)
    assert whole.moved == sum(int(((t["choice_a"] == 0) | (t["choice_b"] == 0)).sum()) for t in (table, first))


def test_a_change_table_adds_up() -> None:
    a, b = (episode(Side(LECTURE, policy), 0, 1) for policy in ("optimum", "all-local"))
    table = changed_decisions(a, b)
    np.testing.assert_allclose(table["cost_change"], table["cost_b"] - table["cost_a"])
    assert (table["device_b"] == "own device").all()
    assert table["weighted_change"].abs().is_monotonic_decreasing


@pytest.mark.parametrize(
    ("change", "comparable", "identical", "words"),
    [
        ({"servers": 5}, True, True, "different places"),
        ({"users": 2}, True, True, "User 3 exists in A only"),
        ({"T": 9}, True, True, "Steps 7 to 9 exist in B only"),
        ({"D": (3e5, 9e5)}, True, False, "same draws, with other sizes"),
        ({"tasks": 3}, False, False, "cannot be compared one to one"),
        ({"burst": 0.5}, False, False, "cannot be compared one to one"),
        ({"workload": WORKLOAD.workload}, False, False, "cannot be compared one to one"),
    ],
)
def test_what_is_said_to_be_shared_is_shared(change: dict, comparable: bool, identical: bool, words: str) -> None:  # type: ignore[type-arg]
    other = LECTURE.changed(**change)
    found = pairing(LECTURE, other)
    assert (found.comparable, found.identical) == (comparable, identical)
    assert any(words in note for note in found.notes)
    keys = ["step", "user", "task"]
    tables = [episode(Side(s, "all-local"), 5, 1).table().set_index(keys) for s in (LECTURE, other)]
    both = tables[0].add_suffix("_a").join(tables[1].add_suffix("_b"), how="inner")
    same = np.allclose(both["data_bits_a"], both["data_bits_b"]) and np.allclose(both["cycles_a"], both["cycles_b"])
    assert same == identical
    if comparable:  # the same draw: its place within the range of sizes is the same
        places = [(both[f"data_bits_{x}"] - s.D[0]) / (s.D[1] - s.D[0]) for x, s in (("a", LECTURE), ("b", other))]
        np.testing.assert_allclose(*places, atol=1e-5)


def test_only_what_differs_is_listed_with_units_and_symbols() -> None:
    found = differences(PRESETS["paper"], PRESETS["paper"].changed(F_k=2e9, gamma_t=40.0, servers=2))
    assert [(d.name, d.symbol, d.a, d.b) for d in found] == [
        ("servers", "N^m", "4", "2"),
        ("F_k", "F_k", "1 GHz", "2 GHz"),
        ("gamma_t", "γ^t", "automatic", "40 1/s"),
    ]


def test_what_was_played_stays_when_somebody_stops() -> None:
    s = PRESETS["paper"].changed(area=77.0)
    a, b = Side(s, "all-local"), Side(s.changed(servers=2), "all-local")
    assert finished(a, b, 0, 20) == 0
    steps = advance(a, b, 0, 20)
    shares = [next(steps) for _ in range(3)]
    steps.close()
    assert shares == sorted(shares)
    assert 0 < finished(a, b, 0, 20) < 20
    done = finished(a, b, 0, 20)
    assert compare(a, b, 0, done).pair("cost").a == compare(a, b, 0, 20).pair("cost").a[:done]
    assert finished(a, b, 0, 20) == 20
    assert list(advance(a, b, 0, 20)) == []


def test_who_breaks_off_a_piece_loses_that_piece_only() -> None:
    s = PRESETS["paper"].changed(T=3)
    a, b = Side(s, "all-local"), Side(s, "sae-mt-qmix-paper@paper")
    steps = 0

    def impatient() -> None:
        nonlocal steps
        steps += 1
        if steps == s.T + 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(advance(a, b, 0, 10, impatient))
    assert finished(a, b, 0, 10) == 5
    first = compare(a, b, 0, 5).pair("cost").b
    list(advance(a, b, 0, 10))
    assert finished(a, b, 0, 10) == 10
    assert compare(a, b, 0, 10).pair("cost").b[:5] == first


def test_two_policies_on_one_ward_have_the_same_bound_to_the_last_bit() -> None:
    s = PRESETS["paper"]
    assert chunk_size(s) == 5
    bounds = [episode(Side(s, policy), 0, n).table()["bound"] for policy in ("greedy", "all-local") for n in (1, 7)]
    assert (bounds[0] == bounds[2]).all()
    assert (bounds[1] == bounds[3]).all()


@pytest.mark.parametrize(
    ("side", "seed", "episodes", "words"),
    [
        (Side(LECTURE, "optimum"), 0, 0, "episodes = 0"),
        (Side(LECTURE, "optimum"), 0, MOST_EPISODES + 1, f"allowed is 1 to {MOST_EPISODES}"),
        (Side(LECTURE, "optimun"), 0, 2, "policy = 'optimun'"),
        (Side(LECTURE, "greedy", "none"), 0, 2, "shares = 'none'"),  # type: ignore[arg-type]
        (Side(LECTURE, "greedy"), -1, 2, "seed = -1"),
    ],
)
def test_bad_input_is_named(side: Side, seed: int, episodes: int, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        compare(Side(LECTURE, "optimum"), side, seed, episodes)


@pytest.mark.parametrize(
    ("change", "graded"),
    [
        ({"servers": 3}, True),
        ({"eta": 4.0}, True),
        ({"users": 3}, False),
        ({"tasks": 4}, False),
        ({"T_max": 0.01}, False),
        ({"alpha_T": 0.4, "alpha_E": 0.6}, False),
        ({"Cap": 0.1}, True),
        ({"users_off": 8}, False),
    ],
)
def test_wards_of_different_size_or_objective_are_not_graded(change: dict[str, Any], graded: bool) -> None:
    ward = PRESETS["paper"]
    assert (pairing(ward, ward.changed(**change)).ungraded == "") == graded
    assert (not_comparable(ward, ward.changed(**change), "the pinned ward", "this one") == "") == graded


def test_a_change_too_small_to_matter_is_said_in_words() -> None:
    small = Paired(METRICS["mean_delay_s"], (0.004, 0.005), (0.004 + 1e-9, 0.005 + 2e-9))
    assert small.change_words == "about 0 (about 0 to about 0)"
    share = Paired(METRICS["local_share"], (0.5, 0.51), (0.51, 0.53))
    assert share.change_words == "+1.5 percentage points"
