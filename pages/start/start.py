"""Start: what the lab shows, a scenario that plays, questions to begin with, and where to go."""

from __future__ import annotations

import streamlit as st

from dashboard.page import page_head, share
from dashboard.policy_notes import policy_replaced
from dashboard.session import current
from dashboard.start import views

session = current()
with page_head(session, "IoMT Twin Lab", large=True):
    share(session, "start")
policy_replaced(session)
views.sentences(session)
with st.container(key="hero_start"):
    with st.container():
        views.ward(session)
    with st.container():
        views.figures(session)
        views.curves(session)
views.batteries(session)
views.tour(session)
views.cards()
views.claims()
