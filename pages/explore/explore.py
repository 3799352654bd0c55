"""Explore: change the scenario and see what a policy decides, what it costs, and how far it is from the best possible."""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard.controls import sidebar
from dashboard.explore import curves, details, views
from dashboard.explore.batteries import batteries
from dashboard.explore.city import city, undecided
from dashboard.explore.state import state
from dashboard.following import Awaited
from dashboard.page import page_head, share
from dashboard.session import Pinned, current
from dashboard.text import plain
from iomt_core.charts.city_map import is_crowded

session = current()
view = state(session)
sidebar(session)


def set_pin(pinned: Pinned | None) -> None:
    """Sets what later scenarios and policies are compared with."""
    session.pinned = pinned


@st.fragment
def main() -> None:
    """Everything right of the sidebar; a click in here reruns only this."""
    with Awaited(session, lambda: (view.tab, view.site)) as awaited:
        draw(awaited)


def draw(awaited: Awaited) -> None:
    """Draws the page. All that takes time comes before the first element: the browser then draws once, not piece by piece."""
    episode = awaited.episode(session.policy_label, partial(views.shown_episode, session))
    record = episode.record
    results = {} if record is None else views.results(session, record)
    with page_head(session, plain(session.title)):
        now = Pinned(session.scenario, session.shown_policy, session.shares, session.seed)
        st.button("Pin", icon=":material/push_pin:", on_click=set_pin, args=(now,),
                  help="Every later change is compared with the present scenario and policy.")  # fmt: skip
        if session.pinned is not None:
            st.button("Unpin", on_click=set_pin, args=(None,))
        share(session, "explore", lambda: view.link(session))
    if record is None:
        awaited.show(st.container(key="awaited"))
        undecided(session, episode.problem)
        return
    by = views.judged_by(session, record)
    labels = views.policy_labels(views.compared(session))
    views.headline(session, results[session.shown_policy], by)
    place = st.container(key="awaited")
    views.warnings(session, record)
    with st.container(key="hero"):
        with st.container():
            if is_crowded(session.scenario):
                city(session, view, record)
                answer = views.selected_task(session, record)
            else:
                answer = views.ward(session, record)
        with st.container():
            curves.episode_curves(session, record, labels, awaited)
            awaited.show(place)
        with st.container():
            views.policies(session, results, by, awaited)
        with st.container():
            curves.parameter_curves(session, labels, awaited)
    batteries(session, record, awaited)
    views.alternatives(session, answer)
    details.tabs(session, view, record)


main()
