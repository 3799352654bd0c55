"""State, progress and buttons of a run, as the pages of sweeps and answers show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

import streamlit as st

from dashboard.person import current_person
from dashboard.runs import clock
from dashboard.text import plain, show_errors
from iomt_core.runs.directory import log_tail
from iomt_core.runs.owner import Person
from iomt_core.runs.queue import RunQueue, RunRecord
from iomt_core.scenario import ScenarioError

BADGES = {
    "queued": ("gray", "schedule"), "starting": ("blue", "progress_activity"), "running": ("blue", "progress_activity"),
    "stopping": ("orange", "hourglass_top"), "finished": ("green", "check"), "stopped": ("orange", "stop_circle"),
    "interrupted": ("red", "power_off"), "failed": ("red", "error"),
}  # fmt: skip


# Options of `RunQueue.resume`.
Place = Callable[[], Mapping[str, Any]]


def run_progress(queue: RunQueue, run: RunRecord, key: str, problems: list[str], place: Place) -> None:
    """State, points, time left and buttons.

    key: begins the keys of the buttons; problems: gets what an action could not do; place: returns the options
    of a resumed run's worker, and may raise `ScenarioError`.
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


def _actions(queue: RunQueue, run: RunRecord, key: str, problems: list[str], place: Place) -> None:
    person = current_person()
    mine = person.may_change(run.owner)
    why = f"It belongs to {plain(run.owner.name)}: only its owner or the operator of the lab can change it."

    def act(change: Callable[[str, Person], Any]) -> None:
        problems.clear()
        try:
            change(run.name, person)
        except ScenarioError as error:
            problems.extend(error.problems)

    def resume(name: str, by: Person) -> None:
        queue.resume(name, by, **place())

    def button(label: str, icon: str, change: Callable[[str, Person], Any], name: str) -> None:
        st.button(
            label, icon=f":material/{icon}:", on_click=act, args=(change,), key=f"{key}_{name}", disabled=not mine,
            help=None if mine else why,
        )  # fmt: skip

    if run.stopping:
        button("Stop at once", "stop", queue.kill, "kill")
    elif run.active or run.state == "queued":
        button("Stop", "stop", queue.stop, "stop")
    if run.resumable:
        button("Resume", "play_arrow", resume, "resume")
    if not run.active:
        with st.popover("Delete", icon=":material/delete:", disabled=not mine, help=None if mine else why):
            name = queue.kind.name
            st.write(
                f"Deletes the {name} {plain(run.name)} and its files. Its points stay in the cache for later {name}s."
            )
            st.button("Delete it", on_click=act, args=(queue.delete,), key=f"{key}_delete")


def _failures(run: RunRecord) -> None:
    if run.reason:
        st.warning(f"{plain(run.reason)} Finished points are kept.", icon=":material/warning:")
        if words := log_tail(run.folder):
            with st.expander("The end of its log"):
                st.code(words, language=None)
    reasons = [str(failure).partition(": ") for failure in run.status.get("failures") or ()]
    for reason, count in Counter(reason for _, _, reason in reasons).items():
        first = next(point for point, _, found in reasons if found == reason)
        others = f" and {count - 1} more" if count > 1 else ""
        show_errors([f"{first}{others} failed: {reason}"])
