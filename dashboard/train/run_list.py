"""The table of runs, and buttons for those that are selected."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.runs import clock
from dashboard.text import plain
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.metrics import METRICS
from iomt_core.runs.curves import curves
from iomt_core.runs.owner import Person
from iomt_core.runs.queue import RunRecord
from iomt_core.runs.training_run import TRAINING

KEY = "run_list"
MOST_ROWS = 8  # without scrolling
ROW, HEAD = 35, 38  # heights, pixels

Act = Callable[[str, Sequence[str]], None]  # an action and the names of the runs that it is for


def run_table(known: Sequence[RunRecord], selected: Sequence[str], select: Callable[[Sequence[str]], None]) -> None:
    """Shows all runs as a table; calls `select` with the names of the rows that a person selects, the first one first."""

    def on_select() -> None:
        rows = st.session_state[KEY]["selection"]["rows"]
        names = [order[row] for row in rows if row < len(order)]
        kept = [name for name in selected if name in names]
        select([*kept, *(name for name in names if name not in kept)])

    order = [run.name for run in known]
    rows = sorted(order.index(name) for name in selected if name in order)
    state = st.session_state.get(KEY)
    selection: Any = {"selection": {"rows": rows, "columns": [], "cells": []}}
    if state is not None and sorted(state["selection"]["rows"]) != rows:
        st.session_state[KEY] = selection  # a run was started, deleted or chosen elsewhere
    st.dataframe(
        pd.DataFrame([_row(run, known) for run in known]), key=KEY, hide_index=True, on_select=on_select,
        selection_mode="multi-row", selection_default=selection, alt="All training runs",
        height=HEAD + ROW * min(max(1, len(known)), MOST_ROWS),
        column_config={
            "State": st.column_config.TextColumn(width="medium"),
            "Progress": st.column_config.ProgressColumn(format="percent", width="small"),
            "Gap": st.column_config.TextColumn(help=METRICS["gap"].sentence),
            "Owner": st.column_config.TextColumn(help="Only its owner or the operator of the lab can change a run."),
        },
    )  # fmt: skip


def run_buttons(known: Sequence[RunRecord], selected: Sequence[str], person: Person, act: Act) -> None:
    """Buttons for the selected runs; one is disabled where none of them allows it."""
    chosen = [run for run in known if run.name in selected]
    mine = [run for run in chosen if person.may_change(run.owner)]
    foreign = "" if len(mine) == len(chosen) else "Only the owner of a run or the operator of the lab can change it."
    can: Mapping[str, list[str]] = {
        "Stop": [run.name for run in mine if (run.active and not run.stopping) or run.state == "queued"],
        "Resume": [run.name for run in mine if run.resumable],
        "Delete": [run.name for run in mine if not run.active],
        "Explore": [run.name for run in chosen if run.state == "finished" and run.spec is not None][:1],
    }
    icons = {"Stop": "stop", "Resume": "play_arrow", "Explore": "explore", "Delete": "delete"}
    with st.container(horizontal=True, vertical_alignment="center"):
        for action in ("Stop", "Resume", "Explore"):
            st.button(
                action, icon=f":material/{icons[action]}:", key=f"run_{action.lower()}", disabled=not can[action],
                on_click=act, args=(action.lower(), can[action]),
                help=foreign or ("Use the trained policy on the other pages." if action == "Explore" else None),
            )  # fmt: skip
        with st.popover(
            "Delete", icon=":material/delete:", key="run_delete", disabled=not can["Delete"], help=foreign or None
        ):
            st.write(f"Delete {', '.join(map(plain, can['Delete']))} with all files? This cannot be undone.")
            st.button(
                "Delete for ever", type="primary", key="run_really_delete", on_click=act, args=("delete", can["Delete"])
            )
        st.caption(
            f"Selected: {', '.join(map(plain, selected))}"
            if selected
            else "Select runs in the table to see their curves."
        )


def _row(run: RunRecord, known: Sequence[RunRecord]) -> dict[str, Any]:
    gap = curves(run.folder).latest.get("gap")
    return {
        "Run": run.name,
        "State": _state(run, known),
        "Progress": min(1.0, run.done / run.total) if run.total else 0.0,
        "Gap": "" if gap is None else METRICS["gap"].show(gap),
        "Time": _time(run),
        "Owner": run.owner.name,
        "Training": about(run),
    }


def about(run: RunRecord) -> str:
    """What trains, from where, in which scenario and with which seed."""
    spec = run.spec
    if spec is None:
        return "cannot be read"
    start = "scratch" if spec.start is None else "the general network"
    return f"{ALGORITHMS[spec.algorithm].label} from {start}, {spec.scenario.name}, seed {spec.seed}"


def _state(run: RunRecord, known: Sequence[RunRecord]) -> str:
    """The state in words."""
    if run.state == "queued":
        return waiting_words(run, known)
    if run.condition == "starting":
        return f"starting: {run.loading}"
    notes = {"stopping": "saves after this batch", "interrupted": "can be resumed", "failed": "see below"}
    words = notes.get(run.condition) or str(run.status.get("collapsed") or "")
    return f"{run.condition}: {words}" if words else run.condition


def waiting_words(run: RunRecord, known: Sequence[RunRecord]) -> str:
    """A waiting run's place in the queue, and when it will start, if that can be estimated."""
    seconds = TRAINING.seconds_until_start(run, known)
    about = "" if seconds is None else f", about {clock(seconds)} until it starts"
    return f"{'next' if run.ahead == 0 else _ordinal(run.ahead + 1)} in the queue{about}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _time(run: RunRecord) -> str:
    seconds, left = run.number("seconds"), run.seconds_left
    words = clock(seconds) if seconds > 0 else ""
    if left is None:
        return words
    return f"{words}, {clock(max(0.0, left - max(0.0, time.time() - run.number('updated_at'))))} left"
