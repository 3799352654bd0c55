"""The twin: steps, forks and answers, and its table tells the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iomt_core.metrics import TASK
from iomt_core.model.outcome import outcome
from iomt_core.policies.episode_dual import EpisodeDual
from iomt_core.policies.registry import POLICIES
from iomt_core.rollout import draw_episodes, play_episodes
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.training.catalogue import make_policy
from iomt_core.twin.northbound import Twin, play, why

LECTURE = PRESETS["lecture"].changed(T=6)
EMPTY = PRESETS["drained"].changed(users=4, tasks=4, servers=2, T=8, Cap=2e-5)  # so little that tasks are skipped
SKIPPING = ("optimum", "optimum-causal", "price-response", "greedy-saving")


def numbers(table):  # type: ignore[no-untyped-def]
    return table.select_dtypes("number").to_numpy(dtype=float)


@pytest.mark.parametrize("policy", list(POLICIES))
def test_stepping_equals_playing_the_whole_episode(policy: str) -> None:
    stepped = Twin(LECTURE, policy, seed=4).run()
    played = play_episodes(make_policy(policy, LECTURE), draw_episodes(LECTURE, 4)).table()
    np.testing.assert_allclose(numbers(stepped), numbers(played), rtol=1e-6)


def test_a_fork_goes_its_own_way_and_leaves_the_original() -> None:
    twin = Twin(LECTURE, "greedy", seed=1)
    twin.step()
    before = numbers(twin.table())
    other = twin.fork(policy="all-local")
    same = twin.fork()
    other.run()
    np.testing.assert_array_equal(numbers(twin.table()), before)
    assert len(twin.record()) == 1
    future = numbers(same.run())
    np.testing.assert_array_equal(numbers(twin.run()), future)
    changed = other.table()
    assert set(changed.loc[changed["step"] > 1, "choice"]) == {0}
    np.testing.assert_array_equal(changed["data_bits"], twin.table()["data_bits"])


def test_an_episode_ends_with_the_battery_and_stays_ended() -> None:
    twin = Twin(PRESETS["drained"], "random", seed=2)
    table = twin.run()
    spent = table.groupby("user")["energy_j"].sum()
    assert spent.max() > PRESETS["drained"].Cap
    earlier = table[table["step"] < table["step"].max()].groupby("user")["energy_j"].sum()
    assert earlier.max() <= PRESETS["drained"].Cap
    with pytest.raises(RuntimeError, match="ended"):
        twin.step()


@pytest.mark.parametrize("policy", list(POLICIES))
def test_the_table_respects_capacities_and_the_equations(policy: str) -> None:
    s = PRESETS["hospital"]
    t = play(s, policy, 7).table()
    assert list(t.columns) == list(TASK)
    sent, own = t[t["choice"] > 0], t[t["choice"] == 0]
    by_server = sent.groupby(["step", "choice"])[["cpu_hz", "bandwidth_hz"]].sum()
    assert (by_server["cpu_hz"] <= s.F_k * (1 + 1e-9)).all()
    assert (by_server["bandwidth_hz"] <= s.B_k * (1 + 1e-9)).all()
    assert (own.groupby(["step", "user"])["cpu_hz"].sum() <= s.F_i * (1 + 1e-9)).all()
    nobody, done = t[t["skipped"]], t[~t["skipped"]]
    own = own[~own["skipped"]]
    np.testing.assert_allclose(done["delay_exe_s"], done["cycles"] / done["cpu_hz"])
    np.testing.assert_allclose(done["delay_s"], done["delay_exe_s"] + done["delay_tx_s"])
    np.testing.assert_allclose(sent["delay_tx_s"], sent["data_bits"] / sent["rate_bps"])
    np.testing.assert_allclose(sent["energy_j"], sent["power_w"] * sent["delay_tx_s"])
    np.testing.assert_allclose(own["energy_j"], s.k0 * own["cpu_hz"] ** 2 * own["cycles"])
    np.testing.assert_allclose(
        done["cost"], s.alpha_T * done["delay_s"] / done["deadline_s"] + s.alpha_E * done["energy_j"] / s.E_ref
    )
    assert ((done["delay_s"] > done["deadline_s"]) == done["deadline_missed"]).all()
    assert nobody["deadline_missed"].all()
    assert (nobody["cost"] == 1).all()
    assert (nobody["energy_j"] == 0).all()
    assert nobody["delay_s"].isna().all()
    assert len(nobody) == 0 or policy in SKIPPING
    assert (
        t["deadline_s"] == t["kind"].map(dict(zip(s.kind_names, s.kind_deadlines, strict=True))).astype(float)
    ).all()
    step_totals = (t["weight"] * t["cost"]).groupby(t["step"]).sum()
    assert (step_totals >= t.groupby("step")["bound"].first()).all()


@pytest.mark.parametrize("policy", list(POLICIES))
def test_why_says_what_happened_and_recomputes_what_would_have(policy: str) -> None:
    s = PRESETS["hospital"]
    record = play(s, policy, 3)
    answer = why(record, policy, "own", step=2, user=3, task=4)
    row = record.table().query("step == 2 and user == 3 and task == 4").iloc[0]
    mine = answer.alternatives.loc[answer.chosen]
    assert answer.chosen == row["choice"]
    assert mine["delay_s"] == pytest.approx(row["delay_s"], rel=1e-9)
    assert mine["energy_j"] == pytest.approx(row["energy_j"], rel=1e-9)
    assert mine["ward_change"] == 0
    assert len(answer.alternatives) == s.servers + 1
    if POLICIES[policy].sharing == "requests":
        snapshot, action = record.snapshot.select(slice(1, 2)), record.action.select(slice(1, 2))
        for k in range(s.servers + 1):
            choice = action.choice.clone()
            choice[0, 2, 3] = k
            there = outcome(snapshot, type(action)(choice, action.cpu, action.bandwidth), s)
            assert answer.alternatives.loc[k, "delay_s"] == pytest.approx(float(there.delay[0, 2, 3]))


@pytest.mark.parametrize("policy", ["optimum", "optimum-causal", "price-response", "greedy-saving"])
@pytest.mark.parametrize("capacity", [2e-5, 1e-4])
def test_why_includes_what_energy_costs_later_and_what_a_skipped_task_could_have_done(
    policy: str, capacity: float
) -> None:
    s = EMPTY.changed(Cap=capacity)
    record = play(s, policy, 0)
    dual, kinds = record.dual, set()
    assert isinstance(dual, EpisodeDual)
    assert float(dual.battery.max()) > 0
    for step in (1, 5):
        for user in range(1, s.users + 1):
            for task in range(1, s.tasks + 1):
                answer = why(record, policy, "own", step, user, task)
                frame, at = answer.alternatives, (step - 1, user - 1, task - 1)
                skipped = bool(record.outcome.skipped[at])
                assert len(frame) == s.servers + 1 + skipped
                mine = frame[frame["chosen"]].iloc[0]
                assert mine["choice"] == answer.chosen == (-1 if skipped else int(record.action.choice[at]))
                assert mine["energy_j"] == pytest.approx(float(record.outcome.energy[at]))
                assert mine["cost"] == pytest.approx(float(record.outcome.cost[at]))
                assert mine["ward_change"] == mine["later_change"] == 0
                kappa = float(dual.battery[step - 1, user - 1])
                np.testing.assert_allclose(frame["energy_later"], kappa * frame["energy_j"])
                assert np.isfinite(frame[["cost", "ward_change", "later_change", "energy_later"]]).all(axis=None)
                kinds.add(skipped)
    assert kinds == {False, True} or capacity > EMPTY.Cap


def test_the_optimum_cannot_be_improved_by_moving_one_task() -> None:
    record = play(PRESETS["paper"], "optimum", 5)
    for user in (1, 4, 8):
        for task in (1, 8):
            frame = why(record, "optimum", "own", 3, user, task).alternatives
            assert (frame["ward_change"] + frame["later_change"]).min() > -1e-3 * float(record.totals[2])


def test_on_a_small_battery_moving_a_task_of_the_optimum_helps_now_but_not_in_the_end() -> None:
    record = play(PRESETS["drained"].changed(Cap=7.5e-4), "optimum", 5)
    now, all_told = [], []
    for user in (1, 4, 8):
        for task in (1, 4, 8):
            frame = why(record, "optimum", "own", 3, user, task).alternatives
            now.append(frame["ward_change"].min())
            all_told.append((frame["ward_change"] + frame["later_change"]).min())
    total = float(record.totals[2])
    assert min(now) < -1e-3 * total
    assert min(all_told) > -2e-3 * total


def test_questions_about_what_is_not_there_are_refused_in_words() -> None:
    record = play(LECTURE, "greedy", 0)
    for question, words in (
        ((9, 1, 1), "step = 9"),
        ((1, 4, 1), "user = 4"),
        ((1, 1, 5), "task = 5"),
        ((1, 0, 1), "user = 0"),
    ):
        with pytest.raises(ScenarioError, match=words):
            why(record, "greedy", "own", *question)
    with pytest.raises(ScenarioError, match="seed = -1"):
        Twin(LECTURE, seed=-1)
    with pytest.raises(ScenarioError, match="shares = 'mine'"):
        Twin(LECTURE, shares="mine")  # type: ignore[arg-type]


def test_arguments_may_be_named() -> None:
    assert play(LECTURE, policy="greedy", seed=0) is play(LECTURE, "greedy", 0, shares="own")
    assert play(seed=0, s=LECTURE, policy="greedy", shares="equal") is not play(LECTURE, "greedy", 0)


def test_playing_is_repeatable() -> None:
    first, second = draw_episodes(LECTURE, 9), draw_episodes(LECTURE, 9)
    assert torch.equal(first.snapshot.D, second.snapshot.D)
    assert not torch.equal(first.snapshot.D, draw_episodes(LECTURE, 10).snapshot.D)
