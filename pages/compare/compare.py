"""Compare: A and B on the same episodes: what differs, by how much and how surely, and which decisions changed."""

from __future__ import annotations

import streamlit as st

from dashboard.compare import controls, decisions, views
from dashboard.compare.play import play, shown_records
from dashboard.compare.state import linkable_session, side_b, state, usable
from dashboard.controls import sidebar
from dashboard.page import share, show_problems
from dashboard.session import current
from dashboard.text import plain
from iomt_core.experiments.comparison.differences import pairing
from iomt_core.experiments.comparison.sides import compare

session = current()
settings = state(session)
sidebar(session)
show_problems(session)
controls.head(session, settings)
controls.sides(session, settings)
(a, reason_a), (b, reason_b) = usable(settings.side_a(session)), usable(side_b(session))
for name, reason in (("A", reason_a), ("B", reason_b)):
    if reason:
        st.warning(f"{name}: {plain(reason)}", icon=":material/warning:")
done = play(settings, a, b, session.seed)


@st.fragment
def results() -> None:
    """Everything below the controls; a click in here reruns only this."""
    found, paired = compare(a, b, session.seed, done), pairing(a.scenario, b.scenario)
    number = min(settings.shown, done)
    sides = (a, b)
    views.answer(found, paired)
    with st.container(horizontal=True, horizontal_alignment="right"):
        share(linkable_session(session), "compare", lambda: settings.entries(session))
    views.warnings(found)
    with st.container(key="wide_compare"):
        with st.container():
            views.figures(found, paired)
        with st.container():
            views.parameters(a, b, paired)
            views.numbers(found, paired)
    decisions.shown_episode(settings, number, done)
    records = shown_records(sides, session.seed, number)
    if records is None:
        return
    decisions.maps(session, sides, records, paired.comparable)
    decisions.picked_task(session, records)
    decisions.tabs(session, number, sides, records, paired, lambda: views.episodes(found))


if done:
    results()
