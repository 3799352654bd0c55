"""The parts of the Sweep page that show sweeps: the list, and progress, charts, numbers and files of one."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.plotly_chart import plotly_chart
from dashboard.run_view import run_progress
from dashboard.session import Session, page_state
from dashboard.sweep.form import AxisForm, Form, new_form
from dashboard.text import plain
from dashboard.widgets import index_of, synced
from iomt_core.charts import sweep as charts
from iomt_core.charts.sweep_report import command, labels, partial_words, report, subtitle
from iomt_core.charts.sweep_report import title as sweep_title
from iomt_core.experiments.sweeps.point_run import POINTS, versions
from iomt_core.experiments.sweeps.run import SWEEPS, read_results
from iomt_core.experiments.sweeps.spec import MOST_EPISODES, Axis, SweepSpec, axis_from_words
from iomt_core.metrics import METRICS
from iomt_core.runs.queue import RunRecord
from iomt_core.scenario import ScenarioError
from iomt_core.scenario.links import whole_number
from iomt_core.training.catalogue import entry


@dataclass
class View:
    """What the page shows in this session, and the form."""

    form: Form
    shown: str | None = None
    figure: str = "cost"
    log_y: bool = False
    policies: dict[str, str] = field(default_factory=dict)  # of a heat map, by sweep
    problems: list[str] = field(default_factory=list)


def current_view(session: Session) -> View:
    """The page's state in this session; at first what the link says."""
    return page_state(session, "sweep", lambda entries: from_view(session, entries))


def from_view(session: Session, entries: Mapping[str, str]) -> View:
    """The state that the page's entries of a link describe; an invalid entry becomes a problem of the view."""
    view = View(new_form(session))
    for read in (_read_sweep, _read_over, _read_policies, _read_episodes):
        try:
            read(view, entries)
        except ScenarioError as error:
            view.problems += error.problems
    return view


def link_view(view: View) -> dict[str, str]:
    """The page's entries of a link."""
    form = view.form
    over = (
        f"{one.parameter}={axis.values[0]!r}:{axis.values[-1]!r}:{one.count}{':log' * (one.spacing == 'logarithmic')}"
        for one in form.axes[: 1 + form.two]
        for axis in (one.axis(),)
    )
    entries = {"over": ";".join(over), "policies": ",".join(form.policies), "episodes": str(form.episodes)}
    return entries | ({"sweep": view.shown} if view.shown else {})


def _read_sweep(view: View, entries: Mapping[str, str]) -> None:
    if "sweep" in entries:
        view.shown = SWEEPS.run(entries["sweep"]).name


def _read_over(view: View, entries: Mapping[str, str]) -> None:
    if "over" in entries:
        axes = [AxisForm.of(axis_from_words(words)) for words in entries["over"].split(";")[:2]]
        view.form.axes[: len(axes)] = axes
        view.form.two = len(axes) == 2


def _read_policies(view: View, entries: Mapping[str, str]) -> None:
    if "policies" in entries:
        names = list(dict.fromkeys(name for name in entries["policies"].split(",") if name))
        view.form.policies = [entry(name).name for name in names]


def _read_episodes(view: View, entries: Mapping[str, str]) -> None:
    if "episodes" in entries:
        text = entries["episodes"]
        count = whole_number(text, 1, MOST_EPISODES)
        if count is None:
            raise ScenarioError(
                f"episodes = {text[:40]!r} in the link is out of range: allowed is 1 to {MOST_EPISODES}."
            )
        view.form.episodes = count


def poll_interval(known: Sequence[RunRecord]) -> float | None:
    """Seconds between two refreshes; None while no sweep is running or queued."""
    return 1.0 if any(sweep.active or sweep.state == "queued" for sweep in known) else None


def choose(known: Sequence[RunRecord], view: View) -> RunRecord | None:
    """Shows a control for the sweep and returns the chosen one; at first the latest."""
    sweeps = {sweep.name: sweep for sweep in known}
    if not sweeps:
        st.info(
            "No sweeps yet. Start one above: it runs in its own process and continues when this page is closed.",
            icon=":material/info:",
        )
        return None
    if view.shown not in sweeps:
        view.shown = known[0].name

    def update() -> None:
        view.shown = st.session_state["sweep_shown"]

    names = list(sweeps)
    st.selectbox(
        "Sweep", names, index_of(names, view.shown), **synced("sweep_shown", view.shown, update),
        label_visibility="collapsed",
        help="All sweeps of this lab, the latest first.",
    )  # fmt: skip
    return sweeps[view.shown]


def progress(sweep: RunRecord, view: View) -> None:
    """State, progress, time left, and buttons."""
    run_progress(SWEEPS, sweep, "sweep", view.problems, view.form.place)


def results(sweep: RunRecord, view: View) -> None:
    """Charts, numbers and files of a sweep, as far as it has run."""
    spec = sweep.spec
    if spec is None:
        return
    table = _table(sweep)
    name = _metric_picker(view, spec)
    if table.empty:
        st.info("No point is done yet: curves appear as they arrive.", icon=":material/hourglass_empty:")
    elif len(spec.axes) == 1:
        _curves(table, spec.axes[0], name, spec, sweep, view)
    else:
        _maps(table, name, spec, sweep, view)
    if any(charts.partial(table)) and not name.startswith("return"):
        st.info(partial_words(table), icon=":material/battery_alert:")
    for note in spec.notes:
        st.caption(plain(note))
    gaps = sorted({(p, r) for p, r in zip(table["policy"], table["reason"], strict=True) if r})
    if gaps:
        with st.expander(
            f"Not available: {int((table['state'] == 'unavailable').sum())} points", icon=":material/info:"
        ):
            for policy, reason in gaps:
                st.markdown(f"**{plain(labels(spec)[policy])}**: {plain(reason)}")
    _files(sweep, spec, table)


