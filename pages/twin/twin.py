"""Twin: what the data warehouse of a ward holds, who asked it what, and what would have happened."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.controls import sidebar
from dashboard.page import page_head, share
from dashboard.person import keep_token
from dashboard.policy_notes import policy_replaced
from dashboard.session import current
from dashboard.text import show_errors
from dashboard.twin import access, agents, forks, registry, trace, warehouses
from dashboard.twin.recording_form import choose_warehouse, progress, record_form
from dashboard.twin.staleness import stale_twin
from dashboard.twin.state import TABS, current_view, link_view
from dashboard.twin.storage import storage
from dashboard.widgets import open_tab
from iomt_core.scenario import ScenarioError
from iomt_core.twin.warehouse.checks import status

session = current()
sidebar(session)
view = current_view(session)
keep_token()


def interval() -> float | None:
    """Seconds between two refreshes; None while nothing is recorded."""
    return 1.0 if warehouses.running() is not None else None


def set_tab(name: str) -> None:
    """Remembers the tab that a person opened."""
    view.tab = name


def shown_state() -> dict[str, Any] | None:
    """The state of the chosen warehouse; None with the reason on the page if it cannot be read."""
    assert folder is not None
    try:
        return status(folder)
    except ScenarioError as error:
        show_errors(error.problems)
        return None


def watch() -> None:
    """Progress of the recording, and what the warehouse holds; refreshed each second while episodes are recorded."""
    if interval() != every:
        st.rerun()
    job = warehouses.running() or warehouses.recording_of(folder.name if folder is not None else None)
    if job is not None:
        progress(job)
    if folder is not None and view.tab == "storage":
        state = shown_state()
        if state is not None:
            storage(folder, state, view)


buttons = page_head(session, "Twin")
policy_replaced(session)
known = warehouses.known()
folder = choose_warehouse(known, view)
with st.expander("Record episodes", icon=":material/fiber_manual_record:", expanded=not known):
    record_form(session, view, known)
show_errors(view.problems)
with buttons:
    share(session, "twin", lambda: link_view(view))
every = interval()
if folder is None:
    st.info(
        "There is no data warehouse yet. Press *Record*: episodes of this ward are played and kept, encrypted, in a log for each "
        "user.",
        icon=":material/database:",
    )
    st.fragment(watch, run_every=every)()
    with st.expander("Models", icon=":material/deployed_code:"):
        try:
            registry.models(session, view.models)
        except ScenarioError as error:
            show_errors(error.problems)
    st.subheader(TABS["stale"])
    stale_twin(session, view)
else:
    tab, place = open_tab(TABS, "twin_tab", view.tab, set_tab)
    with place:
        st.fragment(watch, run_every=every)()
        if tab == "stale":
            stale_twin(session, view)
        state = None if tab in ("storage", "stale") else shown_state()
        if state is not None:
            try:
                if tab == "audit":
                    access.audit(folder, state["warehouse"], view)
                elif tab == "query":
                    access.query(folder, state["warehouse"], view)
                elif tab == "agents":
                    agents.agents(folder, state, view)
                elif tab == "trace":
                    trace.coordination(folder, state, view)
                elif tab == "models":
                    registry.models(session, view.models)
                else:
                    forks.what_if(folder, state, view)
            except ScenarioError as error:
                show_errors(error.problems)
