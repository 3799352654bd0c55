"""What every page begins with: title, problems, and the Share button with the link that restores the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.links import full_link, kept_until, update_address, write_link
from dashboard.session import Session
from dashboard.text import plain, show_errors
from iomt_core.scenario import ScenarioError

NOT_LINKED = "not_linked"  # in session state: why the address does not hold the session, once that was said


def page_head(session: Session, title: str, large: bool = False) -> DeltaGenerator:
    """Shows the problems of the last change or link, and the page's title (Markdown); returns the place for its buttons."""
    show_problems(session)
    head = st.container(horizontal=True, vertical_alignment="center", key="head")
    (head.title if large else head.subheader)(title, anchor=False, width="stretch")
    return head.container(horizontal=True, width="content")


def show_problems(session: Session) -> None:
    """Shows the problems of the last change or link, and quiet hints on the link."""
    show_errors(session.problems)
    for hint in session.hints:
        st.caption(plain(hint))


def share(session: Session, page: str, view: Callable[[], Mapping[str, str] | None] = lambda: None) -> None:
    """A button that shows the link to this page; the browser's address is kept equal to it.

    view: returns what the page adds to the link; it may raise `ScenarioError`, which is then shown in place of the link.
    """
    try:
        query, problem = write_link(session, page, view()), ""
        update_address(query)
    except ScenarioError as error:
        query, problem = {}, str(error)
    if problem != st.session_state.get(NOT_LINKED, ""):  # once, when it becomes so
        st.session_state[NOT_LINKED] = problem
        if problem:
            st.toast(plain(problem), icon=":material/link_off:", duration="long")
    with st.popover("Share", icon=":material/link_off:" if problem else ":material/link:"):
        if problem:
            st.info(plain(problem))
            return
        st.write(
            "This link opens the page as it is now: scenario, policy, seed, step, selected task, pinned scenario, and what is "
            "chosen on this page. A reload and the browser's Back button use it too."
        )
        st.code(full_link(query), language=None, wrap_lines=True)
        st.caption(f"{plain(session.title)}.")
        if until := kept_until(query):
            st.caption(
                "The own data is too large for a link. This server keeps it for everybody who has the link, at least until "
                f"**{datetime.fromtimestamp(until):%d %B %Y}**; each use prolongs that. To keep it yourself, download "
                "the scenario: *Files and own data* in the sidebar."
            )
