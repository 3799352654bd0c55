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
left, right = st.columns([5, 5], gap="medium")
with left:
    views.ward(session)
with right:
    views.sentences(session)
    views.figures(session)
views.tour(session)
views.cards()
views.claims()
