"""The dashboard's frame: navigation and page settings, nothing else. Start it with `make run`."""

import streamlit as st

from dashboard.navigation import navigate
from dashboard.person import read_operator_link
from dashboard.session import current
from dashboard.start.tour import tour_banner
from iomt_core.paths import APP

st.set_page_config(
    page_title="IoMT Twin Lab", page_icon=":material/cardiology:", layout="wide", initial_sidebar_state="auto"
)
read_operator_link()
st.html(APP / "dashboard" / "style.css")
page = navigate()
tour_banner(current())
page.run()
