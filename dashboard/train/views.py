"""The parts of the Train page that show runs: the table of all, and curves, table and files of the chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.chart_tables import csv_button
from dashboard.session import Session, page_state
from dashboard.text import plain
from dashboard.train.run_list import row, run_list
from iomt_core.charts import learning
from iomt_core.experiments.training_check import REFERENCES
from iomt_core.policies.registry import POLICIES
from iomt_core.runs.curves import Curves, curves
from iomt_core.runs.directory import log_tail
from iomt_core.runs.downloads import checkpoint_zip, configuration, metrics_csv
from iomt_core.runs.queue import RunRecord
from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import RUN
from iomt_core.training.checkpoints import last_checkpoint
from iomt_core.training.run_spec import default_settings
from iomt_core.training.settings import Settings

MAX_SHOWN = 8  # runs on the charts: the number of colours
LIVE, IDLE = 1.0, 5.0  # seconds between two refreshes, while a run trains and while none does
LINES = ("optimum", "price-response", "greedy")
LABELS = {name: POLICIES[name].label.lower() for name in REFERENCES}


@dataclass
class View:
    """What the page shows in this session."""

    shown: list[str] = field(default_factory=list)  # runs on the charts; the first is shown in full
    problems: list[str] = field(default_factory=list)
    used: RunRecord | None = None  # a finished run to be used as the session's policy

    @property
    def focus(self) -> str | None:
        """The run that is shown in full."""
        return self.shown[0] if self.shown else None

    def show_only(self, name: str) -> None:
        """Shows one run instead of all."""
        self.shown = [name]

    def show(self, name: str) -> None:
        """Shows a run too."""
        if name not in self.shown:
            self.shown = [*self.shown, name][:MAX_SHOWN]

    def hide(self, name: str) -> None:
        """Hides a run."""
        self.shown = [one for one in self.shown if one != name]


def current_view(session: Session) -> View:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "train", from_view)


def from_view(entries: Mapping[str, str]) -> View:
    """The state that the page's entries of a link describe; an unknown run becomes one of its problems."""
    view = View()
    known = {run.name for run in TRAINING.runs()}
    for name in dict.fromkeys(filter(None, entries.get("runs", "").split(","))):
        if name in known:
            view.show(name)
        elif len(view.problems) < MAX_SHOWN:
            view.problems.append(f"runs = {name[:60]!r} in the link is not a run of this lab.")
    return view


def drop_deleted_runs(known: Sequence[RunRecord], view: View) -> None:
    """Hides runs that no longer exist, and says so."""
    names = {run.name for run in known}
    for name in [name for name in view.shown if name not in names]:
        view.hide(name)
        view.problems.append(
            f"run = {name!r} does not exist any more: it was deleted elsewhere, or its directory was removed."
        )


def table(known: Sequence[RunRecord], view: View) -> None:
    """The table of all runs with its buttons."""

    def delete(name: str) -> None:
        TRAINING.delete(name)
        view.hide(name)

    def use(name: str) -> None:
        view.used = TRAINING.run(name)

    do: Mapping[str, Callable[[str], Any]] = {
        "stop": TRAINING.stop, "resume": TRAINING.resume, "delete": delete, "explore": use,
        "only": view.show_only, "show": view.show, "hide": view.hide,
    }  # fmt: skip

    def act(what: str, name: str) -> None:
        view.problems = []
        if what not in do:
            return
        try:
            do[what](name)
        except ScenarioError as error:
            view.problems = error.problems

    colours = numbers(view)
    if known:
        run_list([row(run, view.shown, view.focus, colours) for run in known], act)
    else:
        st.info(
            "No runs yet. Start one above: it trains in its own process and continues when this page is closed.",
            icon=":material/info:",
        )
    with st.container():  # a fixed place, as below
        for problem in view.problems:
            st.warning(plain(problem), icon=":material/warning:")


def numbers(view: View) -> dict[str, int]:
    """A number for every run shown, which sets its colour and dash; it stays the same while the run is shown."""
    assigned: dict[str, int] = st.session_state.setdefault("train_numbers", {})
    for name in [name for name in assigned if name not in view.shown]:
        del assigned[name]
    for name in view.shown:
        if name not in assigned:
            assigned[name] = next(n for n in range(MAX_SHOWN) if n not in assigned.values())
    return assigned


