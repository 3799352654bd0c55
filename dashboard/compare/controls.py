"""The controls of the Compare page: scenario and policy of both sides, and how many episodes both play."""

from __future__ import annotations

import streamlit as st

from dashboard.compare.state import PINNED, SAME, Compare, side_b
from dashboard.controls import policy_and_shares
from dashboard.session import Session
from dashboard.text import plain
from dashboard.widgets import choose, synced
from iomt_core.experiments.comparison.sides import MOST_EPISODES, Side
from iomt_core.scenario import PRESET_NOTES, PRESETS, counted
from iomt_core.training.catalogue import describe, usable_policy


def head(session: Session, state: Compare) -> None:
    """Title, number of episodes, and buttons that act on both sides."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.subheader("A and B on the same episodes", anchor=False, width="content")
        actions = st.container(horizontal=True, vertical_alignment="bottom", width="content")
    with actions:
        _episodes(session, state)
        st.button(
            "Pin as A", icon=":material/push_pin:", on_click=lambda: state.pin(session, side_b(session)),
            help="Makes the sidebar's scenario and policy side A; then change something and see the difference.",
        )  # fmt: skip
        st.button(
            "Swap A and B", icon=":material/swap_horiz:", on_click=lambda: state.swap(session),
            help="A goes into the sidebar, and what the sidebar shows becomes A. Every difference changes its sign.",
        )  # fmt: skip


def sides(session: Session, state: Compare) -> None:
    """Scenario, policy and shares of A and of B, one row for each side."""
    with st.container(border=True):
        _side_a(session, state)
        _side_b(session)


def _side_a(session: Session, state: Compare) -> None:
    a = state.side_a(session)
    columns = st.columns([3, 3, 2])
    sources = {SAME: "the same scenario as B"}
    if session.pinned is not None:
        sources[PINNED] = f"pinned: {session.pinned.scenario.name}"
    sources |= {name: f"preset: {name}" for name in PRESETS}

    choose(
        columns[0], "A: scenario", "compare_ward", sources, state.source,
        lambda source: state.set_source(session, source),
        format_func=lambda name: sources[name],
        help="The same scenario as B compares two policies. The pinned one was set by **Pin**, here or on Explore.\n\n"
        + "\n\n".join(f"**{name}**: {note}" for name, note in PRESET_NOTES.items()),
    )  # fmt: skip
    policy_and_shares(
        columns[1], columns[2], "compare_a_", "A: {}", a, lambda name: state.set_a(session, name, a.shares),
        lambda rule: state.set_a(session, a.policy, rule),
    )  # fmt: skip
    words = _side_words("A", a)
    if state.source == PINNED and session.pinned is not None and session.pinned.seed != session.seed:
        words += f" It was pinned with episode seed {session.pinned.seed}, and plays the sidebar's, {session.seed}."
    st.caption(words)


def _side_b(session: Session) -> None:
    b = side_b(session)
    columns = st.columns([3, 3, 2])
    with columns[0]:
        st.markdown("B: scenario", help="B is always the scenario of the sidebar: change it there.")
        st.markdown("the sidebar's scenario")
    policy_and_shares(
        columns[1], columns[2], "compare_b_", "B: {}", b, lambda name: setattr(session, "policy", name),
        lambda rule: setattr(session, "shares", rule),
    )  # fmt: skip
    st.caption(_side_words("B", b))


def _side_words(name: str, side: Side) -> str:
    s = side.scenario
    return f"{name}: {plain(describe(usable_policy(side.policy, s), s))}, {counted(s.T, 'step')} ({plain(s.name)})."


def _episodes(session: Session, state: Compare) -> None:
    def set_episodes() -> None:
        state.episodes, state.stopped = int(st.session_state["compare_episodes"]), None

    st.number_input(
        "Episodes", 1, MOST_EPISODES, state.episodes, **synced("compare_episodes", state.episodes, set_episodes), step=1,
        width=130,
        help="Both sides play these episodes of the sidebar's episode seed. More episodes make the intervals narrower; one "
        "episode gives no interval.",
    )  # fmt: skip
