"""Start: what the lab shows, a scenario that plays, questions to begin with, and where to go."""

from __future__ import annotations

import streamlit as st

from dashboard.following import Awaited
from dashboard.page import page_head, share
from dashboard.policy_notes import policy_replaced
from dashboard.session import current
from dashboard.start import views

session = current()
with page_head(session, "IoMT Twin Lab", large=True):
    share(session, "start")
policy_replaced(session)
views.sentences(session)
with Awaited(session) as awaited:
    shown = views.episode_of(session, awaited)
    awaited.show(st.container(key="awaited"))
    with st.container(key="hero_start"):
        with st.container():
            views.ward(session, shown)
        if shown.record is not None:
            with st.container():
                views.figures(session, shown.record)
                views.curves(session, shown.record)
    if shown.record is not None:
        views.batteries(session, shown.record)
    views.tour(session)
    views.cards()
    views.claims()
