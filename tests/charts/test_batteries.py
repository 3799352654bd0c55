"""The batteries' curves, words and tables say what the record of an episode says."""

from __future__ import annotations

import pytest
import torch

from iomt_core.charts.batteries import (
    battery_curves,
    battery_table,
    battery_words,
    empty_users,
    end_words,
    plan_words,
    scarcest,
    user_table,
)
from iomt_core.experiments.evaluation import (
    batteries_matter,
    battery_charges,
    compared_by,
    evaluate_episode,
    is_partial,
)
from iomt_core.metrics import TASK
from iomt_core.record import Record
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import play

DRAINED = PRESETS["drained"]


def spent(record: Record) -> torch.Tensor:
    """Energy of each user up to the end of each step, J."""
    return record.outcome.energy.sum(-1).cumsum(0)


@pytest.mark.parametrize("policy", ["optimum", "optimum-step", "price-response", "greedy", "greedy-saving"])
def test_curves_and_tables_are_the_charge_after_each_step(policy: str) -> None:
    record = play(DRAINED, policy, 0)
    plan = battery_charges(play(DRAINED, "optimum", 0))
    left = (DRAINED.Cap - spent(record)).clamp_min(0) * 1e3
    figure = battery_curves(record, 3, plan, picked=5)
    drawn = {}
    for trace in figure.data:
        name = trace.hovertemplate.split("<br>")[0] if trace.hovertemplate else trace.name
        if name.startswith("user "):
            drawn[name] = trace
    for i, user in enumerate(DRAINED.user_numbers):
        trace = drawn[f"user {user}"]
        assert list(trace.x) == list(range(len(record) + 1))
        assert list(trace.y) == pytest.approx([DRAINED.Cap * 1e3, *left[:, i].tolist()], rel=1e-5, abs=1e-9)
    assert figure.layout.shapes[0].x0 == 3
    assert figure.layout.meta["step"]
    bold = {name for name, trace in drawn.items() if trace.line.width == 3}
    assert bold == {f"user {scarcest(record)}", "user 5"}
    table = battery_table(record, plan)
    assert len(table) == DRAINED.users * (len(record) + 1)
    after = table[table["step"] == 2].set_index("user")
    for i, user in enumerate(DRAINED.user_numbers):
        assert after.loc[user, "charge after it (mJ)"] == pytest.approx(float(left[1, i]), rel=6e-3)
        assert after.loc[user, "plan of the optimum (mJ)"] == pytest.approx(float(plan[2, i]) * 1e3, rel=6e-3)
    users = user_table(record, plan).set_index("user")
    assert users["left (mJ)"].tolist() == pytest.approx(left[-1].tolist(), rel=6e-3, abs=1e-6)
    assert record.dual is not None
    assert users["return per mJ"].tolist() == pytest.approx((record.dual.battery[0] * 1e-3).tolist(), rel=6e-3)  # type: ignore[attr-defined]


def test_the_words_name_who_ends_the_episode_when_and_why() -> None:
    record = play(DRAINED, "optimum-step", 0)
    energy = record.outcome.energy.sum(-1)
    over = (spent(record)[-1] > DRAINED.Cap).nonzero().flatten().tolist()
    assert empty_users(record) == [DRAINED.user_numbers[i] for i in over]
    user, step = scarcest(record), len(record)
    assert user in empty_users(record)
    words, charge = battery_words(record), TASK["battery_j"].brief
    empty = empty_users(record)
    whose = f"battery of user {user}" if len(empty) == 1 else f"batteries of users {', '.join(map(str, empty))}"
    assert end_words(record) == f"stopped at step {step} of 20: {whose} empty"
    i = DRAINED.user_numbers.index(user)
    assert f"User {user} spends {charge(float(energy[:, i].mean()))} a step" in words
    assert f"allows {charge(DRAINED.Cap / 20)} in each of 20 steps" in words
    assert f"would need {charge(float(energy[-1, i]))}" in words
    assert f"{20 - step + 1} steps of 20 without return" in words
    alive = play(DRAINED, "optimum", 0)
    assert end_words(alive) == "all 20 steps are played"
    assert empty_users(alive) == []
    assert battery_words(alive).startswith(f"All 20 steps are played. User {scarcest(alive)} spends")
    for one in (record, alive):
        assert battery_words(one) in battery_curves(one, 1).layout.meta["alt"]


def test_a_plan_is_compared_by_numbers_of_the_episode() -> None:
    step, local, plan = (evaluate_episode(DRAINED, name) for name in ("optimum-step", "all-local", "optimum"))
    words = plan_words(step, local, plan, DRAINED)
    assert f"ends in step {step['steps']} of 20, with an empty battery, and returns {step['return']:.0f}" in words
    more = 100 * (local["return"] / step["return"] - 1)
    assert f"plays all 20 steps, and returns {local['return']:.0f}, {more:.3g} % more" in words
    assert f"plays all 20 steps, and returns {plan['return']:,.0f}" in words
    assert plan["return"] > local["return"] > step["return"]
    assert step["cost"] < plan["cost"] < local["cost"]  # why the cost alone misleads


def test_what_was_not_done_is_compared_by_the_return() -> None:
    for s, policy, by in (
        (PRESETS["paper"], "optimum", "cost"),
        (PRESETS["paper"], "nearest", "return"),  # its batteries are empty before the end
        (DRAINED, "all-local", "return"),  # it does everything, but others cannot
        (
            PRESETS["paper"].changed(users=16, tasks=16, T=2),
            "optimum",
            "return",
        ),  # it skips tasks that would cost over 1
    ):
        record = play(s, policy, 0)
        assert compared_by(record) == by, (s.name, policy)
        partial = bool(record.ended.any()) or bool(record.outcome.skipped.any())
        assert is_partial(evaluate_episode(s, policy)) == partial
        assert not partial or by == "return"
    assert not batteries_matter(play(PRESETS["paper"], "greedy", 0))
    assert batteries_matter(play(DRAINED, "all-local", 0))
