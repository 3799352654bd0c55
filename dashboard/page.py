"""What every page begins with: title, problems, and the Share button with the link that restores the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.session import Session, update_link
from dashboard.text import plain, show_errors
from iomt_core.scenario import ScenarioError


def page_head(session: Session, title: str, large: bool = False) -> DeltaGenerator:
    """Shows the problems of the last change or link, and the page's title (Markdown); returns the place for its buttons."""
    show_errors(session.problems, "The page still shows the last valid scenario.")
    head = st.container(horizontal=True, vertical_alignment="center", key="head")
    (head.title if large else head.subheader)(title, anchor=False, width="stretch")
    return head.container(horizontal=True, width="content")


def share(session: Session, page: str, view: Callable[[], Mapping[str, str] | None] = lambda: None) -> None:
    """A button that shows the link to this page; the browser's address is kept equal to it.

    view: returns what the page adds to the link; it may raise `ScenarioError`, which is then shown in place of the link.
    """
    with st.popover("Share", icon=":material/link:"):
        try:
            link = update_link(session, page, view())
            st.write("This link opens the page as it is now, with its scenario, policy, seed and selection:")
            st.code(link, language=None, wrap_lines=True)
            st.caption(f"Policy: {plain(session.policy_label)}.")
        except ScenarioError as error:
            st.info(plain(str(error)))
