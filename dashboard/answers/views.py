"""The parts of the Answers page that show an answer: progress, the answer in words, chart, table and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.answers.state import View
from dashboard.plotly_chart import plotly_chart
from dashboard.run_view import run_progress
from dashboard.session import Session
from dashboard.text import plain
from dashboard.widgets import index_of, synced
from iomt_core.charts.answer_report import command, report
from iomt_core.charts.answer_tables import answer_table
from iomt_core.charts.answers import charts
from iomt_core.experiments.answers.question import IMPACTS, Question
from iomt_core.experiments.answers.run import ANSWERS, read_results
from iomt_core.experiments.answers.screening import Screening
from iomt_core.experiments.answers.sensitivity import Sensitivity
from iomt_core.experiments.sweeps.point_run import POINTS, versions
from iomt_core.metrics import METRICS
from iomt_core.runs.queue import RunRecord

MOST_ROWS = 16  # of a table that is shown as a whole
ROW = 35  # px


def poll_interval(known: Sequence[RunRecord]) -> float | None:
    """Seconds between two refreshes; None while no answer is being computed or waits."""
    return 1.0 if any(run.active or run.state == "queued" for run in known) else None


def choose(known: Sequence[RunRecord], view: View) -> RunRecord | None:
    """Shows a control for the answers to this question if there are several. Returns the chosen one, at first the latest."""
    kind = view.form.kind
    runs = {run.name: run for run in known if run.spec is not None and run.spec.name == kind}
    if not runs:
        return None
    if view.shown.get(kind) not in runs:
        view.shown[kind] = next(iter(runs))
    key = f"answers_shown_{kind}"

    def update() -> None:
        view.shown[kind] = st.session_state[key]

    if len(runs) > 1:
        names = list(runs)
        st.selectbox(
            "Answer", names, index_of(names, view.shown[kind]), **synced(key, view.shown[kind], update),
            format_func=lambda name: _words(runs[name]), label_visibility="collapsed",
            help="All answers to this question, the latest first.",
        )  # fmt: skip
    return runs[view.shown[kind]]


def _words(run: RunRecord) -> str:
    question: Question = run.spec
    return f"{run.name} · {question.scenario.name}"


def show(run: RunRecord, view: View, session: Session) -> None:
    """Progress and answer of a run, as far as it has come."""
    run_progress(ANSWERS, run, "answers", view.problems, lambda: {"workers": view.form.workers})
    question: Question = run.spec
    _differs(question, session)
    metric = _metric_picker(view) if isinstance(question, (Sensitivity, Screening)) else "cost"
    found = _shown(run, metric)
    if found is None:
        st.info("Nothing is known yet: the answer appears as it arrives.", icon=":material/hourglass_empty:")
        return
    first, _, more = found.answer.partition(". ")
    st.markdown(f"#### {plain(first + '.' * bool(more))}")
    if more:
        st.markdown(plain(more))
    for figure in found.figures:
        plotly_chart(figure, f"answers_chart_{run.name}")
    st.caption("  \n".join(plain(note) for note in (f"{question.intervals}.", *found.notes)))
    if not found.table.empty:
        height: Any = "content" if len(found.table) <= MOST_ROWS else ROW * MOST_ROWS
        st.dataframe(
            found.table,
            hide_index=True,
            key=f"answers_table_{question.name}",
            height=height,
            alt="The answer in numbers",
        )
    _files(run, question)


def _differs(question: Question, session: Session) -> None:
    """Says so if the answer is about another ward or policy than the sidebar's."""
    words = []
    if question.scenario.digest != session.scenario.digest:
        words.append(f"Ward: {question.scenario.name}, {question.scenario.size_words}")
    if session.shown_policy not in question.policies:
        words.append(f"Policy: {question.policy_names}")
    if words:
        st.info(
            f"The sidebar has changed since this answer. It is about: {plain(' · '.join(words))}. Press *Find out* to ask again.",
            icon=":material/info:",
        )


def _metric_picker(view: View) -> str:
    def update() -> None:
        view.metric = st.session_state["answers_metric"] or view.metric

    st.pills(
        "Metric", IMPACTS, default=view.metric, **synced("answers_metric", view.metric, update),
        format_func=lambda name: METRICS[name].label, required=True, label_visibility="collapsed",
    )  # fmt: skip
    return view.metric


@dataclass(frozen=True)
class Shown:
    """What the page shows of an answer."""

    answer: str
    notes: list[str]
    figures: list[go.Figure]
    table: pd.DataFrame


def _shown(run: RunRecord, metric: str) -> Shown | None:
    try:
        facts = (run.folder / POINTS).stat()
    except OSError:
        return None
    return _read(run.folder, facts.st_mtime_ns, facts.st_size, metric, run.spec)


@st.cache_data(max_entries=20, show_spinner=False)
def _read(folder: Path, changed: int, size: int, metric: str, _question: Question) -> Shown | None:
    del changed, size
    results = read_results(folder)
    if not results.found:
        return None
    words = _question.answer(results, metric)
    return Shown(
        words, _question.notes(results), charts(_question, results, metric), answer_table(_question, results, metric)
    )


def _files(run: RunRecord, question: Question) -> None:
    parts: tuple[tuple[str, Any, str, str, str], ...] = (
        ("CSV", lambda: question.table(read_results(run.folder)).to_csv(index=False), "csv", "text/csv",
         "All numbers, SI units."),
        ("Report (HTML)", lambda: report(question, read_results(run.folder), versions()), "html", "text/html",
         "The answer with chart, settings and the command to repeat it; works offline."),
    )  # fmt: skip
    with st.container(horizontal=True):
        for label, data, ending, kind, words in parts:
            st.download_button(
                label, data, f"{run.name}.{ending}", kind, on_click="ignore", icon=":material/download:",
                key=f"answers_{ending}", help=words,
            )  # fmt: skip
    box = st.expander("How to repeat it", key="answers_repeat", on_change="rerun")
    if box.open:
        box.code(command(question), language="bash", wrap_lines=True)
