"""Inspect: one decision at a time: what the agent observed, what its networks expected, and what would have been better."""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard.controls import sidebar
from dashboard.explore import views as explore_views
from dashboard.explore.city import city_of_task, undecided
from dashboard.following import Awaited, Episode, episode, is_large
from dashboard.inspect import team, views
from dashboard.inspect.state import TABS, select, state, stepping
from dashboard.page import page_head, share
from dashboard.session import current
from dashboard.text import plain
from dashboard.widgets import open_tab
from iomt_core.charts.city_map import is_crowded
from iomt_core.record import Record
from iomt_core.twin.northbound_inspect import Seen

session = current()
view = state(session)
sidebar(session)


def known_episode(awaited: Awaited) -> Episode:
    """The episode shown, as far as it is known; a large one is computed beside the dashboard, and so is the optimum's."""
    s, view.seen = session.scenario, None
    if not is_large(s):
        with st.spinner("Playing the episode…"):
            return Episode(explore_views.record(session))
    shown = awaited.episode(session.policy_label, partial(explore_views.shown_episode, session))
    if shown.record is not None:
        plan = awaited.episode("Optimum", partial(episode, "plan", s, "optimum", "own", session.seed, False))
        view.seen = Seen(shown.record, plan.record)
    return shown


@st.fragment
def main() -> None:
    """Everything right of the sidebar; a click in here reruns only this."""
    with Awaited(session, lambda: (view.tab, view.rank, view.round)) as awaited:
        draw(awaited)


def draw(awaited: Awaited) -> None:
    """Draws the page as far as its episode is known."""
    shown = known_episode(awaited)
    record = shown.record
    point = None if record is None else select(session, record)
    with page_head(session, plain(session.title)):
        share(session, "inspect", view.link)
    if record is None:
        awaited.show(st.container(key="awaited"))
        undecided(session, shown.problem)
        return
    explore_views.warnings(session, record)
    stepping(session, record, point)
    awaited.show(st.container(key="awaited"))
    if point is None:
        st.info("No user has a task in this step. Choose another step.", icon=":material/event_busy:")
        ward(record)
        return
    with st.container(key="wide_decision"):
        with st.container():
            ward(record)
        with st.container():
            views.decision(session, record, point)
    name, place = open_tab(TABS, "inspect_tabs", view.tab, lambda name: setattr(view, "tab", name))
    with place:
        SHOW[name](record, point)


def ward(record: Record) -> None:
    """The map: of every task, or of sites in a crowded ward."""
    if is_crowded(session.scenario):
        city_of_task(session, record, "city")
    else:
        explore_views.ward(session, record)


SHOW = {
    "values": lambda record, point: views.values(session, view, record, point),
    "shares": lambda record, point: views.shares(session, record, point),
    "seen": lambda record, point: views.observation(session, record, point),
    "mixer": lambda record, point: team.mixer(session, record, point),
    "regret": lambda record, point: team.regret(session, view, record, point),
    "formulas": lambda record, point: team.numbers(session, record, point),
}
main()
