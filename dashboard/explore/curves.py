"""Curves on Explore: delay, energy and cost in every step of the episode, in step with the map's player."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.explore.views import visible_row
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session, policy_label
from dashboard.widgets import sync_widget
from iomt_core.charts.live import live_curves, live_table
from iomt_core.charts.style import PINNED, SHOWN, Look, other_policy
from iomt_core.record import Record
from iomt_core.twin.northbound import play


def also_shown(session: Session, labels: Mapping[str, str]) -> dict[str, Look]:
    """A control for the other policies whose curves are drawn; returns how each chosen one is drawn, by name."""
    others = [name for name in labels if name != session.shown_policy]

    def choose() -> None:
        session.also = tuple(st.session_state["also"])

    chosen = [name for name in others if name in session.also]
    st.multiselect(
        "Also show", others, sync_widget("also", chosen), key="also", on_change=choose, format_func=lambda name: labels[name],
        placeholder="Also show other policies", label_visibility="collapsed",
    )  # fmt: skip
    return {name: other_policy(others.index(name)) for name in chosen}


def episode_curves(session: Session, shown: Record, labels: Mapping[str, str]) -> None:
    """The curves of the shown policy, the pinned one, and the policies that were ticked."""
    records, looks = {session.policy_label: shown}, [SHOWN]
    for name, look in also_shown(session, labels).items():
        records[labels[name]] = play(session.scenario, name, session.seed)
        looks.append(look)
    if (p := session.pinned) is not None:
        records[f"pinned: {policy_label(p.policy)}"] = play(p.scenario, p.policy, p.seed, p.shares)
        looks.append(PINNED)
    row = visible_row(session, shown)
    about = f"Ward: {session.scenario.size_words} · each step of this episode"
    plotly_chart(live_curves(records, looks, int(shown.step[row]), about), "episode_curves")
    chart_table("episode_curves", lambda: live_table(records), "Mean delay, mean energy and cost of each step")