def show_failure(run: RunRecord) -> None:
    """Shows why a run has stopped, and from where it can be resumed."""
    if run.state not in ("failed", "interrupted"):
        return
    last = last_checkpoint(run.folder)
    place = f"from episode {int(last.name):,}, its last checkpoint" if last is not None else "from its beginning"
    again = f" *Resume* continues it {place}." if run.spec is not None else ""
    text = (
        f"**{plain(run.name)}** {'failed' if run.state == 'failed' else 'was interrupted'}. {plain(run.reason)}{again}"
    )
    (st.error if run.state == "failed" else st.warning)(text, icon=":material/error:")


def details(known: Sequence[RunRecord], view: View) -> None:
    """Tabs for the chosen runs; only the open one is computed."""
    by_name = {run.name: run for run in known}
    chosen = [by_name[name] for name in view.shown if name in by_name]
    if not chosen:
        if known:
            st.info(
                "Choose a run in the table to see its curves; tick several to compare them.",
                icon=":material/touch_app:",
            )
        return
    with st.empty():  # a fixed place, so that charts below do not move when a message appears
        show_failure(chosen[0])
    tabs = st.tabs(["Learning", "Losses", "Table", "Configuration and files"], key="train_tabs", on_change="rerun")
    for tab, show in zip(tabs, (_learning, _losses, _table, _files), strict=True):
        if tab.open:
            with tab:
                show(chosen, view)


def _learning(chosen: Sequence[RunRecord], view: View) -> None:
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    lines = left.multiselect(
        "References", REFERENCES, LINES, key="train_lines", persist_state="session",
        format_func=lambda name: POLICIES[name].label,
        help="What other policies reach on the same held-out episodes, as lines, in the scenario of the first run. The optimum "
        "is within its own gap of the certified bound.",
    )  # fmt: skip
    right.caption(
        "Faint lines: training episodes, with exploration. Points: evaluations on held-out episodes, without exploration. "
        "Drag to move a chart, Ctrl and wheel to zoom, double-click to show all."
    )
    wards = st.empty()
    if len({run.spec.scenario.digest for run in chosen if run.spec is not None}) > 1:
        wards.caption(
            "These runs have different scenarios: only the gap can be compared. The reference lines are of "
            f"{plain(chosen[0].spec.scenario.name) if chosen[0].spec else 'the first'}."
        )
    _charts(learning.LEARNING, chosen, view, lines, 335)


def _losses(chosen: Sequence[RunRecord], view: View) -> None:
    st.caption("Means over the updates of a batch. A run begins to learn after its warm-up.")
    _charts(learning.LOSSES, chosen, view, (), 510)


def _charts(
    drawn: Sequence[learning.Curve], chosen: Sequence[RunRecord], view: View, lines: Sequence[str], width: int
) -> None:
    found = {run.name: curves(run.folder) for run in chosen}
    episodes = max(run.total for run in chosen) or 1
    waiting = st.empty()  # keeps its place, so that the charts below keep their zoom when it goes
    if not any(c.metrics or c.evaluations for c in found.values()):
        waits = chosen[0].state == "queued"
        waiting.info(
            "The run waits in the queue." if waits else "The first batch of episodes is being played.",
            icon=":material/hourglass_top:",
        )
    cells = st.container(horizontal=True)  # as many in a row as fit
    for curve in drawn:
        references = learning.reference_lines(curve, found[chosen[0].name], lines, LABELS)
        with cells.container(width=width):
            st.markdown(f"**{curve.metric.label}**", help=curve.metric.sentence)
            _chart(curve, found, learning.spec(curve, list(found), references, episodes, numbers(view)))


def _chart(curve: learning.Curve, found: Mapping[str, Curves], spec: dict[str, Any]) -> None:
    # on_select only makes Streamlit keep a zoom when new points arrive.
    st.vega_lite_chart(
        learning.points(curve, found), spec, key=f"train_{curve.metric.name}", width="stretch",
        alt=learning.words(curve, list(found)),
        on_select=_zoomed, selection_mode=[learning.ZOOM],
    )  # fmt: skip


def _zoomed() -> None:
    pass


def _table(chosen: Sequence[RunRecord], view: View) -> None:
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


def _files(chosen: Sequence[RunRecord], view: View) -> None:
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
    own, used = default_settings(spec.algorithm), spec.settings
    rows = [
        {"setting": name, "value": str(getattr(used, name)), "algorithm's own": str(getattr(own, name)),
         "differs": "➜" * (getattr(used, name) != getattr(own, name)), "meaning": field.description}
        for name, field in Settings.model_fields.items()
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="train_settings", height=300, alt="Settings of the run")
    with st.expander("The end of its log"):
        st.code(log_tail(folder) or "Nothing.", language=None, wrap_lines=True)


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
