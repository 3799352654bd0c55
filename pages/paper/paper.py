"""Paper: the paper's figures in our numbers, and what became of its claims."""

from __future__ import annotations

import streamlit as st

from dashboard.page import page_head, share
from dashboard.paper import views
from dashboard.paper.state import current_view, link_view
from dashboard.session import current
from dashboard.text import show_errors
from iomt_core.scenario import ScenarioError

session = current()
view = current_view(session)
buttons = page_head(session, "The paper's figures")
show_errors(view.problems)
views.choose_figure(view)
with buttons:
    share(session, "paper", lambda: link_view(view))
try:
    results, sizes, plan = views.results()
except ScenarioError as error:
    show_errors(error.problems)
    st.stop()
views.figure(view, results, sizes, plan)
views.open_ward(view, session)
views.claims(view, results, sizes, plan)
views.all_claims(results, sizes, plan)
