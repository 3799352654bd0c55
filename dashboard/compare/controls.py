"""The head of the Compare page: what stands on either side, and how many episodes both play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard.compare.state import PINNED, SAME, Compare, side_b
from dashboard.controls import SHARE_LABELS
from dashboard.session import Session
from dashboard.text import plain
from dashboard.widgets import index_of, on_user_change, sync_widget
from iomt_core.experiments.comparison.sides import MOST_EPISODES
from iomt_core.policies.base import SHARES
from iomt_core.scenario import PRESET_NOTES, PRESETS, Scenario
from iomt_core.training.catalogue import catalogue

SHARES_HELP = (
    "Who sets the shares of CPU and bandwidth: the policy, all tasks of a device alike, or the best for its choices."
)


def ward_words(s: Scenario) -> str:
    """A ward in a few words."""
    counts = ((s.users, "user"), (s.tasks, "task"), (s.servers, "server"), (s.T, "step"))
    users, tasks, servers, steps = (f"{n} {word}{'s' * (n > 1)}" for n, word in counts)
    return f"{plain(s.name)}: {users} × {tasks}, {servers}, {steps}"


def head(session: Session, state: Compare) -> None:
    """Title and what can be done with the sides as a whole."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.subheader("A beside B, on the same episodes", anchor=False, width="content")
        actions = st.container(horizontal=True, vertical_alignment="bottom", width="content")
    with actions:
        _episodes(session, state)
        st.button(
            "Pin as A", icon=":material/push_pin:", on_click=lambda: state.pin(session, side_b(session)),
            help="Makes the sidebar's ward and policy side A; then change something and see the difference.",
        )  # fmt: skip
        st.button(
            "Swap A and B", icon=":material/swap_horiz:", on_click=lambda: state.swap(session),
            help="What is A now goes into the sidebar, and what the sidebar shows becomes A. Every difference changes its sign.",
        )  # fmt: skip


def sides(session: Session, state: Compare) -> None:
    """Ward, policy and shares of A and of B, one row a side."""
    with st.container(border=True):
        _side_a(session, state)
        _side_b(session)


def _side_a(session: Session, state: Compare) -> None:
    a = state.side_a(session)
    columns = st.columns([3, 3, 2])
    sources = {SAME: "the same ward as B"}
    if session.pinned is not None:
        sources[PINNED] = f"pinned: {session.pinned.scenario.name}"
    sources |= {name: f"preset: {name}" for name in PRESETS}

    def set_ward() -> None:
        policy, shares = a.policy, a.shares
        state.source = st.session_state["compare_ward"]
        if state.source != PINNED:
            state.policy, state.shares = policy, shares

    columns[0].selectbox(
        "A: ward", list(sources), index_of(sources, sync_widget("compare_ward", state.source)),
        key="compare_ward", on_change=on_user_change("compare_ward", set_ward),
        format_func=lambda name: sources[name],
        help="The same ward as B compares two policies. The pinned one is what **Pin** remembered, here or on Explore.\n\n"
        + "\n\n".join(f"**{name}**: {note}" for name, note in PRESET_NOTES.items()),
    )  # fmt: skip

    def set_policy() -> None:
        state.set_a(session, st.session_state["compare_policy_a"], a.shares)

    def set_shares() -> None:
        state.set_a(session, a.policy, st.session_state["compare_shares_a"])

    _policy("a", a.policy, a.shares, set_policy, set_shares, columns[1:])
    words = ward_words(a.scenario)
    if state.source == PINNED and session.pinned is not None and session.pinned.seed != session.seed:
        words += f". Pinned at episode seed {session.pinned.seed}; here it plays the sidebar's, {session.seed}"
    st.caption(f"A is {words}.")


def _side_b(session: Session) -> None:
    b = side_b(session)
    columns = st.columns([3, 3, 2])

    def set_policy() -> None:
        session.policy = st.session_state["compare_policy_b"]

    def set_shares() -> None:
        session.shares = st.session_state["compare_shares_b"]

    with columns[0]:
        st.markdown("B: ward", help="B is always what the sidebar describes: change it there.")
        st.markdown("the sidebar's ward")
    _policy("b", b.policy, b.shares, set_policy, set_shares, columns[1:])
    st.caption(f"B is {ward_words(b.scenario)}.")


def _policy(
    side: str, policy: str, shares: str, set_policy: Callable[[], None], set_shares: Callable[[], None], columns: Any
) -> None:
    known = catalogue()
    labels = {name: p.label for name, p in known.items()}
    labels.setdefault(policy, f"{policy} (gone)")  # a run may be deleted meanwhile
    left, right = columns
    of_policy, of_shares = f"compare_policy_{side}", f"compare_shares_{side}"
    left.selectbox(
        f"{side.upper()}: policy", list(labels), index_of(labels, sync_widget(of_policy, policy)),
        key=of_policy, on_change=on_user_change(of_policy, set_policy),
        format_func=lambda name: labels[name],
        help="\n\n".join(f"**{plain(p.label)}**: {plain(p.summary)}" for p in known.values() if "@" not in p.name),
    )  # fmt: skip
    right.selectbox(
        f"{side.upper()}: shares", SHARES, index_of(SHARES, sync_widget(of_shares, shares)),
        key=of_shares, on_change=on_user_change(of_shares, set_shares),
        format_func=lambda name: SHARE_LABELS[name], help=SHARES_HELP,
    )  # fmt: skip


def _episodes(session: Session, state: Compare) -> None:
    def update() -> None:
        state.episodes = int(st.session_state["compare_episodes"])
        state.stopped = None

    st.number_input(
        "Episodes", 1, MOST_EPISODES, sync_widget("compare_episodes", state.episodes),
        key="compare_episodes", on_change=on_user_change("compare_episodes", update), step=1, width=130,
        help="Both sides play these episodes of the sidebar's episode seed. More of them make the intervals narrower; one gives "
        "no interval.",
    )  # fmt: skip