def _metric_picker(view: View, spec: SweepSpec) -> str:
    def update() -> None:
        view.figure = st.session_state["sweep_figure"] or view.figure
        view.log_y = bool(st.session_state.get("sweep_log_y", view.log_y))

    st.pills(
        "Figure", list(METRICS), default=view.figure, **synced("sweep_figure", view.figure, update),
        format_func=lambda n: METRICS[n].label, label_visibility="collapsed", required=True,
        help="\n\n".join(f"**{m.label}**: {m.sentence}" for m in METRICS.values()),
    )  # fmt: skip
    if len(spec.axes) == 1:
        st.toggle(
            "Logarithmic", view.log_y, **synced("sweep_log_y", view.log_y, update),
            help="Logarithmic axis, so that one very expensive policy does not flatten the others.",
        )  # fmt: skip
    return view.figure


def _curves(table: pd.DataFrame, axis: Axis, name: str, spec: SweepSpec, sweep: RunRecord, view: View) -> None:
    figure = charts.curves(table, axis, name, labels(spec), subtitle(spec), view.log_y)
    plotly_chart(figure, f"sweep_curves_{sweep.name}")
    words = "Bands are 95 % intervals over episodes (Student)."
    if name in ("cost", "gap"):
        words = f"The red line is the certified lower bound: no policy can cost less. {words}"
    if name in ("return", "return_gap"):
        words = f"The red line is the certified bound: no policy can return more. {words}"
    st.caption(words)


def _maps(table: pd.DataFrame, name: str, spec: SweepSpec, sweep: RunRecord, view: View) -> None:
    named = labels(spec)
    policy = view.policies.get(sweep.name)
    if policy not in named:
        policy = next(iter(named))
    key = f"sweep_map_{sweep.name}"

    def update() -> None:
        view.policies[sweep.name] = st.session_state[key] or policy

    st.pills(
        "Policy", list(named), default=policy, **synced(key, policy, update),
        format_func=lambda n: named[n], required=True,
        help="The colour scale is the same for all policies, so that maps can be compared.",
    )  # fmt: skip
    if not bool(((table["policy"] == policy) & (table["state"] == "done")).any()):
        st.info(
            f"No point of {plain(named[policy])} is done{'' if sweep.active else '; the reason is below'}.",
            icon=":material/info:",
        )
        return
    words = f"Policy: {named[policy]} · {subtitle(spec)}"
    figure = charts.heat_map(table, spec.axes, name, policy, charts.colour_span(table, name), words)
    plotly_chart(figure, f"sweep_map_chart_{sweep.name}")
    st.caption(
        f"The colours are the same for all policies. They span at least {charts.LEAST_SPAN:.0%} of the largest value, so that "
        "differences too small to matter stay pale."
    )


def _files(sweep: RunRecord, spec: SweepSpec, table: pd.DataFrame) -> None:
    def parquet() -> bytes:
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        return buffer.getvalue()

    with st.container(horizontal=True):
        for label, data, ending, kind in (
            ("CSV", lambda: table.to_csv(index=False), "csv", "text/csv"),
            ("Parquet", parquet, "parquet", "application/vnd.apache.parquet"),
            ("Report (HTML)", lambda: report(spec, table, versions()), "html", "text/html"),
        ):
            st.download_button(
                label, data, f"sweep-{sweep.name}.{ending}", kind, on_click="ignore", icon=":material/download:",
                key=f"sweep_{ending}", disabled=table.empty,
                help="Results so far, in SI units. The report has charts, settings and the command to repeat the "
                "sweep, and works offline." if ending == "html" else "Results so far, one row for each point, with the "
                "network; SI units.",
            )  # fmt: skip
    if (box := st.expander("Numbers", key="sweep_numbers", on_change="rerun")).open:
        shown = table.dropna(axis=1, how="all")
        box.dataframe(shown, hide_index=True, key="sweep_table", alt="All points of the sweep", height=320)
    box = st.expander("How to repeat it", key="sweep_repeat", on_change="rerun")
    if box.open:
        with box:
            words = command(spec)
            st.code(words, language="bash", wrap_lines=True)
            if "scenario.yaml" in words:
                st.caption(
                    "scenario.yaml: download it in the sidebar under *Files and own data*, or copy it from the end of the report."
                )


def all_sweeps(known: Sequence[RunRecord]) -> None:
    """All sweeps as a table."""
    rows = []
    for sweep in known:
        spec, updated = sweep.spec, sweep.number("updated_at")
        over, policies, episodes = ("cannot be read", "", None) if spec is None else (
            sweep_title(spec), ", ".join(spec.policies), spec.episodes,
        )  # fmt: skip
        rows.append(
            {
                "sweep": sweep.name, "owner": sweep.owner.name, "state": sweep.condition,
                "over": over, "policies": policies, "episodes": episodes,
                "points": f"{sweep.done} of {sweep.total}",
                "changed": datetime.fromtimestamp(updated).isoformat(" ", "minutes") if updated else "",
            }
        )  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="sweep_every", alt="All sweeps")


def _table(sweep: RunRecord) -> pd.DataFrame:
    try:
        facts = (sweep.folder / POINTS).stat()
    except OSError:
        return read_results(sweep.folder, sweep.spec)
    return _read_table(sweep.folder, facts.st_mtime_ns, facts.st_size, sweep.spec)


@st.cache_data(max_entries=20, show_spinner=False)
def _read_table(folder: Path, changed: int, size: int, _spec: SweepSpec) -> pd.DataFrame:
    del changed, size
    return read_results(folder, _spec)
