"""Compare: A beside B on the same episodes; what differs, by how much and how surely, and which decisions changed."""

from __future__ import annotations

import streamlit as st

from dashboard.compare import controls, decisions, views
from dashboard.compare.play import play
from dashboard.compare.state import linkable_session, side_b, state, usable
from dashboard.controls import sidebar
from dashboard.session import current, update_link
from dashboard.text import plain, show_errors
from iomt_core.experiments.comparison.differences import pairing
from iomt_core.experiments.comparison.sides import compare, episode
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import entry

session = current()
here = state(session)
sidebar(session)
show_errors(session.problems, "The page goes on with the last good values.")
controls.head(session, here)
controls.sides(session, here)
(a, problems_a), (b, problems_b) = usable(here.side_a(session)), usable(side_b(session))
for name, reasons in (("A", problems_a), ("B", problems_b)):
    for reason in reasons:
        st.warning(f"{name}: {plain(reason)} Shown in its place: {entry('optimum').label}.", icon=":material/warning:")
done = play(here, a, b, session.seed)


@st.fragment
def results() -> None:
    """Everything below the controls; a click in here reruns only this."""
    found, shared = compare(a, b, session.seed, done), pairing(a.scenario, b.scenario)
    number = min(here.shown, done)
    sides, records = (a, b), (episode(a, session.seed, number), episode(b, session.seed, number))
    head, actions = st.columns([7, 1], vertical_alignment="center")
    with head:
        views.answer(found, shared)
    with actions.container(horizontal=True, horizontal_alignment="right"), st.popover("Share", icon=":material/link:"):
        try:
            st.write("This address restores both sides, seed, episodes, step and selection:")
            st.code(
                update_link(linkable_session(session), "compare", here.entries(session)), language=None, wrap_lines=True
            )
        except ScenarioError as error:
            st.info(plain(str(error)))
    views.ended(found)
    with st.container(horizontal=True, gap="medium"):
        with st.container():
            views.figures(found)
        with st.container(width=380):
            views.parameters(a, b, shared)
    views.numbers(found)
    decisions.shown_episode(here, number, done)
    decisions.maps(session, sides, records, shared.comparable)
    decisions.picked_task(session, records)
    decisions.tabs(session, number, sides, records, shared, lambda: views.episodes(found))


if done:
    results()
