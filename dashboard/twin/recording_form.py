"""Which warehouse the Twin page shows, and how episodes are recorded into one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from dashboard.person import current_person
from dashboard.runs import clock
from dashboard.session import Session
from dashboard.text import plain
from dashboard.twin import warehouses
from dashboard.twin.state import View
from dashboard.twin.warehouses import MOST_EPISODES, Recording
from dashboard.widgets import choose, form_widget
from iomt_core.scenario import ScenarioError

NEW = "a new warehouse"


def choose_warehouse(known: Mapping[str, Path], view: View) -> Path | None:
    """Shows a control for the warehouse. Returns the chosen one's folder; None if there is none."""
    if view.warehouse is not None and view.warehouse not in known:
        view.problems.append(f"warehouse = {view.warehouse!r} is not there. Shown instead: the latest.")
        view.warehouse = None
    if not known:
        return None
    name = view.warehouse or next(iter(known))

    def update(chosen: str) -> None:
        view.warehouse = chosen

    choose(
        st, "Warehouse", "twin_warehouse", list(known), name, update, help="Those in the lab's folder of warehouses."
    )
    return known[name]


def record_form(session: Session, view: View, known: Mapping[str, Path]) -> None:
    """Records the ward and policy of the sidebar."""
    busy = warehouses.running()
    row = st.container(horizontal=True, vertical_alignment="bottom")
    into = view.into if view.into in known else NEW

    def update(chosen: str) -> None:
        view.into = None if chosen == NEW else chosen

    choose(row, "Record into", "twin_into", [NEW, *known], into, update, width=260)
    form_widget(
        "Episodes", row.number_input, "episodes", view, "twin_episodes", convert=int, min_value=1, max_value=MOST_EPISODES,
        step=1, width=150,
    )  # fmt: skip

    def begin() -> None:
        view.problems.clear()
        person = current_person()
        name = None if into == NEW else into
        try:
            job = warehouses.start(
                name, session.scenario, session.shown_policy, session.seed, session.shares, view.episodes, person
            )
        except ScenarioError as error:
            view.problems += error.problems
            return
        view.warehouse, view.tab = job.warehouse, "storage"

    row.button(
        "Record", icon=":material/fiber_manual_record:", type="primary", key="twin_record", on_click=begin,
        disabled=busy is not None,
    )  # fmt: skip
    row.caption(f"Records **{plain(session.title)}**, from seed {session.seed}.")


def progress(job: Recording) -> None:
    """How far a recording has come, with Cancel."""
    if job.state == "running":
        row = st.container(horizontal=True, vertical_alignment="center")
        left = (job.episodes / job.done - 1) * job.seconds if job.done else None
        words = f"Recording {job.done} of {job.episodes} episodes into {job.warehouse}"
        row.progress(job.done / job.episodes, words + (f", about {clock(left)} left" if left is not None else ""))
        mine = current_person().may_change(job.owner)
        row.button(
            "Cancel", icon=":material/stop:", key="twin_cancel", on_click=job.cancel.set,
            disabled=not mine or job.cancel.is_set(), help=None if mine else "Only who started it or the operator can cancel.",
        )  # fmt: skip
    elif job.state == "cancelled":
        st.warning(f"Cancelled: {job.done} of {job.episodes} episodes are kept.", icon=":material/stop_circle:")
    elif job.state == "failed":
        st.error(f"Recording failed after {job.done} episodes. {plain(job.problem)}", icon=":material/error:")
