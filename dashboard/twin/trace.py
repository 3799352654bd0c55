"""The tab that shows how a recorded step was coordinated, and what crossed which border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.person import current_person
from dashboard.plotly_chart import plotly_chart
from dashboard.text import plain
from dashboard.twin.forks import pick_episode, read_episode
from dashboard.twin.state import View
from dashboard.widgets import clamp, form_widget
from iomt_core.charts.coordination import (
    border_table,
    coordination_notes,
    decided_table,
    observed_table,
    weight_bars,
)
from iomt_core.runs.owner import owner_of
from iomt_core.training.catalogue import make_policy, policy_label
from iomt_core.twin.management.trace import Trace, trace
from iomt_core.twin.recorded_fork import RecordedEpisode


def coordination(folder: Path, state: dict[str, Any], view: View) -> None:
    """Observations in, weights, decisions out, and bytes. Raises `ScenarioError`."""
    if not state["recordings"]:
        st.info("Nothing is recorded yet that could be traced.", icon=":material/hub:")
        return
    if not current_person().may_change(owner_of(folder)):
        st.info(
            "A trace plays the tasks of all users again: only the owner of this warehouse can ask for one.",
            icon=":material/lock:",
        )
        return
    form = view.fork
    row = st.container(horizontal=True, vertical_alignment="bottom")
    pick_episode(row, folder, state, form)
    number = form.recording or state["recordings"]
    episode = read_episode(folder, state["warehouse"], state["revision"], number, form.episode)
    last = len(episode.record)
    form.step = clamp(form.step, 1, last)
    if last > 1:
        form_widget("Step", row.number_input, "step", form, "twin_step", convert=int, min_value=1, max_value=last, step=1,
                    width=150)  # fmt: skip
    found = _traced((state["warehouse"], number, form.episode, form.step), episode)
    origin = (
        f"{policy_label(episode.policy)} on {episode.scenario.name}, step {found.step} of episode {episode.episode}"
    )
    st.markdown(f"**{plain(origin)}**")
    st.markdown("**In: ô of each agent.** Sums over its tasks, its power, CPU and battery; no single task.")
    st.dataframe(observed_table(found), hide_index=True, key="twin_observed", alt="ô of each agent")
    st.markdown("**Weighted by the mixer, and out: decisions**")
    st.dataframe(decided_table(found), hide_index=True, key="twin_decided", alt="Weights and decisions of each agent")
    if found.mixing is not None:
        plotly_chart(weight_bars(found, origin), "twin_weights")
        chart_table("twin_weights", lambda: found.agents()[["user", "value", "slope"]], "Weight of each agent")
    for words in coordination_notes(found):
        st.caption(plain(words))
    st.markdown("**Bytes across borders in this step**")
    st.dataframe(border_table(found), hide_index=True, key="twin_borders", alt="Bytes that crossed each border")
    st.caption(
        "A message is encoded, and its length counted: numbers without a header. Task data are the D bits of the model."
    )


@st.cache_resource(max_entries=32, show_spinner="Tracing the step…")
def _traced(key: tuple[Any, ...], _episode: RecordedEpisode) -> Trace:
    return trace(make_policy(_episode.policy, _episode.scenario), _episode.record, key[-1])
