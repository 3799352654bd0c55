"""State, progress and buttons of a run, as the pages of sweeps and answers show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import streamlit as st

from dashboard.runs import clock
from dashboard.text import plain, show_errors
from iomt_core.runs.directory import log_tail
from iomt_core.runs.queue import RunQueue, RunRecord
from iomt_core.scenario import ScenarioError

BADGES = {
    "queued": ("gray", "schedule"), "starting": ("blue", "progress_activity"), "running": ("blue", "progress_activity"),
    "stopping": ("orange", "hourglass_top"), "finished": ("green", "check"), "stopped": ("orange", "stop_circle"),
    "interrupted": ("red", "power_off"), "failed": ("red", "error"),
}  # fmt: skip


def run_progress(queue: RunQueue, run: RunRecord, key: str, problems: list[str], place: Mapping[str, Any]) -> None:
    """State, points, time left and buttons.

    key: begins the keys of the buttons; problems: gets what an action could not do; place: where a resumed run works.
    """
    colour, icon = BADGES[run.condition]
    left, right = st.columns([5, 3], vertical_alignment="center")
    with left.container(horizontal=True, vertical_alignment="center"):
        st.badge(run.condition, icon=f":material/{icon}:", color=cast(Any, colour))
        st.write(_words(run))
    with right.container(horizontal=True, horizontal_alignment="right"):
        _actions(queue, run, key, problems, place)
    total = _total(run)
    if run.state != "finished":
        st.progress(min(1.0, run.done / total) if total else 0.0)
    with st.container():  # a fixed place, so that a live chart below does not move when a message appears
        _failures(run)


def _total(run: RunRecord) -> int:
    return int(run.number("total")) or run.total


def _words(run: RunRecord) -> str:
    total = _total(run)
    words = f"{run.done} of {total} points"
    if run.status.get("cached"):
        words += f", {run.status['cached']} from the cache"
    if run.stopping:
        words += ": points that finish within seconds are kept"
    elif run.seconds_left is not None:
        words += f", {clock(run.seconds_left)} left" if run.done < total else ", writing the results"
    elif run.state == "queued":
        words += f", {run.ahead} before it" if run.ahead else ", next"
    elif run.state == "finished":
        words += f", {clock(run.number('seconds'))}"
    return words


def _actions(queue: RunQueue, run: RunRecord, key: str, problems: list[str], place: Mapping[str, Any]) -> None:
    def act(change: Callable[[str], Any]) -> None:
        problems.clear()
        try:
            change(run.name)
        except ScenarioError as error:
            problems.extend(error.problems)

    def resume(name: str) -> None:
        queue.resume(name, **place)

    if run.stopping:
        st.button("Stop at once", icon=":material/stop:", on_click=act, args=(queue.kill,), key=f"{key}_kill")
    elif run.active or run.state == "queued":
        st.button("Stop", icon=":material/stop:", on_click=act, args=(queue.stop,), key=f"{key}_stop")
    if run.resumable:
        st.button(
            "Resume", icon=":material/play_arrow:", type="primary", on_click=act, args=(resume,), key=f"{key}_resume"
        )
    if not run.active:
        with st.popover("Delete", icon=":material/delete:"):
            st.write(
                f"Deletes the {queue.kind.name} {plain(run.name)} and its files. Its points stay in the cache for later "
                "ones."
            )
            st.button("Delete it", on_click=act, args=(queue.delete,), key=f"{key}_delete")


def _failures(run: RunRecord) -> None:
    if run.reason:
        st.warning(f"{plain(run.reason)} Finished points are kept.", icon=":material/warning:")
        if words := log_tail(run.folder):
            with st.expander("The end of its log"):
                st.code(words, language=None)
    show_errors(map(str, run.status.get("failures") or ()))
