"""The tour's questions: their answers are what the ward says, and their tasks are what they claim to be."""

from __future__ import annotations

import re

import pytest

from dashboard.start.questions import QUESTIONS, Question, Setup
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import play, why


def cost(setup: Setup) -> float:
    record = play(setup.scenario, setup.policy, setup.seed, setup.shares)
    return float(record.totals.sum() / record.snapshot.weight.sum())


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.key)
def test_an_answer_names_the_costs_of_both_sides(question: Question) -> None:
    words = question.words()
    if question.before == question.after:
        return
    for side in (question.before, question.after):
        assert f"{cost(side):.4f}" in words
    change = cost(question.after) / cost(question.before) - 1
    assert f"({100 * change:+.1f} %)" in words
    assert ("rises" in words) == (change > 0)


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.key != "local"], ids=lambda q: q.key)
def test_an_answer_is_computed_and_not_written_down(question: Question) -> None:
    before, after = (
        Setup(side.scenario.changed(users=5, T=6), side.policy) for side in (question.before, question.after)
    )
    words = question.answer(before, after)
    assert f"{cost(before):.4f} to {cost(after):.4f}" in words
    assert words != question.words()


def test_the_local_task_is_local_and_every_server_would_serve_it_worse() -> None:
    question = next(q for q in QUESTIONS if q.pick)
    assert question.pick is not None
    for s in (PRESETS["paper"], PRESETS["paper"].changed(servers=3, T=3)):
        step, user, task = question.pick(Setup(s))
        frame = why(play(s, "optimum", 0), "optimum", "own", step, user, task).alternatives
        assert bool(frame["chosen"].iloc[0])
        assert (frame["cost"].iloc[1:] > frame["cost"].iloc[0]).all()
        assert (frame["ward_change"].iloc[1:] > 0).all()
        words = question.answer(Setup(s), Setup(s))
        assert words.startswith(f"Task {task} of user {user} costs {frame['cost'].iloc[0]:.3f}")


def test_each_question_changes_what_its_title_says() -> None:
    change = {q.key: (q.before, q.after) for q in QUESTIONS}
    before, after = change["server"]
    assert after.scenario == before.scenario.changed(servers=before.scenario.servers - 1)
    before, after = change["tasks"]
    assert after.scenario == before.scenario.changed(tasks=2 * before.scenario.tasks)
    before, after = change["channel"]
    assert after.scenario == before.scenario.changed(eta=after.scenario.eta)
    before, after = change["alone"]
    assert after.scenario == before.scenario
    assert not re.search(r"optimum", after.policy)
