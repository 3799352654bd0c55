"""Inspect: one decision at a time, what the agent saw, what its networks made of it, and what would have been better."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.explore import views as explore_views
from dashboard.inspect import team as inspect_team
from dashboard.inspect import views as inspect_views
from dashboard.inspect.state import TABS, select, state, stepping
from dashboard.session import current, update_link
from dashboard.text import plain, show_errors
from iomt_core.scenario import ScenarioError

session = current()
view = state(session)
sidebar(session)


@st.fragment
def main() -> None:
    """Everything right of the sidebar; a click in here reruns only this."""
    with st.spinner("Playing the episode…"):
        record = explore_views.record(session)
    point = select(session, record)
    show_errors(session.problems, "The lab still shows the last good scenario.")
    head, actions = st.columns([5, 3], vertical_alignment="bottom")
    head.subheader(explore_views.title(session), anchor=False)
    with actions.container(horizontal=True, horizontal_alignment="right"), st.popover("Share", icon=":material/link:"):
        try:
            st.write("This address restores scenario, policy, seed, step, selection and tab:")
            st.code(update_link(session, "inspect", view.link()), language=None, wrap_lines=True)
        except ScenarioError as error:
            st.info(plain(str(error)))
    explore_views.warnings(session, record)
    stepping(session, record, point)
    if point is None:
        st.info("Nobody has a task in this step: go on to another.", icon=":material/event_busy:")
        explore_views.ward(session, record)
        return
    left, right = st.columns([3, 4])
    with left:
        explore_views.ward(session, record)
    with right:
        inspect_views.decision(session, record, point)
    tabs = st.tabs(list(TABS.values()), default=TABS[view.tab], key="inspect_tabs", on_change="rerun")
    for name, tab in zip(TABS, tabs, strict=True):
        if tab.open:
            view.tab = name
            with tab:
                SHOW[name](record, point)


SHOW = {
    "values": lambda record, point: inspect_views.values(session, view, record, point),
    "shares": lambda record, point: inspect_views.shares(session, record, point),
    "seen": lambda record, point: inspect_views.seen(session, record, point),
    "mixer": lambda record, point: inspect_team.mixer(session, record, point),
    "regret": lambda record, point: inspect_team.regret(session, view, record, point),
    "formulas": lambda record, point: inspect_team.numbers(session, record, point),
}
main()
