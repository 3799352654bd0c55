"""Start: what one sees here, the ward moving, five questions to begin with, and where to go."""

from __future__ import annotations

import streamlit as st

from dashboard.session import current, update_link
from dashboard.start import views
from dashboard.text import plain, show_errors
from iomt_core.scenario import ScenarioError

session = current()
show_errors(session.problems, "The lab still shows the last good scenario.")
head, share = st.columns([5, 1], vertical_alignment="bottom")
head.title("IoMT Twin Lab", anchor=False)
with share.container(horizontal=True, horizontal_alignment="right"), st.popover("Share", icon=":material/link:"):
    try:
        link = update_link(session, "start")
        st.write("This address restores scenario, policy, seed, step and selection:")
        st.code(link, language=None, wrap_lines=True)
    except ScenarioError as error:
        st.info(plain(str(error)))
left, right = st.columns([5, 5], gap="medium")
with left:
    views.ward(session)
with right:
    views.sentences(session)
    views.figures(session)
views.tour(session)
views.cards()
views.claims()
