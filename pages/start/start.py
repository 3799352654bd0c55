"""Start: what one sees here, the ward moving, five questions to begin with, and where to go."""

from __future__ import annotations

import streamlit as st

from dashboard.session import current, keep_link
from dashboard.start import views as views
from dashboard.text import plain, show_errors
from iomt_core.scenario import ScenarioError

lab = current()
show_errors(lab.problems, "The lab still shows the last good scenario.")
head, share = st.columns([5, 1], vertical_alignment="bottom")
head.title("IoMT Twin Lab", anchor=False)
with share.container(horizontal=True, horizontal_alignment="right"), st.popover("Share", icon=":material/link:"):
    try:
        link = keep_link(lab, "start")
        st.write("This address restores scenario, policy, seed, step and selection:")
        st.code(link, language=None, wrap_lines=True)
    except ScenarioError as error:
        st.info(plain(str(error)))
left, right = st.columns([5, 5], gap="medium")
with left:
    views.ward(lab)
with right:
    views.sentences(lab)
    views.figures(lab)
views.tour(lab)
views.cards()
views.claims()
