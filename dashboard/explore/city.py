"""The map of a ward of a city's size on Explore, and the tasks of the site that a person chooses there."""

from __future__ import annotations

from typing import Any

import streamlit as st
import torch
from torch import Tensor

from dashboard.chart_tables import chart_table, page_of, selectable_tasks
from dashboard.explore.state import ExploreState
from dashboard.explore.views import step_scope, subtitle, visible_row
from dashboard.following import FOLLOWING
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session
from dashboard.widgets import choose, synced
from iomt_core.charts import tables
from iomt_core.charts.city_map import city_map
from iomt_core.record import Record
from iomt_core.scenario import counted
from iomt_core.training.catalogue import FALLBACK, entry, policy_label


def undecided(session: Session, problem: str) -> None:
    """The page while nothing is decided yet: where users and servers are; or why nothing can be decided."""
    if problem:
        st.error(problem, icon=":material/error:")
        return
    s = session.scenario
    is_slow = entry(session.shown_policy).trained or session.shown_policy in FOLLOWING
    if is_slow and st.button(
        f"Show {policy_label(FALLBACK).lower()} instead, which decides sooner", icon=":material/bolt:",
        on_click=setattr, args=(session, "policy", FALLBACK),
    ):  # fmt: skip
        st.rerun()  # the whole page, with the controls
    plotly_chart(city_map(s, None, subtitle=f"{s.size_words} · places"), "city")


def city_of_task(session: Session, shown: Record, key: str) -> None:
    """The map of sites; zoomed to the site of the selected task. A click on a site or user selects a task there."""
    row, s = visible_row(session, shown), session.scenario
    site = None
    if session.picked is not None and session.exists(session.picked):
        _, user, task = session.picked
        at = (row, s.user_numbers.index(user), task - 1)
        if bool(shown.snapshot.active[at]) and not bool(shown.outcome.skipped[at]):
            site = s.device_numbers[int(shown.action.choice[at])] or None

    def click(point: Any) -> None:
        kind, number = point[0], int(point[1])
        if kind == "site" and number in s.server_numbers:
            _pick_first(session, shown, row, _tasks_at(shown, row, number))
        elif kind == "user" and site is not None:
            _pick_first(session, shown, row, _tasks_at(shown, row, site, number))

    plotly_chart(city_map(s, shown, row, site, subtitle(session, step_scope(shown, row))), key, click)


def city(session: Session, view: ExploreState, shown: Record) -> None:
    """The map of sites, a control for the step, and the tasks of the chosen site."""
    row, s = visible_row(session, shown), session.scenario
    if view.site not in s.server_numbers:
        view.site = None

    def click(point: Any) -> None:
        kind, number = point[0], int(point[1])
        if kind == "site":
            view.site = None if number == view.site else number
        elif kind == "step":
            session.step = number
        elif kind == "user":
            _pick_user(session, view, shown, row, number)

    plotly_chart(city_map(s, shown, row, view.site, subtitle(session, step_scope(shown, row))), "city", click)

    def set_step() -> None:
        session.step = int(st.session_state["city_step"])

    def set_site(number: str | None) -> None:
        view.site = None if number is None else int(number)

    left, right = st.columns([3, 2])
    if len(shown) > 1:
        step = int(shown.step[row])
        left.slider("Step", 1, len(shown), step, **synced("city_step", step, set_step))
    choose(
        right, "Site", "city_site", [str(n) for n in s.server_numbers], None if view.site is None else str(view.site), set_site,
        format_func=lambda number: s.device_label(int(number)),
        placeholder="All sites: choose one, or click it",
    )  # fmt: skip
    if view.site is not None:
        _site(session, view.site, shown, row)
        st.button("Show all sites", icon=":material/zoom_out_map:", on_click=set_site, args=(None,))
    else:
        st.caption("A site is as large as its number of tasks. Click one to zoom in and see its users and tasks.")
    chart_table("ward", lambda: tables.ward_table(shown, row), "Places of users and servers, and the tasks of each")


def _pick_user(session: Session, view: ExploreState, shown: Record, row: int, user: int) -> None:
    """Selects the first task that a user sends to the chosen site."""
    s = session.scenario
    if view.site not in s.server_numbers or user not in s.user_numbers:
        return
    _pick_first(session, shown, row, _tasks_at(shown, row, view.site, user))


def _tasks_at(shown: Record, row: int, site: int, user: int | None = None) -> Tensor:
    """The tasks on a site in a step, (U, J) bool; only those of a user if one is given."""
    s = shown.scenario
    there = shown.action.choice[row] == s.server_numbers.index(site) + 1
    if user is not None:
        there = there & (torch.tensor(s.user_numbers) == user)[:, None]
    return there & shown.snapshot.active[row] & ~shown.outcome.skipped[row]


def _pick_first(session: Session, shown: Record, row: int, tasks: Tensor) -> None:
    """Selects the first of some tasks, (U, J) bool, of a step."""
    if bool(tasks.any()):
        i, j = tasks.nonzero()[0].tolist()
        session.pick((int(shown.step[row]), shown.scenario.user_numbers[i], j + 1))


def _site(session: Session, site: int, shown: Record, row: int) -> None:
    """The tasks of one site in the step; a row that is clicked selects its task."""
    table = shown.select(slice(row, row + 1)).table()
    table = table[(table["choice"] == site) & ~table["skipped"]]
    st.markdown(
        f"**{counted(len(table), 'task')} of {counted(table['user'].nunique(), 'user')} on "
        f"{session.scenario.device_label(site)}**, slowest first"
    )
    table = page_of(table.sort_values("delay_s", ascending=False, kind="stable"), "site_page")
    brief = table[["user", "task", "priority", "delay_s", "energy_j", "cost", "deadline_missed"]]
    selectable_tasks(tables.task_table(brief), table, session, "site_tasks", alt="Tasks of the site", height=240)
