"""The tab that forks a recorded episode, and shows what happened beside what would have happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.person import current_person
from dashboard.plotly_chart import plotly_chart
from dashboard.text import plain, show_errors
from dashboard.twin.state import ForkForm, View
from dashboard.twin.warehouses import SUBJECT
from dashboard.widgets import clamp, form_widget, synced
from iomt_core.charts.forks import fork_curves, fork_numbers, fork_table
from iomt_core.runs.owner import owner_of
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import catalogue, policy_label
from iomt_core.twin.access.hooks import audit_hook
from iomt_core.twin.audit_log import open_audit_log
from iomt_core.twin.recorded_fork import CHANGEABLE, Fork, RecordedEpisode, recorded_episode
from iomt_core.twin.warehouse.reading import Warehouse

AS_RECORDED = "as recorded"
WIDTH = 150


def what_if(folder: Path, state: dict[str, Any], view: View) -> None:
    """The form of a fork, and both futures."""
    if not state["recordings"]:
        st.info("Nothing is recorded yet that could be forked.", icon=":material/fork_right:")
        return
    if not current_person().may_change(owner_of(folder)):
        st.info(
            "A fork reads the data of all users: only the owner of this warehouse can ask for one.",
            icon=":material/lock:",
        )
        return
    form, identity = view.fork, state["warehouse"]
    row = st.container(horizontal=True, vertical_alignment="bottom")
    try:
        episodes = pick_episode(row, folder, state, form)
        recorded = read_episode(
            folder, identity, state["revision"], form.recording or state["recordings"], form.episode
        )
        _changes(row, recorded, form)
        fork = _forked(recorded, identity, form)
    except ScenarioError as error:
        show_errors(error.problems)
        return
    label, s = policy_label(recorded.policy), recorded.scenario
    origin = f"{label} on {s.name} · episode {recorded.episode} of {episodes}, seed {recorded.seed}"
    st.markdown(f"**From step {fork.step} on: {plain(fork.words)}.** Recorded: {plain(origin)}.")
    with st.container(key="wide_twin"):
        with st.container():
            plotly_chart(fork_curves(recorded, fork, origin), "twin_fork")
            chart_table("twin_fork", lambda: fork_table(recorded, fork), "Both futures, step by step")
        with st.container():
            st.table(fork_numbers(fork), border="horizontal", hide_index=True, alt="Both futures in numbers")
            st.caption(
                "From the step of the fork to the end of the episode. Tasks and places are the same in both; batteries at that "
                "step are those that the recorded actions left. No record is copied or changed."
            )


def pick_episode(row: Any, folder: Path, state: dict[str, Any], form: ForkForm) -> int:
    """Controls for recording and episode. Returns how many episodes the recording was to have."""
    count = state["recordings"]
    form.recording = clamp(form.recording or count, 1, count)
    if count > 1:
        form_widget("Recording", row.number_input, "recording", form, "twin_recording", convert=int, min_value=1,
                    max_value=count, step=1, width=WIDTH)  # fmt: skip
    _, configurations = Warehouse(folder).configurations(form.recording)
    episodes = int(next(iter(configurations.values())).get("episodes", 1))  # of a training run, which cannot be forked
    form.episode = clamp(form.episode, 1, episodes)
    if episodes > 1:
        form_widget("Episode", row.number_input, "episode", form, "twin_episode", convert=int, min_value=1, max_value=episodes,
                    step=1, width=WIDTH)  # fmt: skip
    return episodes


def _changes(row: Any, recorded: RecordedEpisode, form: ForkForm) -> None:
    s, last = recorded.scenario, len(recorded.record)
    form.step = clamp(form.step, 1, last)
    if last > 1:
        form_widget("From step", row.number_input, "step", form, "twin_step", convert=int, min_value=1, max_value=last, step=1,
                    width=WIDTH, help="The first step that may differ.")  # fmt: skip
    policies = [AS_RECORDED, *catalogue([form.policy])]

    def set_policy() -> None:
        chosen = st.session_state["twin_policy"]
        form.policy = "" if chosen == AS_RECORDED else chosen

    chosen = form.policy if form.policy in policies else AS_RECORDED
    row.selectbox("Policy", policies, policies.index(chosen), **synced("twin_policy", chosen, set_policy), width=260,
                  format_func=lambda name: name if name == AS_RECORDED else policy_label(name))  # fmt: skip
    more = st.container(horizontal=True, vertical_alignment="bottom")
    for name, count, noun in (("servers_off", s.ward_servers, "Servers"), ("users_off", s.ward_users, "Users")):
        off = getattr(form, name)
        if off is None or not set(off) <= set(range(1, count + 1)) or len(off) >= count:
            setattr(form, name, list(getattr(s, name)))
        form_widget(f"{noun} switched off", more.multiselect, name, form, f"twin_{name}_{count}",
                    options=list(range(1, count + 1)), max_selections=count - 1, width=260)  # fmt: skip
    form_widget(
        "More changes", more.text_input, "other", form, "twin_other", max_chars=400, width=320,
        placeholder="B_k=200MHz; T_max=10ms", help=f"NAME=VALUE, separated by ;. One of {', '.join(CHANGEABLE[2:])}.",
    )  # fmt: skip


@st.cache_resource(max_entries=8, show_spinner="Reading the recorded episode…")
def read_episode(folder: Path, identity: str, revision: int, recording: int, episode: int) -> RecordedEpisode:
    """Read once for a revision; the audit log says so."""
    del revision
    with open_audit_log(folder) as log:
        return recorded_episode(folder, episode, recording, audit_hook(log, SUBJECT))


def _forked(recorded: RecordedEpisode, identity: str, form: ForkForm) -> Fork:
    overrides = tuple(sorted(form.overrides(recorded.scenario).items()))
    key = identity, recorded.recording, recorded.episode, form.step, overrides, form.policy
    return _play(key, recorded)


@st.cache_resource(max_entries=32, show_spinner="Playing the other future…")
def _play(key: tuple[Any, ...], _recorded: RecordedEpisode) -> Fork:
    *_, step, overrides, policy = key
    return _recorded.fork(step, dict(overrides), policy)
