"""The table of runs: state, progress and buttons."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.drawings import component
from dashboard.runs import clock
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.charts.learning import DASHES
from iomt_core.charts.style import SERVER_COLOURS
from iomt_core.metrics import METRICS
from iomt_core.runs.curves import curves
from iomt_core.runs.queue import RunRecord

_FOLDER = Path(__file__).parent
KEY = "run_list"
_table = component(KEY, "runs", _FOLDER / "run_list.css", _FOLDER / "run_list.js")


def run_list(rows: Sequence[Mapping[str, Any]], act: Callable[[str, str], None]) -> None:
    """Shows the rows; a click calls `act` with the action and the run's name, before the rerun."""

    def on_action() -> None:
        action = st.session_state[KEY].did
        if action:
            act(str(action[0]), str(action[1]))

    _table(key=KEY, data={"rows": list(rows)}, on_did_change=on_action)


def row(run: RunRecord, shown: Sequence[str], focus: str | None, colours: Mapping[str, int]) -> dict[str, Any]:
    """The table's data of a run."""
    number, speed = colours.get(run.name), run.number("episodes_per_s")
    gap = curves(run.folder).latest.get("gap")
    return {
        "name": run.name, "about": _about(run), "state": run.state, "word": run.condition, "note": _note(run),
        "part": min(1.0, run.done / run.total) if run.total else 0.0, "count": f"{run.done:,} of {run.total:,} episodes",
        "gap": "" if gap is None else METRICS["gap"].show(gap),
        "speed": f"{speed:.3g} episodes/s" if speed > 0 and run.state != "queued" else "",
        "time": _time(run), "shown": run.name in shown, "focus": run.name == focus, "actions": actions(run),
        "colour": None if number is None else SERVER_COLOURS[number % len(SERVER_COLOURS)],
        "dash": "" if number is None else " ".join(map(str, DASHES[number % len(DASHES)])),
    }  # fmt: skip


def actions(run: RunRecord) -> list[str]:
    """The buttons of a run in its present state."""
    if run.active:
        return [] if run.stopping else ["Stop"]
    if run.state == "queued":
        return ["Stop", "Delete"]
    if run.spec is None:
        return ["Delete"]
    return ["Explore" if run.state == "finished" else "Resume", "Delete"]


def _about(run: RunRecord) -> str:
    if run.spec is None:
        return "cannot be read"
    return f"{ALGORITHMS[run.spec.algorithm].label}, {run.spec.scenario.name}, seed {run.spec.seed}"


def _note(run: RunRecord) -> str:
    if run.state == "queued":
        return "next" if run.ahead == 0 else f"{run.ahead} before it"
    notes = {
        "stopping": "saves after this batch", "starting": "loading", "interrupted": "can be resumed",
        "failed": "see below", "finished": "a policy",
    }  # fmt: skip
    return notes.get(run.condition, "")


def _time(run: RunRecord) -> str:
    seconds, left = run.number("seconds"), run.seconds_left
    words = clock(seconds) if seconds > 0 else ""
    if left is None:
        return words
    return f"{words}, {clock(max(0.0, left - max(0.0, time.time() - run.number('updated_at'))))} left"
