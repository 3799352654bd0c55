"""The guided tour: a question sets scenario, policy and selection; a banner on every page shows question and answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import streamlit as st

from dashboard.session import Pinned, Session
from dashboard.start.questions import QUESTIONS, Question, Setup

KEY = "tour"


@dataclass
class Tour:
    """State of the tour in a session. `at` is the number of the question, from 0; None if there is no tour."""

    at: int | None = None
    policy: str = ""  # the person's choice, which all questions keep
    before: Session | None = None  # the session's state before the tour, to be restored


def state() -> Tour:
    """This session's tour."""
    if KEY not in st.session_state:
        st.session_state[KEY] = Tour()
    return cast(Tour, st.session_state[KEY])


def begin(session: Session, at: int) -> None:
    """Sets the session to a question: its scenarios, under the person's policy, and its task; pins its `before`."""
    tour = state()
    if tour.at is None:
        tour.before, tour.policy = replace(session, problems=[], view={}), session.policy
    elif session.policy != QUESTIONS[tour.at].setups(tour.policy)[1].policy:  # chosen during the tour
        tour.policy = session.policy
    tour.at, session.wanted_page = at, QUESTIONS[at].page
    _set(session, QUESTIONS[at], tour.policy)


def _set(session: Session, question: Question, policy: str) -> None:
    before, after = question.setups(policy)
    session.scenario, session.policy, session.shares, session.seed = (
        after.scenario,
        after.policy,
        after.shares,
        after.seed,
    )
    session.picked = question.pick(after) if question.pick else None
    session.step = session.picked[0] if session.picked else 1
    session.pinned = None if before == after else _pinned(before)
    session.problems, session.notes = [], []


def _pinned(setup: Setup) -> Pinned:
    return Pinned(setup.scenario, setup.policy, setup.shares, setup.seed)


def end() -> None:
    """Ends the tour; the scenario stays as it is."""
    state().at = None


def restore(session: Session) -> None:
    """Ends the tour and restores the state from before it."""
    tour = state()
    if tour.before is not None:
        for name in ("scenario", "policy", "shares", "seed", "step", "picked", "pinned"):
            setattr(session, name, getattr(tour.before, name))
        session.problems = []
    tour.at, tour.before = None, None


def tour_banner(session: Session) -> None:
    """Shows the question, its answer, what to look at, and the buttons of the tour; nothing if there is no tour."""
    at = state().at
    if at is None:
        return
    question = QUESTIONS[at]
    with st.container(border=True, key="tour_banner"):
        head, way = st.columns([5, 4], vertical_alignment="center")
        head.markdown(f"**Question {at + 1} of {len(QUESTIONS)}: {question.title}**")
        with way.container(horizontal=True, horizontal_alignment="right", gap="small"):
            st.button("Back", icon=":material/arrow_back:", key="tour_back", on_click=begin, args=(session, at - 1),
                      disabled=at == 0, help="The previous question.")  # fmt: skip
            last = at == len(QUESTIONS) - 1
            st.button("Next", icon=":material/arrow_forward:", key="tour_next", on_click=begin, args=(session, at + 1),
                      disabled=last, type="secondary" if last else "primary", help="The next question.")  # fmt: skip
            st.button("End tour", icon=":material/close:", key="tour_end", on_click=end,
                      help="The scenario stays as it is. The Start page can restore the one from before the tour.")  # fmt: skip
        policy = state().policy
        with st.spinner("Playing the episodes…"):
            words = question.words(policy)
        st.markdown(f"{words}\n\n*What to look at:* {question.look}")
        if Setup(session.scenario, session.policy, session.shares, session.seed) != question.setups(policy)[1]:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption("You have changed the scenario: the answer above is for the original question.")
                st.button("Restore the question", key="tour_again", on_click=_set, args=(session, question, policy),
                          help="Restores scenario, policy, seed and pin of the question.")  # fmt: skip
