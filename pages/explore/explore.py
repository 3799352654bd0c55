"""Explore: change the ward, see at once what a policy decides, what it costs, and how far it is from the best possible."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.explore import views
from dashboard.session import Pinned, current, update_link
from dashboard.text import plain, show_errors
from iomt_core.scenario import ScenarioError

session = current()
sidebar(session)


def pin() -> None:
    """Remembers the present scenario and policy as what later ones are compared with."""
    session.pinned = Pinned(session.scenario, session.shown_policy, session.shares, session.seed)


def unpin() -> None:
    """Forgets it."""
    session.pinned = None


@st.fragment
def main() -> None:
    """Everything right of the sidebar; a click in here reruns only this."""
    # All that takes time comes before the first element: the browser then draws once instead of piece by piece.
    record, results = views.record(session), views.results(session)
    show_errors(session.problems, "The lab still shows the last good scenario.")
    head, actions = st.columns([5, 3], vertical_alignment="bottom")
    head.subheader(views.title(session), anchor=False)
    with actions.container(horizontal=True, horizontal_alignment="right"):
        st.button(
            "Pin",
            icon=":material/push_pin:",
            on_click=pin,
            help="Keep this as what every later change is compared with.",
        )
        if session.pinned is not None:
            st.button("Unpin", on_click=unpin)
        with st.popover("Share", icon=":material/link:"):
            try:
                st.write("This address restores scenario, policy, seed, step and selection:")
                st.code(update_link(session), language=None, wrap_lines=True)
            except ScenarioError as error:
                st.info(plain(str(error)))
    views.headline(session, results[session.shown_policy])
    views.warnings(session, record)
    left, right = st.columns([5, 4])
    with left:
        views.ward(session, record)
    with right:
        views.policies(session, results)
        answer = views.selected_task(session, record)
    if answer is not None:
        views.alternatives_table(answer)
    views.details(session, record)


main()
