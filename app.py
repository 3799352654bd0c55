"""The dashboard's frame: navigation and page settings, nothing else. Start it with `make run`."""

import streamlit as st

from dashboard.navigation import navigate

st.set_page_config(
    page_title="IoMT Twin Lab", page_icon=":material/cardiology:", layout="wide", initial_sidebar_state="expanded"
)
navigate().run()
