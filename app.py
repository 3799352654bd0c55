"""The dashboard's frame: navigation and page settings, nothing else. Start it with `make run`."""

import streamlit as st

from dashboard.lab import current
from dashboard.navigation import navigate
from dashboard.tour import tour_banner

st.set_page_config(
    page_title="IoMT Twin Lab", page_icon=":material/cardiology:", layout="wide", initial_sidebar_state="expanded"
)
page = navigate()
tour_banner(current())
page.run()
