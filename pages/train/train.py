"""Train: start a run, watch it learn, compare runs; a finished run can be used as a policy on every page."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.navigation import pages
from dashboard.page import page_head, share
from dashboard.person import keep_token
from dashboard.runs import keep_queues_moving
from dashboard.session import current
from dashboard.train import views
from dashboard.train.form import new_run
from iomt_core.runs.training_run import TRAINING

session = current()
sidebar(session)
view = views.current_view(session)
keep_token()
keep_queues_moving()


@st.fragment
def begin() -> None:
    """The form of a new run."""
    started = new_run(session)
    if started is not None:
        view.select([started])
        view.problems = []
        st.rerun()


def watch() -> None:
    """All runs, and the chosen ones in full; refreshed each second while one trains."""
    if views.adopt_run(view, session):
        st.switch_page(pages()["explore"])
    known = TRAINING.runs()
    views.drop_deleted_runs(known, view)
    if views.poll_interval(known) != interval:
        st.rerun()
    bar = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom")
    bar.subheader("Runs", anchor=False, width="content")
    with bar:
        share(session, "train", lambda: {"runs": ",".join(view.selected)} if view.selected else None)
    views.table(known, view)
    views.details(known, view)


page_head(session, "Train a policy")
with st.container(border=True):
    begin()
interval = views.poll_interval(TRAINING.runs())
st.fragment(watch, run_every=interval)()
