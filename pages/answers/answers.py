"""Answers: what matters most, how much is needed, and what the trade-off is."""

from __future__ import annotations

import streamlit as st

from dashboard.answers import views
from dashboard.answers.form import new_answer, question_picker
from dashboard.answers.state import current_view, link_view
from dashboard.controls import sidebar
from dashboard.page import page_head, share
from dashboard.person import keep_token
from dashboard.policy_notes import policy_replaced
from dashboard.runs import keep_queues_moving
from dashboard.session import current
from dashboard.text import show_errors
from iomt_core.experiments.answers.run import ANSWERS

session = current()
sidebar(session)
view = current_view(session)
keep_token()
keep_queues_moving()


def watch() -> None:
    """The answer to the chosen question; refreshed each second while one is computed."""
    known = ANSWERS.runs()
    if views.poll_interval(known) != interval:
        st.rerun()
    run = views.choose(known, view)
    if run is None:
        st.info("Press *Find out*: the answer appears here.", icon=":material/info:")
    else:
        views.show(run, view, session)


buttons = page_head(session, "Answers")
policy_replaced(session)
question_picker(view.form)
with st.container(border=True):
    new_answer(session, view)
show_errors(view.problems)
with buttons:
    share(session, "answers", lambda: link_view(view, session))
interval = views.poll_interval(ANSWERS.runs())
st.fragment(watch, run_every=interval)()
