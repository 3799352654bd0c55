"""Sweep: vary one or two parameters over a range, for several policies, and watch the curves arrive."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.page import page_head, share
from dashboard.person import keep_token
from dashboard.runs import keep_queues_moving
from dashboard.session import current
from dashboard.sweep import views
from dashboard.sweep.form import new_sweep
from dashboard.text import show_errors
from iomt_core.experiments.sweeps.run import SWEEPS

session = current()
sidebar(session)
view = views.current_view(session)
keep_token()
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
    """The chosen sweep; refreshed each second while one runs."""
    known = SWEEPS.runs()
    if views.poll_interval(known) != interval:
        st.rerun()
    left, right = st.columns([5, 3], vertical_alignment="bottom")
    with left:
        shown = views.choose(known, view)
    with right.container(horizontal=True, horizontal_alignment="right"):
        share(session, "sweep", lambda: views.link_view(view))
    if shown is None:
        return
    views.progress(shown, view)
    views.results(shown, view)
    box = st.expander("All sweeps", key="sweep_all", on_change="rerun")
    if box.open:
        with box:
            views.all_sweeps(known)


page_head(session, "Sweep a parameter")
with st.container(border=True):
    begin()
interval = views.poll_interval(SWEEPS.runs())
st.fragment(watch, run_every=interval)()
