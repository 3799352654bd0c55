"""The pages of the app, and how a link opens its page."""

from __future__ import annotations

from types import MappingProxyType

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from dashboard.session import current
from iomt_core.paths import APP

# Name, title and icon; the file is pages/NAME/NAME.py. Streamlit would serve a file directly in
# pages/ without app.py, so pages are one folder deeper.
TITLES = MappingProxyType(
    {
        "start": ("Start", ":material/home:"),
        "explore": ("Explore", ":material/explore:"),
        "inspect": ("Inspect", ":material/troubleshoot:"),
        "compare": ("Compare", ":material/compare_arrows:"),
        "train": ("Train", ":material/model_training:"),
        "sweep": ("Sweep", ":material/ssid_chart:"),
    }
)


def pages() -> dict[str, StreamlitPage]:
    """All pages by name."""
    found = {}
    for name, (title, icon) in TITLES.items():
        file = APP / "pages" / name / f"{name}.py"
        if file.exists():
            found[name] = st.Page(file, title=title, icon=icon, url_path=name, default=name == "start")
    return found


def navigate() -> StreamlitPage:
    """Shows the navigation and returns the page to run; switches to the page that a link or a click asks for."""
    known = pages()
    chosen = st.navigation(list(known.values()), position="top")
    session = current()
    if session.wanted_page is not None:
        wanted, session.wanted_page = known.get(session.wanted_page), None
        if wanted is not None and wanted.url_path != chosen.url_path:
            st.switch_page(wanted)
    return chosen
