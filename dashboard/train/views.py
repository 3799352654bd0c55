"""The parts of the Train page that show runs: the table of all, and curves, table and files of the chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.chart_tables import csv_button
from dashboard.person import current_person
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session, page_state
from dashboard.text import plain
from dashboard.train.run_list import about, run_buttons, run_table, waiting_words
from iomt_core.algorithms.registry import ALGORITHMS
from iomt_core.charts import learning
from iomt_core.experiments.training_check import REFERENCES
from iomt_core.policies.registry import POLICIES
from iomt_core.runs.curves import Curves, curves
from iomt_core.runs.directory import log_tail
from iomt_core.runs.downloads import checkpoint_zip, configuration, metrics_csv
from iomt_core.runs.queue import RunRecord
from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import ScenarioError, counted
from iomt_core.training.catalogue import RUN
from iomt_core.training.checkpoints import last_checkpoint
from iomt_core.training.run_spec import RunSpec, settings_for
from iomt_core.training.settings import Settings

MAX_SHOWN = 8  # lines on the charts: the number of colours
LIVE, IDLE = 1.0, 5.0  # seconds between two refreshes, while a run trains and while none does
REFERENCE_LINES = ("optimum", "price-response", "greedy")
LABELS = {name: POLICIES[name].label.lower() for name in REFERENCES}
ROWS = {True: ((0,), (1, 2), (3, 4)), False: ((0, 1), (2, 3))}  # which learning curves, and losses, stand side by side


@dataclass
class View:
    """What the page shows in this session."""

    selected: list[str] = field(default_factory=list)  # runs on the charts; the first is shown in full
    problems: list[str] = field(default_factory=list)
    used: RunRecord | None = None  # a finished run to be used as the session's policy

    def select(self, names: Sequence[str]) -> None:
        """Shows these runs."""
        self.selected = list(names)[:MAX_SHOWN]


def current_view(session: Session) -> View:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "train", from_view)


def from_view(entries: Mapping[str, str]) -> View:
    """The state that the page's entries of a link describe; an unknown run becomes one of its problems."""
    view, known = View(), {run.name for run in TRAINING.runs()}
    names = list(dict.fromkeys(filter(None, entries.get("runs", "").split(","))))
    view.select([name for name in names if name in known])
    unknown = [name for name in names if name not in known][:MAX_SHOWN]
    view.problems = [f"runs = {name[:60]!r} in the link is not a run of this lab." for name in unknown]
    return view


def drop_deleted_runs(known: Sequence[RunRecord], view: View) -> None:
    """Hides runs that no longer exist, and says so; shows the latest run if none is selected at first."""
    names = {run.name for run in known}
    for name in [name for name in view.selected if name not in names]:
        view.selected.remove(name)
        view.problems.append(
            f"run = {name!r} does not exist any more: it was deleted elsewhere, or its directory was removed."
        )


def table(known: Sequence[RunRecord], view: View) -> None:
    """The table of all runs, and buttons for those that are selected."""
    person = current_person()

    def delete(name: str) -> None:
        TRAINING.delete(name, person)
        view.selected.remove(name)

    def explore(name: str) -> None:
        view.used = TRAINING.run(name)

    do: Mapping[str, Callable[[str], Any]] = {
        "stop": lambda name: TRAINING.stop(name, person), "resume": lambda name: TRAINING.resume(name, person),
        "delete": delete, "explore": explore,
    }  # fmt: skip

    def act(action: str, names: Sequence[str]) -> None:
        view.problems = []
        for name in names:
            try:
                do[action](name)
            except ScenarioError as error:
                view.problems += error.problems

    if known:
        run_table(known, view.selected, view.select)
        run_buttons(known, view.selected, person, act)
    else:
        st.info(
            "No runs yet. Start one above: it trains in its own process and continues when this page is closed.",
            icon=":material/info:",
        )
    with st.container():  # a fixed place, as below
        for problem in view.problems:
            st.warning(plain(problem), icon=":material/warning:")


def show_condition(run: RunRecord) -> None:
    """Says why a run has stopped and how to resume it, that its policy has collapsed, or whether it is better than its start."""
    if run.state in ("failed", "interrupted"):
        last = last_checkpoint(run.folder)
        place = f"from episode {int(last.name):,}, its last checkpoint" if last is not None else "from its beginning"
        again = f" *Resume* continues it {place}." if run.spec is not None else ""
        what = "failed" if run.state == "failed" else "was interrupted"
        show = st.error if run.state == "failed" else st.warning
        show(f"**{plain(run.name)}** {what}. {plain(run.reason)}{again}", icon=":material/error:")
    elif collapsed := run.status.get("collapsed"):
        st.warning(
            f"**{plain(run.name)}** has collapsed: in its last evaluation its policy {plain(str(collapsed))}, for every task. "
            "It may recover; otherwise try another seed, a lower learning rate, or start from the general network.",
            icon=":material/warning:",
        )
    elif run.state == "finished" and (words := str(run.status.get("conclusion") or "")):
        show = st.success if words.startswith("Better") else st.info
        show(f"**{plain(run.name)}**: {plain(words)}", icon=":material/compare_arrows:")


