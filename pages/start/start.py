"""Start: what one sees here, the ward moving, and where to go."""

from __future__ import annotations

import streamlit as st

from dashboard import explore_views as views
from dashboard.lab import current

lab = current()
st.title("IoMT Twin Lab", anchor=False)
views.ward(lab, views.record(lab))
