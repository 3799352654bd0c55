"""Train: start a run, watch it learn, compare runs; a finished one is a policy on every page."""

from __future__ import annotations

import streamlit as st

from dashboard.controls import sidebar
from dashboard.navigation import pages
from dashboard.runs import keep_queues_moving
from dashboard.session import current, update_link
from dashboard.text import plain, show_errors
from dashboard.train import views
from dashboard.train.form import new_run
from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import ScenarioError

session = current()
sidebar(session)
view = views.current_view(session)
keep_queues_moving()


@st.fragment
def begin() -> None:
    """The form of a new run."""
    started = new_run(session)
    if started is not None:
        view.show_only(started)
        view.problems = []
        st.rerun()


def watch() -> None:
    """All runs, and the chosen ones in full; looks anew each second while one trains."""
    if views.adopt_run(view, session):
        st.switch_page(pages()["explore"])
    known = TRAINING.runs()
    views.drop_deleted_runs(known, view)
    if views.poll_interval(known) != poll_interval:
        st.rerun()
    bar = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom")
    bar.subheader("Runs", anchor=False, width="content")
    with bar.popover("Share", icon=":material/link:"):
        try:
            link = update_link(session, "train", {"runs": ",".join(view.shown)} if view.shown else None)
            st.write("This address restores scenario, policy and the runs shown:")
            st.code(link, language=None, wrap_lines=True)
        except ScenarioError as error:
            st.info(plain(str(error)))
    views.table(known, view)
    views.details(known, view)


st.subheader("Train a policy", anchor=False)
show_errors(session.problems, "The lab still shows the last good scenario.")
with st.container(border=True):
    begin()
poll_interval = views.poll_interval(TRAINING.runs())
st.fragment(watch, run_every=poll_interval)()
