"""The Storage tab: what the tiers hold, whether anything is missing, looking after it, and the check of all data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.plotly_chart import plotly_chart
from dashboard.runs import clock
from dashboard.text import plain
from dashboard.twin.retention import retention
from dashboard.twin.state import View
from iomt_core.charts.warehouse import tier_bars, tier_table
from iomt_core.scenario import ScenarioError, counted
from iomt_core.twin.warehouse.checks import verify


def storage(folder: Path, state: dict[str, Any], view: View) -> None:
    """Shows the state of a warehouse, as `checks.status` describes it."""
    if not state["rows"]:
        st.info("Nothing is recorded yet.", icon=":material/hourglass_empty:")
        retention(folder, state, view)
        return
    _figures(state)
    plotly_chart(tier_bars(state, f"{folder.name}, revision {state['revision']}"), "twin_tiers")
    chart_table("twin_tiers", lambda: tier_table(state), "What each tier holds, and its limits")
    st.caption(
        "New records are on the *device*, encrypted. With age or size they move to the *edge*, then into the *archive*; what "
        f"leaves the archive is dropped: {counted(state['dropped_rows'], 'record')} so far. A red mark is a limit."
    )
    retention(folder, state, view)
    _check(folder, state, view)


def _figures(state: dict[str, Any]) -> None:
    gaps, forgotten = state["sequence_gaps"], len(state["forgotten"])
    with st.container(key="headline"):
        st.metric("Records", f"{state['rows']:,}")
        st.metric("Recordings", f"{state['recordings']:,}")
        st.metric(
            "Users", len(state["users"]) - forgotten, help=f"{forgotten} more were forgotten." if forgotten else None
        )
        st.metric("Last commit", f"{clock(max(0.0, time.time() - state['last_commit_s']))} ago")
        st.metric(
            "Missing records",
            f"{gaps:,}",
            help="Numbers of records that are not there, or are there twice. Should be 0.",
        )
    if gaps:
        st.error(f"{counted(gaps, 'record')} missing or stored twice: check all data.", icon=":material/error:")
    st.markdown(
        "**Head hash**", help="Stands for the whole history. Keep it elsewhere: a rewritten warehouse has another one."
    )
    st.code(state["head_hash"], language=None, wrap_lines=True)


def _check(folder: Path, state: dict[str, Any], view: View) -> None:
    name = folder.name
    if st.button("Verify all data", icon=":material/verified_user:", key="twin_verify",
                 help="Reads and decrypts every record, and follows the chain of hashes over all commits."):  # fmt: skip
        with st.spinner("Reading every record…"):
            try:
                found = verify(folder)
                words = f"Intact: {found['rows']:,} records in {found['segments']:,} segments, {found['commits']:,} commits."
                view.data_check[name] = (state["revision"], True, words)
            except ScenarioError as error:
                view.data_check[name] = (state["revision"], False, str(error))
    if name in view.data_check:
        revision, intact, words = view.data_check[name]
        later = "" if revision == state["revision"] else f" Checked at revision {revision}; more was recorded since."
        if intact:
            st.success(f"{words}{later}", icon=":material/check_circle:")
        else:
            st.error(f"Damaged: {plain(words)}{later}", icon=":material/error:")
