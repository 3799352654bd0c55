"""Curves on Explore: delay, energy and cost in every step of the episode, in step with the map's player."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.explore.views import pinned_episode, subtitle, visible_row
from dashboard.following import Awaited, client, episode, is_large
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session
from dashboard.widgets import index_of, synced
from iomt_core.charts.around import around_curves, around_table
from iomt_core.charts.live import live_curves, live_table
from iomt_core.charts.style import PINNED, SHOWN, Look, other_policy
from iomt_core.experiments.around import axis_around, curve_computer, present_value
from iomt_core.experiments.sweeps.spec import sweepable, switched_off
from iomt_core.policies.base import Shares
from iomt_core.record import Record
from iomt_core.training.catalogue import DEFAULT, policy_label

ALWAYS = (DEFAULT, "price-response", "optimum")  # the curves over a parameter, beside that of the shown policy


def also_shown(session: Session, labels: Mapping[str, str]) -> dict[str, Look]:
    """A control for the other policies whose curves are drawn; returns how each chosen one is drawn, by name."""
    others = [name for name in labels if name != session.shown_policy]

    def choose() -> None:
        session.also = tuple(st.session_state["also"])

    chosen = [name for name in others if name in session.also]
    st.multiselect(
        "Also show", others, chosen, **synced("also", chosen, choose), format_func=lambda name: labels[name],
        placeholder="Choose policies",
    )  # fmt: skip
    return {name: _look(session, labels, name) for name in chosen}


def _look(session: Session, labels: Mapping[str, str], name: str) -> Look:
    """How a policy's curves are drawn, the same in both charts."""
    return SHOWN if name == session.shown_policy else other_policy(list(labels).index(name))


def episode_curves(session: Session, shown: Record, labels: Mapping[str, str], awaited: Awaited) -> None:
    """The curves of the shown policy, the pinned one, and the policies that were ticked; in a large ward some follow."""
    s, seed, others = session.scenario, session.seed, dict[str, tuple[Record, Look]]()
    for name, look in also_shown(session, labels).items():
        also = awaited.episode(labels[name], partial(episode, f"also {name}", s, name, "own", seed))
        if also.record is not None:
            others[labels[name]] = also.record, look
    if (p := session.pinned) is not None:
        pinned = awaited.episode(f"Pinned: {policy_label(p.policy)}", partial(pinned_episode, session))
        if pinned.record is not None:
            others[f"pinned: {policy_label(p.policy)}"] = pinned.record, PINNED
    draw_episode(session, shown, others, "episode_curves")


def draw_episode(
    session: Session, shown: Record, others: Mapping[str, tuple[Record, Look]], key: str
) -> None:  # fmt: skip
    """The curves of the shown policy's episode and of the others, by label, with their table."""
    records = {session.policy_label: shown, **{label: record for label, (record, _) in others.items()}}
    looks = [SHOWN, *(look for _, look in others.values())]
    row = visible_row(session, shown)
    about = subtitle(session, "each step of this episode", policy=not others)
    plotly_chart(live_curves(records, looks, int(shown.step[row]), about), key)
    chart_table(key, lambda: live_table(records), "Mean delay, mean energy and cost of each step")


def parameter_curves(session: Session, labels: Mapping[str, str], awaited: Awaited) -> None:
    """Delay, energy and cost over the range of the parameter that was moved last, or of another that is chosen."""
    known = sweepable(session.scenario)
    name = session.moved if session.moved is not None and session.moved in known else "servers"

    def choose() -> None:
        session.moved = st.session_state["around_parameter"]

    st.selectbox(
        "What if this changed?", list(known), index_of(known, name), **synced("around_parameter", name, choose),
        format_func=lambda one: known[one].label or one,
        help="The curves show delay, energy and cost at other values of this parameter, everything else as it is. It is the "
        "one that you moved last, unless you choose another. Click a point to set its value.",
    )  # fmt: skip
    if is_large(session.scenario) and not st.toggle(
        "Compute these curves", key="around_large", help="In a ward as large as this one they take minutes, in the background."
    ):  # fmt: skip
        st.caption("The curves of a ward as large as this one are computed only where this is switched on.")
        return
    first = session.shown_policy
    policies = dict.fromkeys((first, *(one for one in (*ALWAYS, *session.also) if one in labels)))
    looks = [_look(session, labels, one) for one in policies]
    _around(session, name, {one: labels[one] for one in policies}, looks, awaited)


@st.fragment
def _around(session: Session, name: str, labels: dict[str, str], looks: list[Look], awaited: Awaited) -> None:
    """The chart, drawn again every quarter of a second until all its points are there."""
    awaited.draw_what_is_chosen()
    axis, now = axis_around(session.scenario, name), present_value(session.scenario, name)
    shares: dict[str, Shares] = {one: session.shares if one == session.shown_policy else "own" for one in labels}
    found = curve_computer().curves(client(), session.scenario, axis, shares, session.seed)

    def set_value(value: float) -> None:
        session.try_change(lambda: session.scenario.changed(**axis.change(session.scenario, value)))
        st.rerun()  # the whole page, with the controls

    scope = "this episode at other values of one parameter"
    if switched_off(session.scenario, name):
        scope += ": whole wards, none switched off"
    about = subtitle(session, scope, policy=False)
    figure = around_curves(found, now, labels, looks, about)
    plotly_chart(figure, "around", set_value, pending=not found.complete)
    chart_table("around", lambda: around_table(found, labels), "Delay, energy and cost at every value")
