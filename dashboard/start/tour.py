"""The guided tour on the pages: begins a question by setting the lab, and shows a slim banner while it lasts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import streamlit as st

from dashboard.session import Pinned, Session
from dashboard.start.questions import QUESTIONS, Question, Setup

KEY = "tour"


@dataclass
class Tour:
    """Where a session stands in the tour. `at` is the question's number from 0; none while the tour is not on."""

    at: int | None = None
    before: Session | None = None  # the lab as it was before the tour, to go back to


def state() -> Tour:
    """This session's tour."""
    if KEY not in st.session_state:
        st.session_state[KEY] = Tour()
    return cast(Tour, st.session_state[KEY])


def begin(session: Session, at: int) -> None:
    """Sets the lab to a question: its ward, policy and task, and pins its `before`."""
    tour, question = state(), QUESTIONS[at]
    if tour.at is None:
        tour.before = replace(session, problems=[], view={})
    tour.at, session.wanted_page = at, question.page
    _set(session, question)


def _set(session: Session, question: Question) -> None:
    after, before = question.after, question.before
    session.scenario, session.policy, session.shares, session.seed = (
        after.scenario,
        after.policy,
        after.shares,
        after.seed,
    )
    session.picked = question.pick(after) if question.pick else None
    session.step = session.picked[0] if session.picked else 1
    session.pinned = None if before == after else _pinned(before)
    session.problems = []


def _pinned(setup: Setup) -> Pinned:
    return Pinned(setup.scenario, setup.policy, setup.shares, setup.seed)


def end() -> None:
    """Ends the tour; the ward stays as it is on screen."""
    state().at = None


def restore(session: Session) -> None:
    """Ends the tour and restores the ward from before it."""
    tour = state()
    if tour.before is not None:
        for name in ("scenario", "policy", "shares", "seed", "step", "picked", "pinned"):
            setattr(session, name, getattr(tour.before, name))
        session.problems = []
    tour.at, tour.before = None, None


def tour_banner(session: Session) -> None:
    """The question that is on, what to look at, the answer, and the way on; nothing while the tour is not on."""
    at = state().at
    if at is None:
        return
    question = QUESTIONS[at]
    with st.container(border=True, key="tour_banner"):
        head, way = st.columns([5, 4], vertical_alignment="center")
        head.markdown(f"**Question {at + 1} of {len(QUESTIONS)}: {question.title}**")
        with way.container(horizontal=True, horizontal_alignment="right", gap="small"):
            st.button("Back", icon=":material/arrow_back:", key="tour_back", on_click=begin, args=(session, at - 1),
                      disabled=at == 0, help="The question before.")  # fmt: skip
            last = at == len(QUESTIONS) - 1
            st.button("Next", icon=":material/arrow_forward:", key="tour_next", on_click=begin, args=(session, at + 1),
                      disabled=last, type="secondary" if last else "primary", help="The next question.")  # fmt: skip
            st.button("End tour", icon=":material/close:", key="tour_end", on_click=end,
                      help="Leaves the ward as it is. The Start page offers the ward you had before the tour.")  # fmt: skip
        st.markdown(f"{question.words()}\n\n*What to look at:* {question.look}")
        if Setup(session.scenario, session.policy, session.shares, session.seed) != question.after:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption("You have changed the ward since: the answer above is the question's own.")
                st.button("Set the question again", key="tour_again", on_click=begin, args=(session, at),
                          help="Puts ward, policy, seed and pin back to what the question asks.")  # fmt: skip