def details(known: Sequence[RunRecord], view: View) -> None:
    """Tabs for the chosen runs; only the open one is computed."""
    by_name = {run.name: run for run in known}
    chosen = [by_name[name] for name in view.selected if name in by_name]
    if not chosen:
        return
    with st.empty():  # a fixed place, so that charts below do not move when a message appears
        show_condition(chosen[0])
    st.caption(" · ".join(_facts(chosen[0], known)))
    tabs = st.tabs(["Learning", "Losses", "Table", "Configuration and files"], key="train_tabs", on_change="rerun")
    for tab, show in zip(tabs, (_learning, _losses, _table, _files), strict=True):
        if tab.open:
            with tab:
                show(chosen)


def _facts(run: RunRecord, known: Sequence[RunRecord]) -> list[str]:
    """What is worth knowing of the run that is shown in full, as Markdown."""
    speed = run.number("episodes_per_s")
    words = [f"**{plain(run.name)}**", plain(about(run)), f"{run.done:,} of {run.total:,} episodes"]
    if speed > 0:
        words.append(f"{speed:.3g} episodes/s")
    if run.state == "queued":
        words.append(waiting_words(run, known))
    elif run.starting:
        words.append(f"loading {plain(run.loading)} …")
    return words


def _learning(chosen: Sequence[RunRecord]) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    shown = left.multiselect(
        "Compare with", REFERENCES, REFERENCE_LINES, key="train_lines", persist_state="session",
        format_func=lambda name: POLICIES[name].label,
        help="What other policies reach on the same held-out episodes, as lines, in the scenario of the first run. The optimum "
        "is within its own gap of the certified bound.",
    )  # fmt: skip
    smoothing = _smoothing(right)
    st.caption(
        "Points: evaluations on held-out episodes, without exploration. Faint lines: training episodes, with exploration. "
        "Runs that differ only in their seed are one line with a band from the lowest to the highest."
    )
    if len({run.spec.scenario.digest for run in chosen if run.spec is not None}) > 1:
        st.caption(
            "These runs have different scenarios: only the gap can be compared. Lines of other policies are for "
            f"{plain(chosen[0].spec.scenario.name) if chosen[0].spec else 'the first'}."
        )
    gap, *others = learning.LEARNING
    if curves(chosen[0].folder).compared_by_return:
        st.caption(
            "Batteries matter in this scenario, so the first chart shows the gap of the return, not of the cost."
        )
        gap = learning.RETURN_GAP
    _charts((gap, *others), chosen, shown, smoothing)


def _losses(chosen: Sequence[RunRecord]) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    logarithmic = left.toggle(
        "Logarithmic axis", True, key="train_log", persist_state="session",
        help="For the critics' losses. The Actors' losses are negative: they are minus a value.",
    )  # fmt: skip
    smoothing = _smoothing(right)
    st.caption("Means over the updates of a batch. A run begins to learn after its warm-up.")
    _charts(learning.LOSSES, chosen, (), smoothing, logarithmic)


def _smoothing(place: DeltaGenerator) -> float:
    return float(
        place.slider(
            "Smoothing", 0.0, 0.99, 0.6, 0.01, key="train_smoothing", persist_state="session",
            help="Weight of the past in the exponential moving average of training episodes and losses, as in TensorBoard. "
            "0: none. The raw line stays, faint.",
        )
    )  # fmt: skip


def _charts(
    drawn: Sequence[learning.Curve], chosen: Sequence[RunRecord], shown: Sequence[str], smoothing: float,
    logarithmic: bool = False,
) -> None:  # fmt: skip
    found = {run.name: curves(run.folder) for run in chosen}
    episodes = max(run.total for run in chosen) or 1
    lines, subtitle = _lines(chosen, found), _subtitle(chosen)
    for row in ROWS[drawn is not learning.LOSSES]:
        for cell, curve in zip(st.columns(len(row)), (drawn[n] for n in row), strict=True):
            known = learning.references(curve, found[chosen[0].name], shown, LABELS)
            drawing = learning.learning_figure(
                curve, lines, known, episodes, smoothing, subtitle, logarithmic and curve.logarithmic, len(row) == 1
            )
            with cell:
                plotly_chart(drawing, f"train_{curve.metric.name}")


