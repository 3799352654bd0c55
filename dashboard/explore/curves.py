"""Curves on Explore: delay, energy and cost in every step of the episode, in step with the map's player."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.explore.views import visible_row
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session, policy_label
from dashboard.widgets import sync_widget
from iomt_core.charts.around import around_curves, around_table
from iomt_core.charts.live import live_curves, live_table
from iomt_core.charts.style import PINNED, SHOWN, Look, other_policy
from iomt_core.experiments import around
from iomt_core.record import Record
from iomt_core.scenario import Scenario, metadata
from iomt_core.training.catalogue import DEFAULT
from iomt_core.twin.northbound import play

ALWAYS = (DEFAULT, "price-response", "optimum")  # the curves over a parameter, beside that of the shown policy


def also_shown(session: Session, labels: Mapping[str, str]) -> dict[str, Look]:
    """A control for the other policies whose curves are drawn; returns how each chosen one is drawn, by name."""
    others = [name for name in labels if name != session.shown_policy]

    def choose() -> None:
        session.also = tuple(st.session_state["also"])

    chosen = [name for name in others if name in session.also]
    st.multiselect(
        "Also show", others, sync_widget("also", chosen), key="also", on_change=choose, format_func=lambda name: labels[name],
        placeholder="Choose policies",
    )  # fmt: skip
    return {name: other_policy(others.index(name)) for name in chosen}


def episode_curves(session: Session, shown: Record, labels: Mapping[str, str]) -> None:
    """The curves of the shown policy, the pinned one, and the policies that were ticked."""
    others = {
        labels[name]: (play(session.scenario, name, session.seed), look)
        for name, look in also_shown(session, labels).items()
    }
    if (p := session.pinned) is not None:
        others[f"pinned: {policy_label(p.policy)}"] = play(p.scenario, p.policy, p.seed, p.shares), PINNED
    draw_episode(session, shown, others, "episode_curves")


def draw_episode(
    session: Session, shown: Record, others: Mapping[str, tuple[Record, Look]], key: str
) -> None:  # fmt: skip
    """The curves of the shown policy's episode and of the others, by label, with their table."""
    records = {session.policy_label: shown, **{label: record for label, (record, _) in others.items()}}
    looks = [SHOWN, *(look for _, look in others.values())]
    row = visible_row(session, shown)
    about = f"{session.scenario.size_words} · each step of this episode"
    plotly_chart(live_curves(records, looks, int(shown.step[row]), about), key)
    chart_table(key, lambda: live_table(records), "Mean delay, mean energy and cost of each step")


def parameter_curves(session: Session, labels: Mapping[str, str]) -> None:
    """Delay, energy and cost over the whole range of the parameter that was moved last, or of another that is chosen."""
    names = around.parameters(session.scenario)
    name = session.moved if session.moved in names else "servers"

    def choose() -> None:
        session.moved = st.session_state["around_parameter"]

    known = metadata()
    st.selectbox(
        "What if this changed?", names, names.index(sync_widget("around_parameter", name)), key="around_parameter",
        on_change=choose, format_func=lambda one: known[one].label or one,
        help="The curves show delay, energy and cost at every value of the parameter, all others as they are. It is the one "
        "that you moved last, unless you choose another. Click a point to set its value.",
    )  # fmt: skip
    first = session.shown_policy
    policies = [first, *(one for one in ALWAYS if one in labels and one != first)]
    policies += [one for one in session.also if one in labels and one not in policies]
    looks = [SHOWN, *(other_policy(n) for n in range(len(policies) - 1))]
    _around(session, name, {one: labels[one] for one in policies}, looks)


def _points(s: Scenario, name: str, policies: tuple[str, ...], seed: int) -> around.Around:
    """The points around this scenario; another request of the same session cancels the one before."""
    before = st.session_state.get("around_points")
    key = (s.digest, name, policies, seed)
    if before is None or before[0] != key:
        if before is not None:
            before[1].cancelled = True
        before = key, around.Around(s, name, policies, seed)
        st.session_state["around_points"] = before
    return cast(around.Around, before[1])


@st.fragment
def _around(session: Session, name: str, labels: dict[str, str], looks: list[Look]) -> None:
    """The chart, drawn again every fifth of a second until all points are there."""
    found = _points(session.scenario, name, tuple(labels), session.seed)
    meta, points = metadata()[name], dict(found.points)
    about = f"{session.scenario.size_words} · this episode at every value"

    def go(value: float) -> None:
        session.try_change(lambda: session.scenario.changed(**{name: type(getattr(session.scenario, name))(value)}))
        st.rerun()  # the whole page, with the controls

    figure = around_curves(points, meta, getattr(session.scenario, name), labels, looks, about)
    plotly_chart(figure, "around", go, pending=not found.done)
    chart_table("around", lambda: around_table(points, meta, labels), "Delay, energy and cost at every value")
