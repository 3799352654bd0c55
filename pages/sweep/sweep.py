"""Sweep: vary one or two parameters over a range, for several policies, and watch the curves arrive."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.runs import keep_queues_moving
from dashboard.session import current, update_link
from dashboard.sweep import views
from dashboard.sweep.form import new_sweep
from dashboard.text import plain, show_errors
from iomt_core.experiments.sweeps.run import SWEEPS
from iomt_core.scenario import ScenarioError

session = current()
sidebar(session)
view = views.current_view(session)
keep_queues_moving()


@st.fragment
def begin() -> None:
    """The form of a new sweep."""
    started = new_sweep(session, view.form, view.problems)
    if started is not None:
        view.shown = started
        st.rerun()
    show_errors(view.problems)


def watch() -> None:
    """The chosen sweep; looks anew each second while one runs."""
    known = SWEEPS.runs()
    if views.poll_interval(known) != poll_interval:
        st.rerun()
    left, right = st.columns([5, 3], vertical_alignment="bottom")
    with left:
        shown = views.choose(known, view)
    with right.container(horizontal=True, horizontal_alignment="right"), st.popover("Share", icon=":material/link:"):
        try:
            link = update_link(session, "sweep", views.link_view(view))
            st.write("This address restores the scenario, the form above and the sweep shown:")
            st.code(link, language=None, wrap_lines=True)
        except ScenarioError as error:
            st.info(plain(str(error)))
    if shown is None:
        return
    views.progress(shown, view)
    views.results(shown, view)
    box = st.expander("All sweeps", key="sweep_all", on_change="rerun")
    if box.open:
        with box:
            views.every(known)


st.subheader("Sweep a parameter", anchor=False)
show_errors(session.problems, "The lab still shows the last good scenario.")
with st.container(border=True):
    begin()
poll_interval = views.poll_interval(SWEEPS.runs())
st.fragment(watch, run_every=poll_interval)()
