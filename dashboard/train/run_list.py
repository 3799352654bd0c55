"""The table of runs: states, progress, and what can be done with each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.charts.learning import DASHES
from iomt_core.charts.style import SERVER_COLOURS
from iomt_core.metrics import METRICS
from iomt_core.runs.curves import curves
from iomt_core.runs.jobs import Job

_HERE = Path(__file__).parent
_table = st.components.v2.component(
    "run_list",
    html='<div class="runs"></div>',
    css=(_HERE / "run_list.css").read_text(encoding="utf-8"),
    js="\n".join((_HERE / file).read_text(encoding="utf-8") for file in ("../svg.js", "run_list.js")),
)
KEY = "run_list"


def run_list(rows: Sequence[Mapping[str, Any]], act: Callable[[str, str], None]) -> None:
    """Shows the rows; `act` is told what a person wants of which run before the rerun."""

    def did() -> None:
        asked = st.session_state[KEY].did
        if asked:
            act(str(asked[0]), str(asked[1]))

    _table(key=KEY, data={"rows": list(rows)}, on_did_change=did)


def row(job: Job, shown: Sequence[str], focus: str | None, colours: Mapping[str, int]) -> dict[str, Any]:
    """What the table shows of a run."""
    number = colours.get(job.name)
    gap = curves(job.place).latest.get("gap")
    return {
        "name": job.name, "about": _about(job), "state": job.state, "word": _word(job), "note": _note(job),
        "part": min(1.0, job.episodes / job.of) if job.of else 0.0, "count": f"{job.episodes:,} of {job.of:,} episodes",
        "gap": "" if gap is None else METRICS["gap"].show(gap),
        "speed": f"{job.episodes_per_s:.3g} episodes/s" if job.episodes_per_s > 0 and job.state != "queued" else "",
        "time": _time(job), "shown": job.name in shown, "focus": job.name == focus, "actions": actions(job),
        "colour": None if number is None else SERVER_COLOURS[number % len(SERVER_COLOURS)],
        "dash": "" if number is None else " ".join(map(str, DASHES[number % len(DASHES)])),
    }  # fmt: skip


def actions(job: Job) -> list[str]:
    """What can be done with a run now."""
    if job.state == "running":
        return [] if job.stopping else ["Stop"] if job.starting else ["Pause", "Stop"]
    if job.state == "paused":
        return ["Resume", "Stop"]
    if job.state == "queued":
        return ["Stop", "Delete"]
    if job.spec is None:
        return ["Delete"]
    return ["Explore" if job.state == "finished" else "Resume", "Delete"]


def _about(job: Job) -> str:
    if job.spec is None:
        return "cannot be read"
    return f"{ALGORITHMS[job.spec.algorithm].label}, {job.spec.scenario.name}, seed {job.spec.seed}"


def _word(job: Job) -> str:
    return "stopping" if job.stopping else "starting" if job.starting else job.state


def _note(job: Job) -> str:
    if job.stopping:
        return "saves after this batch"
    if job.starting:
        return "loading"
    if job.state == "queued":
        return "next" if job.ahead == 0 else f"{job.ahead} before it"
    notes = {
        "paused": "keeps its place",
        "interrupted": "can be resumed",
        "failed": "see below",
        "finished": "a policy",
    }
    return notes.get(job.state, "")


def _time(job: Job) -> str:
    words = clock(job.seconds) if job.seconds > 0 else ""
    if job.seconds_left is None or job.state not in ("running", "paused") or job.starting:
        return words
    left = job.seconds_left
    if job.state == "running" and job.told:
        left = max(0.0, left - max(0.0, time.time() - job.told))
    return f"{words}, {clock(left)} left"


def clock(seconds: float) -> str:
    """A duration in words."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
