"""The parts of the Paper page: a figure beside the paper's claims, its numbers, and the way to its ward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from dashboard.chart_tables import chart_table, csv_button
from dashboard.paper.state import View
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session
from dashboard.widgets import choose
from iomt_core.charts.paper import metrics_of, paper_figure, shown_table
from iomt_core.experiments.paper.claims import run_table, verdict_table, verdicts
from iomt_core.experiments.paper.figure_runs import Plan, read_results, read_table_iii
from iomt_core.experiments.paper.figures import ARMS, FIGURES, TABLE_III, Ward
from iomt_core.experiments.run_files import REFERENCE, Results
from iomt_core.metrics import METRICS
from iomt_core.paths import PAPER_FIGURES

Sizes = Mapping[str, Mapping[str, int]]


def results() -> tuple[Results, Sizes, Plan]:
    """All results, the rows of Table III and the plan; read again when a file is added or replaced. Raises `ScenarioError`."""
    try:
        changed = PAPER_FIGURES.stat().st_mtime_ns
    except OSError:
        changed = 0
    return _read(PAPER_FIGURES, changed)


@st.cache_resource(max_entries=4, show_spinner=False)
def _read(folder: Path, changed: int) -> tuple[Results, Sizes, Plan]:
    del changed
    return read_results(folder), read_table_iii(folder), Plan.of(folder)


def choose_figure(view: View) -> None:
    """Controls for the figure and the metric."""
    left, right = st.columns([3, 2])
    choose(
        left, "Figure", "paper_figure", tuple(FIGURES), view.name, lambda name: setattr(view, "name", name),
        format_func=lambda name: f"{FIGURES[name].label}: {FIGURES[name].title}",
    )  # fmt: skip
    if names := metrics_of(view.figure):
        choose(
            right, "Metric", "paper_metric", names, view.shown_metric, lambda name: setattr(view, "metric", name),
            format_func=lambda name: METRICS[name].label + " (the paper's)" * (name == view.figure.metric),
            help="The paper shows one metric in each figure. Delay alone or energy alone says little: a policy gets less of one "
            "by spending more of the other. The cost weighs both, and every algorithm here is trained on it.",
        )  # fmt: skip


def figure(view: View, found: Results, sizes: Sizes, plan: Plan) -> None:
    """The figure with its numbers, or what is not yet run."""
    shown = view.figure
    wards = set(shown.wards.values())
    mine = {(arm, ward, seed) for arm, ward, seed in found if arm in shown.arms and ward in wards}
    if not (sizes if shown.name == TABLE_III else mine):
        st.info("Nothing of this figure has been run yet. This command runs it, and can be stopped at any time:")
        st.code(f"iomt paper --only {shown.name}", language=None)
        return
    metric = view.shown_metric
    plotly_chart(paper_figure(shown, found, sizes, metric), f"paper_chart_{shown.name}_{metric}")
    if shown.arms:
        wanted = [run for run in plan.runs([shown]) if run.arm != REFERENCE]
        done = sum((run.arm, run.ward, run.seed) in mine for run in wanted)
        words = "Bands are 95 % intervals over training seeds (Student)." if shown.parameter else (
            "Lines with points: without exploration, on held-out episodes, mean of the seeds; the band reaches from the lowest "
            "to the highest. Faint lines: while exploring."
        )  # fmt: skip
        st.caption(f"{words} {done} of {len(wanted)} runs are done: {plan.words}.{_collapsed(found, mine)}")
        if done < len(wanted):
            st.code(f"iomt paper --only {shown.name}", language=None)
    chart_table(f"paper_{shown.name}", lambda: shown_table(shown, found, sizes, metric), f"Numbers of {shown.label}")


def _collapsed(found: Results, mine: set[tuple[str, Ward, int]]) -> str:
    """Which algorithms have runs that ended with one choice for all tasks, as a sentence; empty if none has."""
    counts = Counter(
        arm for (arm, ward, seed), one in found.items() if (arm, ward, seed) in mine and one.get("collapsed")
    )
    words = ", ".join(f"{count} of {ARMS[arm].label}" for arm, count in counts.items())
    return f" Runs that ended with the same choice for all tasks: {words}." if words else ""


def claims(view: View, found: Results, sizes: Sizes, plan: Plan) -> None:
    """The paper's claims about this figure, and what was found."""
    st.subheader("What the paper claims", anchor=False)
    table = verdict_table(verdicts(found, sizes, plan.seeds, view.name)).drop(columns="figure")
    st.table(
        table.astype(str), border="horizontal", hide_index=True, alt=f"The paper's claims about {view.figure.label}"
    )  # fmt: skip
    if view.name != TABLE_III:
        st.caption(
            "In our words, with the mean over seeds and its 95 % interval. A claim holds if the interval lies on its side of 0 "
            "(or of the number of episodes named), does not hold if it lies on the other side, and cannot be told if it has "
            "both, or with fewer than two seeds.",
            help="Differences are taken within a seed, on the same held-out episodes, and averaged over the wards of the axis.",
        )


def all_claims(found: Results, sizes: Sizes, plan: Plan) -> None:
    """The verdicts on all claims, and all runs as a file."""
    every = verdicts(found, sizes, plan.seeds)
    counts = Counter[str](one.verdict for one in every)
    plural = {"holds": "hold", "does not hold": "do not hold"}
    order = ("holds", "does not hold", "cannot be told", "not yet run")
    st.markdown(
        f"**All {len(every)} claims**: "
        + ", ".join(f"{counts[words]} {plural.get(words, words)}" for words in order if counts[words])
    )
    chart_table(
        "paper_claims", lambda: verdict_table(every).astype(str), "All claims of the paper", "All claims as a table"
    )
    csv_button(
        "All runs (CSV)", lambda: run_table(found).to_csv(index=False), "paper-runs.csv", key="paper_runs_csv",
        disabled=not found, icon=":material/download:",
        help="Every run and every policy without training, all metrics in SI units.",
    )  # fmt: skip


def open_ward(view: View, session: Session) -> None:
    """A control for a value of the axis, and a button that opens its ward in Explore."""
    shown = view.figure
    if shown.name == TABLE_III:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if shown.parameter:
            values = [f"{value:g}" for value in shown.wards]
            choose(
                st, shown.axis.title, "paper_at", values, f"{view.value:g}", lambda text: setattr(view, "at", int(text)),
                width=200,
            )  # fmt: skip
        st.button(
            "Open this ward in Explore", icon=":material/explore:", key="paper_explore", on_click=_explore,
            args=(view, session), help="Sets the scenario to this ward of the figure, and opens Explore.",
        )  # fmt: skip


def _explore(view: View, session: Session) -> None:
    session.try_change(lambda: view.figure.wards[view.value].scenario)
    session.wanted_page = "explore"