def _lines(chosen: Sequence[RunRecord], found: Mapping[str, Curves]) -> list[learning.Line]:
    """One line for each run; runs that differ only in their seed are joined."""
    groups: dict[Any, list[RunRecord]] = {}
    for run in chosen:
        groups.setdefault(run.name if run.spec is None else replace(run.spec, seed=0, warehouse=None), []).append(run)
    numbers = _numbers([runs[0].name for runs in groups.values()])
    return [
        learning.Line(
            runs[0].name if len(runs) == 1 else f"{runs[0].name} and {counted(len(runs) - 1, 'other seed')}",
            [found[run.name] for run in runs], numbers[runs[0].name],
        )
        for runs in groups.values()
    ]  # fmt: skip


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """A number for every line, which sets its colour and dash; it stays the same while the line is shown."""
    assigned: dict[str, int] = st.session_state.setdefault("train_numbers", {})
    for name in [name for name in assigned if name not in names]:
        del assigned[name]
    for name in names:
        if name not in assigned:
            assigned[name] = next(n for n in range(MAX_SHOWN) if n not in assigned.values())
    return assigned


def _subtitle(chosen: Sequence[RunRecord]) -> str:
    """What trains, and where."""
    spec = chosen[0].spec
    if len(chosen) > 1 or spec is None:
        return f"Runs {', '.join(run.name for run in chosen)}"
    start = "the general network" if spec.start is not None else "scratch"
    return f"{ALGORITHMS[spec.algorithm].label} from {start} · Ward: {spec.scenario.size_words}"


def _table(chosen: Sequence[RunRecord]) -> None:
    frames = [curves(run.folder).table().assign(run=run.name) for run in chosen]
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        st.info("Nothing yet.", icon=":material/hourglass_top:")
        return
    frame = frame[["run", *(name for name in frame if name != "run")]]
    words = "All lines of the chosen runs, the latest first"
    st.dataframe(frame.iloc[::-1], hide_index=True, key="train_table", height=380, alt=words)
    name = "-".join(run.name for run in chosen)[:80]
    csv_button("Download (CSV)", lambda: frame.to_csv(index=False), f"{name}.csv", key="train_csv")
    st.caption("SI units: seconds and joules per task. Columns that begin with evaluation_ are of held-out episodes.")


def _files(chosen: Sequence[RunRecord]) -> None:
    run = chosen[0]
    if run.spec is None:
        st.info("The configuration of this run cannot be read.")
        return
    spec, folder = run.spec, run.folder
    with st.container(horizontal=True):
        for label, build, file, kind, missing, text in (
            ("Configuration (JSON)", lambda: configuration(spec), f"{run.name}.json", "application/json", False,
             "Algorithm, scenario, settings and seed: everything that defines the run."),
            ("Metrics (CSV)", lambda: metrics_csv(folder), f"{run.name}.csv", "text/csv", run.done == 0,
             "One row for each batch of episodes, SI units."),
            ("Checkpoint (zip)", lambda: checkpoint_zip(folder), f"{run.name}-checkpoint.zip", "application/zip",
             last_checkpoint(folder) is None,
             "The last complete checkpoint: weights as safetensors and a JSON file with their SHA-256."),
        ):  # fmt: skip
            st.download_button(
                label, build, file, kind, on_click="ignore", key=f"train_get_{label.split()[0]}", disabled=missing, help=text,
                icon=":material/download:",
            )  # fmt: skip
    st.caption(plain(f"{_start_words(spec)} {_replay_words(spec)}"))
    own, used = settings_for(spec.algorithm, spec.start, {}), spec.settings
    rows = [
        {"setting": name, "value": str(getattr(used, name)), "algorithm's own": str(getattr(own, name)),
         "differs": "➜" * (getattr(used, name) != getattr(own, name)), "meaning": field.description}
        for name, field in Settings.model_fields.items()
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="train_settings", height=300, alt="Settings of the run")
    with st.expander("The end of its log"):
        st.code(log_tail(folder) or "Nothing.", language=None, wrap_lines=True)


def _start_words(spec: RunSpec) -> str:
    if spec.start is None:
        return "The weights started from scratch: drawn at random by the seed."
    return f"The weights started from the shipped checkpoint {spec.start.checkpoint}, SHA-256 {spec.start.sha256}."


def _replay_words(spec: RunSpec) -> str:
    if spec.warehouse is None:
        return "Episodes are replayed from memory."
    return f"Episodes are recorded in the data warehouse {Path(spec.warehouse).name}, and replayed from there."


def adopt_run(view: View, session: Session) -> bool:
    """Sets the run that was chosen for Explore as the session's policy, in its scenario. Returns whether there was one."""
    run, view.used = view.used, None
    if run is None or run.spec is None:
        return False
    ward = run.spec.scenario
    session.try_change(lambda: ward)
    session.policy = RUN + run.name
    return True


def poll_interval(known: Sequence[RunRecord]) -> float:
    """Seconds until the next refresh: short while a run trains or waits."""
    return LIVE if any(run.active or run.state == "queued" for run in known) else IDLE
