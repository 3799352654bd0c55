"""What the inspector says of a decision is what was done, and its regrets, slopes and formulas are true."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from iomt_core.charts import formulas
from iomt_core.charts.formulas import Formula
from iomt_core.experiments.comparison.sides import Side, advance, episode
from iomt_core.model.outcome import outcome
from iomt_core.model.snapshot import Action
from iomt_core.nets.mixers import QMIX, SAEQMIX, VDN, Mixer
from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.training import catalogue
from iomt_core.training.run_spec import RunSpec, checked_settings
from iomt_core.training.settings import Settings
from iomt_core.twin import northbound_inspect as north
from iomt_core.twin.mixing import mixing
from iomt_core.twin.northbound import Twin, play, why

WARD = PRESETS["lecture"].changed(users=3, tasks=3, servers=2, T=4)
SHORT = Settings(episodes=8, num_envs=4, updates=1, batch=2, replay=8, warm_up=4, evaluate_every=8, checkpoint_every=8)


def changed(**changes: object) -> Settings:
    return checked_settings({**SHORT.model_dump(exclude_unset=True), **changes})


RUNS = {
    "moves": ("sae-mt-qmix", SHORT),
    "in-turn": ("sae-mt-qmix", changed(search="cyclic")),
    "at-once": ("sae-mt-qmix-paper", changed(rounds=0, critic_target="observed")),
    "qmix": ("qmix", changed(rounds=1, recurrent=False, search="cyclic", own_cpu="requested")),
    "own-column": ("mt-mp-dqn", SHORT),
    "one-pass": ("mt-pdqn", SHORT),
    "general": (
        "sae-mt-qmix",
        changed(networks="general", wards="general", recurrent=False),
    ),
    "number": ("pa-ddpg", SHORT),
    "central": ("ma-pa-ddpg", SHORT),
}
WITH_VALUES = [name for name in RUNS if name not in ("number", "central")]


@pytest.fixture(scope="session", autouse=True)
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IOMT_RUNS", str(place))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # teams of workers for networks this small are all waiting
        for name, (algorithm, settings) in RUNS.items():
            TrainingRun.create(place / name, RunSpec(algorithm, WARD, settings, seed=3)).train()
        yield place
        torch.set_num_threads(threads)


def ward(name: str) -> Scenario:
    """A general network is shown on another ward than the others."""
    return WARD.changed(users=4, tasks=2) if name == "general" else WARD


@pytest.mark.parametrize("name", WITH_VALUES)
def test_the_strategy_shown_as_taken_is_what_was_done_and_follows_from_the_numbers(name: str) -> None:
    s, policy = ward(name), f"run:{name}"
    record = play(s, policy, 5)
    for step in (1, 3, 4):
        found = north.inspect_step(s, policy, 5, "own", step)
        assert found is not None
        assert found.agrees
        weight = record.snapshot.weight[step - 1]
        for user in range(1, s.users + 1):
            for task in range(1, s.tasks + 1):
                looks = found.task_turns(user, task, weight)
                last, moves = looks[-1], looks[0].mover is not None
                assert moves == (name in ("moves", "general"))
                assert moves or len(looks) == max(1, found.rounds)
                assert last.choice == int(record.action.choice[step - 1, user - 1, task - 1])
                for look in looks:
                    best = int((look.worth + look.margin).argmax())
                    assert look.choice == (best if look.mover in (None, task) else look.before[task - 1])
                    torch.testing.assert_close((look.values * look.weight.float()).sum(-1), look.worth)
                    assert not look.values[:, [not valued for valued in look.valued]].any()
        requested = torch.stack([record.action.cpu[step - 1], record.action.bandwidth[step - 1]], -1)
        torch.testing.assert_close(found.requested.double(), requested, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["moves", "general"])
def test_the_task_that_gains_most_moves_until_none_gains(name: str) -> None:
    s, policy = ward(name), f"run:{name}"
    weight, ended = play(s, policy, 5).snapshot.weight[1], 0
    found = north.inspect_step(s, policy, 5, "own", 2)
    assert found is not None
    for user in range(1, s.users + 1):
        looks = [found.task_turns(user, task, weight) for task in range(1, s.tasks + 1)]
        for turn in zip(*looks, strict=True):
            scores = [look.worth + look.margin for look in turn]
            gains = [float((x - x[look.before[j]]).max()) for j, (x, look) in enumerate(zip(scores, turn, strict=True))]
            mover = turn[0].mover
            assert mover is not None
            assert {look.mover for look in turn} == {mover}
            assert (max(gains) <= 1e-6) if mover == 0 else gains[mover - 1] == max(gains)
        ended += looks[0][-1].mover == 0
    assert ended  # the number of moves is limited, so that not every search ends where none gains


@pytest.mark.parametrize("name", ["in-turn", "qmix", "general"])
def test_a_column_is_the_value_of_the_task_it_names(name: str) -> None:
    """Network j's column of task j, at the final strategies, is q_j of (18) if no other task moved after j's last turn."""
    s, policy = ward(name), f"run:{name}"
    record = play(s, policy, 5)
    found = north.inspect_step(s, policy, 5, "own", 2)
    assert found is not None
    assert found.task_values is not None
    last = s.tasks  # nobody decides after the last task
    for user in range(1, s.users + 1):
        look = found.task_turns(user, last, record.snapshot.weight[1])[-1]
        assert float(look.values[look.choice, last - 1]) == pytest.approx(
            float(found.task_values[user - 1, last - 1]), abs=1e-5
        )


@pytest.mark.parametrize("name", ["number", "central"])
def test_an_actor_that_gives_devices_as_numbers_is_shown_to(name: str) -> None:
    record = play(WARD, f"run:{name}", 1)
    found = north.inspect_step(WARD, f"run:{name}", 1, "own", 2)
    assert found is not None
    assert found.agrees
    assert found.turns == ()
    assert found.numbers is not None
    assert found.first_server is not None
    k = WARD.servers
    number = (found.numbers * (k + 1)).long().clamp_max(k)
    device = torch.where(number > 0, (found.first_server + number - 2) % k + 1, 0)
    assert torch.equal(device, record.action.choice[1])


@pytest.mark.parametrize("capacity", [1e-2, 2e-3, 2e-4])
def test_an_agent_that_remembers_nothing_still_sees_its_battery(capacity: float) -> None:
    """What is left is part of (14), so that each step waits for the one before; decided in batches it is the same."""
    s = WARD.changed(Cap=capacity, T=12)
    assert catalogue.make_policy("run:qmix", s).uses_past == "batteries"
    stepped = Twin(s, "run:qmix", seed=2).run()
    played = play(s, "run:qmix", 2).table()
    np.testing.assert_allclose(
        stepped.select_dtypes("number").to_numpy(float), played.select_dtypes("number").to_numpy(float), rtol=1e-5
    )


def test_a_name_that_another_run_took_over_plays_that_run(runs: Path) -> None:
    """Runs are deleted and their names used again while the server keeps episodes that it played."""
    side = Side(WARD, "run:again")

    def seen() -> tuple[torch.Tensor, torch.Tensor, float]:
        inside = north.inspect_step(WARD, "run:again", 0, "own", 1)
        assert inside is not None
        list(advance(side, side, 0, 1))
        return play(WARD, "run:again", 0).action.cpu, inside.requested, float(episode(side, 0, 1).totals.sum())

    TrainingRun.create(runs / "again", RunSpec("mt-pdqn", WARD, SHORT, seed=1)).train()
    before = seen()
    shutil.rmtree(runs / "again")
    TrainingRun.create(runs / "again", RunSpec("mt-pdqn", WARD, SHORT, seed=2)).train()
    after = seen()
    assert not torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
    assert before[2] != after[2]


def test_heuristics_have_nothing_inside() -> None:
    assert north.inspect_step(WARD, "greedy", 0, "own", 1) is None
    with pytest.raises(ScenarioError, match="step = 9 was not played: allowed is 1 to 4"):
        north.inspect_step(WARD, "greedy", 0, "own", 9)


# -- mixers --------------------------------------------------------------------------------------------------------------

USERS, STATE = 4, 7
AGENTS = tuple(range(1, USERS + 1))
MIXERS = {
    "sum": VDN,
    "QMIX": lambda: QMIX(USERS, STATE),
    "attention": lambda: SAEQMIX(USERS, STATE, 6),
    "attention as printed": lambda: SAEQMIX(USERS, STATE, 6, "paper"),
}


def shaken(kind: str, seed: int) -> Mixer:
    mixer: Mixer = MIXERS[kind]()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return mixer.double()


@pytest.mark.parametrize("kind", list(MIXERS))
@pytest.mark.parametrize("seed", range(3))
def test_slopes_are_finite_differences_and_attention_adds_up(kind: str, seed: int) -> None:
    mixer, generator = shaken(kind, seed), torch.Generator().manual_seed(seed)
    q = torch.randn(USERS, generator=generator, dtype=torch.float64)
    corrected = torch.rand(USERS, 6, generator=generator, dtype=torch.float64)
    state = torch.rand(STATE, generator=generator, dtype=torch.float64)
    found = mixing(mixer, AGENTS, q, corrected, state)
    assert found.kind == kind
    for i in range(USERS):
        nudge = torch.zeros(USERS, dtype=torch.float64)
        nudge[i] = 1e-6
        up, down = (mixing(mixer, AGENTS, q + sign * nudge, corrected, state).q_tot for sign in (1, -1))
        assert float(found.slopes[i]) == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-6)
    if kind != "attention as printed":
        assert (found.slopes >= 0).all()
    if kind == "sum":
        assert found.slopes.tolist() == [1.0] * USERS
    if found.attention is not None:
        torch.testing.assert_close(found.attention.sum(-1), torch.ones(USERS, dtype=torch.float64))
        torch.testing.assert_close(found.attention @ q, found.weighted)


@pytest.mark.parametrize("name", ["moves", "at-once", "qmix", "own-column", "general"])
def test_the_team_value_is_that_of_the_checkpoints_mixer(name: str) -> None:
    s, policy = ward(name), f"run:{name}"
    found = north.inspect_step(s, policy, 5, "own", 1)
    assert found is not None
    assert found.mixing is not None
    assert found.task_values is not None
    values = (found.task_values * play(s, policy, 5).snapshot.weight[0].float()).sum(-1)
    torch.testing.assert_close(found.mixing.agent_values, values)
    assert len(found.mixing.slopes) == s.users
    if name == "own-column":
        assert found.mixing.q_tot == pytest.approx(float(values.sum()), rel=1e-5)


# -- regret --------------------------------------------------------------------------------------------------------------


def test_the_optimum_has_no_regret_against_itself() -> None:
    for step in (1, 2):
        frame = north.regrets(PRESETS["lecture"], "optimum", 3, "own", step)
        assert (frame["regret_optimum"] == 0).all()
        assert (frame["choice"] == frame["optimum"]).all()
        assert (frame["regret_best"] >= 0).all()


@pytest.mark.parametrize("policy", ["greedy", "random", "optimum", "price-response", "greedy-saving", "run:in-turn"])
@pytest.mark.parametrize("capacity", [WARD.Cap, 6e-5])
def test_regret_is_what_the_alternatives_say(policy: str, capacity: float) -> None:
    s = WARD.changed(Cap=capacity)
    record, devices = play(s, policy, 2), set()
    frame = north.regrets(s, policy, 2, "own", 1)
    for row in frame.itertuples():
        alternatives = why(record, policy, "own", 1, row.user, row.task).alternatives
        moved = (alternatives["ward_change"] + alternatives["later_change"]).set_axis(alternatives["choice"])
        assert row.regret_best == pytest.approx(max(0.0, -moved.min()), abs=1e-12)
        if row.optimum >= 0 or row.choice == row.optimum:
            assert row.regret_optimum == pytest.approx(-moved[row.optimum], abs=1e-12)
        else:
            assert math.isnan(row.regret_optimum)
        assert moved[row.best] == pytest.approx(moved.min(), abs=1e-12)
        devices.add(row.choice)
    assert (-1 in devices) <= (policy in ("optimum", "price-response", "greedy-saving"))


def test_alternatives_are_the_ward_priced_again() -> None:
    record = play(WARD, "random", 1)
    true = north.alternatives(WARD, "random", 1, "own", 3, 2, 1)
    snapshot, action = record.snapshot.select(slice(2, 3)), record.action.select(slice(2, 3))
    for k in range(WARD.servers + 1):
        choice = action.choice.clone()
        choice[0, 1, 0] = k
        then = outcome(snapshot, Action(choice, action.cpu, action.bandwidth), WARD).cost[0]
        torch.testing.assert_close(true[k], then)


# -- what was seen and granted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["random", "optimum", "run:in-turn"])
def test_granted_shares_never_exceed_a_device(policy: str) -> None:
    s = WARD
    frame = north.grants(play(s, policy, 1), 1)
    device = frame["choice"].where(frame["choice"] > 0, -frame["user"])
    assert (frame.groupby(device)["cpu_granted"].sum() <= 1 + 1e-9).all()
    assert (frame.groupby(device)["bandwidth_granted"].sum() <= 1 + 1e-9).all()
    np.testing.assert_allclose(
        frame["cpu_granted"], frame["cpu_requested"] / frame["cpu_requested_by_all"].clip(lower=1)
    )
    sent = frame[frame["choice"] > 0]
    np.testing.assert_allclose(
        sent["bandwidth_hz"], sent["bandwidth_requested"] / sent["bandwidth_requested_by_all"].clip(lower=1) * s.B_k
    )


@pytest.mark.parametrize("preset", ["lecture", "hospital"])
def test_what_is_seen_is_ones_own_and_what_is_unseen_is_the_rest(preset: str) -> None:
    s = PRESETS[preset].changed(T=2)
    record = play(s, "random", 1)
    table = record.table().query("step == 2")
    own, rest, hidden = (part(record, 1, 2) for part in (north.observed_tasks, north.observed_rest, north.hidden_tasks))
    mine = table[table["user"] == 2]
    np.testing.assert_allclose(own["D (KB)"] * 8000, mine["data_bits"])
    np.testing.assert_allclose(own["C (kcycles)"] * 1e3, mine["cycles"])
    assert len(hidden) == len(table) - len(mine)
    assert set(hidden["user"]) == set(range(1, s.users + 1)) - {2}
    value = rest.set_index("symbol")["value"]
    assert value["Cap"] < s.Cap * 1e3  # the first step has drained it
    assert value["F_1"] == pytest.approx(s.F_k / 1e9)
    assert ("e_1" in value.index) == (s.channel == "log-distance")


# -- formulas ------------------------------------------------------------------------------------------------------------

CALCULATOR = {"log": math.log, "log10": math.log10, "exp": math.exp, "max": max}


def agrees(formula: Formula) -> None:
    value = eval(formula.arithmetic, {"__builtins__": {}}, CALCULATOR)
    assert value == pytest.approx(formula.value, rel=2e-4, abs=1e-9), formula
    assert formulas.tex(formula.value) in formula.latex


@pytest.mark.parametrize(("preset", "policy"), [("lecture", "random"), ("hospital", "price-response")])
def test_printed_numbers_give_the_value_shown(preset: str, policy: str) -> None:
    s = PRESETS[preset].changed(T=1)
    record = play(s, policy, 0)
    numbers = set()
    for user in range(1, s.users + 1):
        for task in range(1, s.tasks + 1):
            block = {f.number: f for f in formulas.task_formulas(record, 0, user, task)}
            for formula in block.values():
                agrees(formula)
            at = (0, user - 1, task - 1)
            assert block["(9)"].value == float(record.outcome.delay[at])
            assert block["(10)"].value == float(record.outcome.energy[at])
            if "(7)" in block:
                assert block["(7)"].value == pytest.approx(float(record.outcome.delay_tx[at]), rel=1e-12)
                assert block["(8)"].value == pytest.approx(float(record.outcome.energy[at]), rel=1e-12)
            else:
                assert block["(2)"].value == pytest.approx(float(record.outcome.energy[at]), rel=1e-12)
            numbers |= block.keys()
    assert {"(1)", "(2)", "(4)", "(5)", "(6)", "(7)", "(8)", "(9)", "(10)", "C2", "C3", "C4"} <= numbers


@pytest.mark.parametrize("name", ["moves", "in-turn", "at-once", "qmix", "own-column", "general"])
def test_the_networks_formulas_too(name: str) -> None:
    s, policy = ward(name), f"run:{name}"
    found, weight = north.inspect_step(s, policy, 5, "own", 2), play(s, policy, 5).snapshot.weight[1]
    assert found is not None
    assert found.mixing is not None
    assert found.task_values is not None
    look = found.task_turns(1, 2, weight)[-1]
    block = [formulas.look_formula(look, k) for k in range(s.servers + 1)]
    if look.mover in (None, 2):
        assert max(range(s.servers + 1), key=lambda k: block[k].value) == look.choice
    block.append(formulas.agent_formula(weight[0].tolist(), found.task_values[0].tolist(), 1))
    block += formulas.mixing_formulas(found.mixing, 1)
    for formula in block:
        agrees(formula)
