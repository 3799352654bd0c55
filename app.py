"""The dashboard's frame: navigation and page settings, nothing else. Start it with `make run`."""

import streamlit as st

st.set_page_config(
    page_title="IoMT Twin Lab", page_icon=":material/cardiology:", layout="wide", initial_sidebar_state="expanded"
)
st.navigation(
    [st.Page("pages/explore/explore.py", title="Explore", icon=":material/explore:", default=True)], position="top"
).run()
