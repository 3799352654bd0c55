"""The tour's questions: their answers are what the ward says, and their tasks are what they claim to be."""

from __future__ import annotations

import pytest

from dashboard.start.questions import QUESTIONS, Question, Setup
from iomt_core.experiments.comparison.sides import EPISODES, compare
from iomt_core.scenario import PRESETS
from iomt_core.training.catalogue import entry
from iomt_core.twin.northbound import play, why


def costs(before: Setup, after: Setup, name: str = "cost") -> tuple[str, str]:
    """The costs, or another metric, of both sides as Compare shows them."""
    pair = compare(before.side, after.side, before.seed, EPISODES).pair(name)
    return pair.metric.show(pair.mean_a), pair.metric.show(pair.mean_b)


@pytest.mark.parametrize("policy", ["sae-mt-qmix", "price-response"])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.key)
def test_an_answer_keeps_the_policy_names_it_and_shows_the_costs_of_both_sides_as_compare_does(
    question: Question, policy: str
) -> None:
    before, after = question.setups(policy)
    words = question.words(policy).replace("\\", "")
    assert after.policy == policy
    assert before.policy == (question.reference or policy)
    assert entry(policy).label in words
    if before == after:
        return
    name = "return" if question.key == "battery" else "cost"  # a cost leaves out the steps that are not played
    pair = compare(before.side, after.side, before.seed, EPISODES).pair(name)
    assert "from {} to {}".format(*costs(before, after, name)) in words
    assert pair.interval_words in words
    assert ("rises" in words) == (pair.difference > 0)


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.key not in ("local", "battery")], ids=lambda q: q.key)
def test_an_answer_is_computed_and_not_written_down(question: Question) -> None:
    before, after = (
        Setup(side.scenario.changed(users=5, T=6), side.policy) for side in question.setups("price-response")
    )
    words = question.answer(before, after)
    assert "from {} to {}".format(*costs(before, after)) in words
    assert words != question.words("price-response")


@pytest.mark.parametrize("policy", ["sae-mt-qmix", "optimum-step", "price-response", "optimum"])
def test_half_the_battery_names_who_ends_the_episode_and_what_a_plan_returns(policy: str) -> None:
    question = next(q for q in QUESTIONS if q.key == "battery")
    _, after = question.setups(policy)
    record, plan = after.record, Setup(after.scenario, "optimum")
    left = after.scenario.Cap - record.outcome.energy.sum((0, 2))
    user = after.scenario.user_numbers[int(left.argmin())]
    words = question.words(policy)
    assert "all 20 steps are played before" in words
    if float(left.min()) < 0:
        empty = [n for n, x in zip(after.scenario.user_numbers, left.tolist(), strict=True) if x < 0]
        who = f"battery of user {user}" if len(empty) == 1 else f"batteries of users {', '.join(map(str, empty))}"
        assert f"it is stopped at step {len(record)} of 20: {who} empty" in words
        assert user in empty
    else:
        assert "with half the battery all 20 steps are played" in words
    assert f"User {user} spends" in words
    assert (float(left.min()) < 0) == (policy == "optimum-step")
    if policy != "optimum":
        returned, mine = plan.figures["return"], after.figures["return"]
        assert f"returns {returned:,.0f}, {100 * (returned / mine - 1):+.3g} %" in words
        assert returned > mine


def test_a_policy_that_cannot_decide_on_both_sides_is_replaced_on_both() -> None:
    fewer = next(q for q in QUESTIONS if q.key == "server")
    assert [side.policy for side in fewer.setups("sae-mt-qmix@paper")] == ["price-response"] * 2


def test_the_local_task_is_local_and_every_server_would_serve_it_worse() -> None:
    question = next(q for q in QUESTIONS if q.pick)
    assert question.pick is not None
    for s in (PRESETS["paper"], PRESETS["paper"].changed(servers=3, T=3)):
        for policy in ("sae-mt-qmix", "optimum"):
            setup = Setup(s, policy)
            point = question.pick(setup)
            assert point is not None
            step, user, task = point
            frame = why(play(s, policy, 0), policy, "own", step, user, task).alternatives
            assert bool(frame["chosen"].iloc[0])
            assert (frame["cost"].iloc[1:] > frame["cost"].iloc[0]).all()
            assert (frame["ward_change"].iloc[1:] > 0).all()
            assert f"keeps task {task} of user {user} local. There it costs {frame['cost'].iloc[0]:.3f}" in (
                question.answer(setup, setup)
            )
    nowhere = Setup(PRESETS["paper"], "greedy")
    assert question.pick(nowhere) is None
    assert "keeps no task local" in question.answer(nowhere, nowhere)


def test_each_question_changes_what_its_title_says() -> None:
    change = {q.key: (q.before, q.after) for q in QUESTIONS}
    before, after = change["server"]
    assert after == before.changed(servers_off=4)
    before, after = change["tasks"]
    assert after == before.changed(tasks=2 * before.tasks)
    before, after = change["channel"]
    assert after == before.changed(eta=after.eta)
    before, after = change["battery"]
    assert after == before.changed(Cap=before.Cap / 2)
    before, after = change["alone"]
    assert after == before
