"""Inspect: one decision at a time: what the agent observed, what its networks expected, and what would have been better."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.explore import views as explore_views
from dashboard.inspect import team, views
from dashboard.inspect.state import TABS, select, state, stepping
from dashboard.page import page_head, share
from dashboard.session import current
from dashboard.text import plain
from dashboard.widgets import open_tab

session = current()
view = state(session)
sidebar(session)


@st.fragment
def main() -> None:
    """Everything right of the sidebar; a click in here reruns only this."""
    with st.spinner("Playing the episode…"):
        record = explore_views.record(session)
    point = select(session, record)
    with page_head(session, plain(session.title)):
        share(session, "inspect", view.link)
    explore_views.warnings(session, record)
    stepping(session, record, point)
    if point is None:
        st.info("No user has a task in this step. Choose another step.", icon=":material/event_busy:")
        explore_views.ward(session, record)
        return
    with st.container(key="wide_decision"):
        with st.container():
            explore_views.ward(session, record)
        with st.container():
            views.decision(session, record, point)
    name, place = open_tab(TABS, "inspect_tabs", view.tab, lambda name: setattr(view, "tab", name))
    with place:
        SHOW[name](record, point)


SHOW = {
    "values": lambda record, point: views.values(session, view, record, point),
    "shares": lambda record, point: views.shares(session, record, point),
    "seen": lambda record, point: views.observation(session, record, point),
    "mixer": lambda record, point: team.mixer(session, record, point),
    "regret": lambda record, point: team.regret(session, view, record, point),
    "formulas": lambda record, point: team.numbers(session, record, point),
}
main()
