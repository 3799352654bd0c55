"""The dashboard's frame: navigation and page settings, nothing else. Start it with `make run`."""

import streamlit as st

from dashboard.navigation import navigate
from dashboard.person import read_operator_link
from dashboard.session import current
from dashboard.start.tour import tour_banner

st.set_page_config(
    page_title="IoMT Twin Lab", page_icon=":material/cardiology:", layout="wide", initial_sidebar_state="expanded"
)
# White text on the light blue of the dark theme would be hard to read.
st.html(
    "<style>"
    "[data-testid=stBaseButton-primary], [data-testid=stBaseButton-primary] p,"
    "[data-testid=stMultiSelect] [data-tag], [data-testid=stMultiSelect] [data-tag] :is(span, button)"
    "{ color: light-dark(#fff, #10141a) }"
    "[data-testid=stElementContainer]:has(script) { display: none }</style>"
)
read_operator_link()
page = navigate()
tour_banner(current())
page.run()
