"""Explore: change the ward, see at once what a policy decides, what it costs, and how far it is from the best possible."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.explore import views as views
from dashboard.session import Pinned, current, keep_link
from dashboard.text import plain, show_errors
from iomt_core.scenario import ScenarioError

lab = current()
sidebar(lab)


def pin() -> None:
    """Remembers the present scenario and policy as what later ones are compared with."""
    lab.pinned = Pinned(lab.scenario, lab.shown_policy, lab.shares, lab.seed)


def unpin() -> None:
    """Forgets it."""
    lab.pinned = None


@st.fragment
def main() -> None:
    """Everything right of the sidebar; a click in here reruns only this."""
    # All that takes time comes before the first element: the browser then draws once instead of piece by piece.
    record, results = views.record(lab), views.results(lab)
    show_errors(lab.problems, "The lab still shows the last good scenario.")
    head, actions = st.columns([5, 3], vertical_alignment="bottom")
    head.subheader(views.title(lab), anchor=False)
    with actions.container(horizontal=True, horizontal_alignment="right"):
        st.button(
            "Pin",
            icon=":material/push_pin:",
            on_click=pin,
            help="Keep this as what every later change is compared with.",
        )
        if lab.pinned is not None:
            st.button("Unpin", on_click=unpin)
        with st.popover("Share", icon=":material/link:"):
            try:
                st.write("This address restores scenario, policy, seed, step and selection:")
                st.code(keep_link(lab), language=None, wrap_lines=True)
            except ScenarioError as error:
                st.info(plain(str(error)))
    views.headline(lab, results[lab.shown_policy])
    views.warnings(lab, record)
    left, right = st.columns([5, 4])
    with left:
        views.ward(lab, record)
    with right:
        views.policies(lab, results)
        answer = views.selected_task(lab, record)
    if answer is not None:
        views.alternatives_table(answer)
    views.details(lab, record)


main()
