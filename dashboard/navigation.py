"""The pages of the app, and how a link opens its page."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from dashboard.session import current, follow_history
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
        "answers": ("Answers", ":material/lightbulb:"),
        "twin": ("Twin", ":material/database:"),
        "paper": ("Paper", ":material/article:"),
    }
)


_SCRIPT = Path(__file__).with_name("browser.js").read_text(encoding="utf-8")
ROOT_PAGE = "root_page"  # in session state


def pages() -> dict[str, StreamlitPage]:
    """All pages by name. The one that a link at the lab's root opens has that address, so that nothing needs to switch."""
    if ROOT_PAGE not in st.session_state:
        path = urlsplit(str(st.context.url or "")).path.rpartition("/")[2]
        wanted = st.query_params.get("page", "explore" if st.query_params else "start")
        st.session_state[ROOT_PAGE] = next(name for name in (wanted, *TITLES) if name in TITLES and name != path)
    found = {}
    for name, (title, icon) in TITLES.items():
        file = APP / "pages" / name / f"{name}.py"
        if file.exists():
            found[name] = st.Page(
                file, title=title, icon=icon, url_path=name, default=name == st.session_state[ROOT_PAGE]
            )
    return found


def navigate() -> StreamlitPage:
    """Shows the navigation and returns the page to run; switches to the page that a link or a click asks for."""
    st.html(f"<script>{_SCRIPT}</script>", unsafe_allow_javascript=True)
    known = pages()
    chosen = st.navigation(list(known.values()), position="top")
    session = current()
    follow_history()
    if session.wanted_page is not None:
        wanted, session.wanted_page = known.get(session.wanted_page), None
        if wanted is not None and wanted.url_path != chosen.url_path:
            st.switch_page(wanted, query_params=st.query_params.to_dict())
    return chosen
