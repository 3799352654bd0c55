"""The form of a new sweep: parameters, policies, episodes, and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import streamlit as st

from dashboard.controls import SHARE_LABELS
from dashboard.person import current_person
from dashboard.session import Session
from dashboard.text import show_errors
from dashboard.widgets import form_widget, index_of, synced
from iomt_core.experiments.sweeps.executors import MOST_WORKERS, checked_address, checked_workers, default_workers
from iomt_core.experiments.sweeps.run import SWEEPS
from iomt_core.experiments.sweeps.spec import (
    MOST_EPISODES,
    MOST_POLICIES,
    MOST_VALUES,
    PAPER_AXES,
    Axis,
    Spacing,
    SweepSpec,
    is_whole,
    spaced,
    sweep_spec,
    sweepable,
    usual_ends,
    written,
)
from iomt_core.runs.directory import LONGEST_NAME
from iomt_core.scenario import Meta, Scenario, ScenarioError
from iomt_core.training.catalogue import catalogue, default_policy
from iomt_core.twin.northbound import LARGEST_SEED

SPACINGS: tuple[Spacing, ...] = ("linear", "logarithmic")
USUAL_COUNT = 6  # values of an axis at first
PAPER_HELP = (
    "Starts at once, with the policies and episodes below. The paper's Figs. 6 and 7 vary the tasks, 8, 9, 12 and 13 the "
    "servers, 10 and 11 the users. Everything else is the scenario in the sidebar. The exact values are assumptions."
)


@dataclass
class AxisForm:
    """One axis in the form, in the units shown on the pages."""

    parameter: str
    low: float
    high: float
    count: int
    spacing: Spacing

    def axis(self) -> Axis:
        """The axis in SI units. Raises `ScenarioError`."""
        factor = sweepable()[self.parameter].shown_factor
        low, high = (float(f"{x / factor:.12g}") for x in (self.low, self.high))
        return spaced(self.parameter, low, high, self.count, self.spacing)

    @classmethod
    def of(cls, axis: Axis) -> AxisForm:
        """The form that describes `axis`."""
        ends = (axis.shown(axis.values[0]), axis.shown(axis.values[-1]))
        return cls(axis.parameter, *ends, len(axis.values), axis.spacing)


@dataclass
class Form:
    """The values of the form in this session."""

    axes: list[AxisForm]
    policies: list[str]
    episodes: int = 5
    seed: int = 0
    two: bool = False  # whether there is a second axis
    workers: int = field(default_factory=default_workers)
    cluster: str = ""  # address of a Dask scheduler; empty: processes on this machine
    name: str = ""

    def spec(self, session: Session, axes: list[Axis] | None = None) -> SweepSpec:
        """The sweep that the form describes, or the same sweep over other `axes`. Raises `ScenarioError`."""
        chosen = axes or [form.axis() for form in self.axes[: 1 + self.two]]
        return sweep_spec(
            {
                "scenario": session.scenario, "axes": chosen, "policies": self.policies, "shares": session.shares,
                "seed": self.seed, "episodes": self.episodes,
            }
        )  # fmt: skip

    def place(self) -> dict[str, Any]:
        """Where the sweep runs, as arguments of `SWEEPS.create`. Raises `ScenarioError`."""
        if self.cluster.strip():
            return {"cluster": checked_address(self.cluster.strip())}
        return {"workers": checked_workers(self.workers)}


def usual(s: Scenario, name: str) -> AxisForm:
    """The initial form of an axis, over the parameter's usual range."""
    low, high, spacing = usual_ends(s, name)
    count = min(USUAL_COUNT, int(high - low) + 1) if is_whole(name) else USUAL_COUNT
    low, high = (float(f"{x * sweepable()[name].shown_factor:.4g}") for x in (low, high))
    return AxisForm(name, low, high, count, spacing)


def new_form(session: Session) -> Form:
    """The initial form: the paper's numbers of users, and the lab's default policy, the session's, price response and optimum."""
    policies = list(dict.fromkeys([default_policy(), session.shown_policy, "price-response", "optimum"]))
    return Form([AxisForm.of(PAPER_AXES["users"]), AxisForm.of(PAPER_AXES["servers"])], policies, seed=session.seed)


def new_sweep(session: Session, form: Form, problems: list[str]) -> str | None:
    """Shows the form. Returns the name of the sweep that was just started, or None; errors are added to `problems`."""
    usable = sweepable(session.scenario)
    _paper(session, form, problems)
    axes = [_axis(session, form, 0, usable)]
    if form_widget(
        "Second parameter: a heat map", st.toggle, "two", form, "sweep_two", help="A point for every pair of values."
    ):
        axes.append(_axis(session, form, 1, usable))
    _policies(form)
    return _start(session, form, [axis for axis in axes if axis is not None] if None not in axes else [], problems)


def _paper(session: Session, form: Form, problems: list[str]) -> None:
    """Buttons that start a sweep over one of the paper's axes."""

    def run(name: str) -> None:
        form.axes[0], form.two = AxisForm.of(PAPER_AXES[name]), False
        _begin(session, form, problems)

    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**The paper's axes**", help=PAPER_HELP, width="content")
        for name, axis in PAPER_AXES.items():
            values = f"{axis.values[0]:g} to {axis.values[-1]:g}"
            st.button(
                f"{axis.meta.label} {values}", icon=":material/play_arrow:", key=f"sweep_paper_{name}", on_click=run,
                args=(name,), help=PAPER_HELP,
            )  # fmt: skip


def _axis(session: Session, form: Form, number: int, usable: Mapping[str, Meta]) -> Axis | None:
    """Shows the controls of one axis. Returns the axis, or None if it is invalid."""
    mine = form.axes[number]
    if mine.parameter not in usable:
        mine = form.axes[number] = usual(session.scenario, next(iter(usable)))

    def choose() -> None:
        form.axes[number] = usual(session.scenario, st.session_state[f"sweep_parameter_{number}"])

    meta: Meta = usable[mine.parameter]
    whole = is_whole(mine.parameter)
    unit = meta.unit if meta.shown_unit is None else meta.shown_unit
    row = st.container(horizontal=True, vertical_alignment="bottom")
    key = f"sweep_parameter_{number}"
    source = "an assumption" if meta.source == "assumption" else meta.source
    middle = (
        " Each value is the middle of the range; both ends scale with it." if _is_pair(session.scenario, mine) else ""
    )
    row.selectbox(
        "Second parameter" if number else "Parameter", list(usable), index_of(usable, mine.parameter),
        **synced(key, mine.parameter, choose), width=220,
        format_func=lambda n: f"{usable[n].label} {written(usable[n].symbol)}".strip(),
        help=f"{meta.meaning[:1].upper()}{meta.meaning[1:]}. Allowed: {meta.allowed()}. Source: {source}.{middle} "
        "The list has every parameter that is a number and that no file fixes in this scenario.",
    )  # fmt: skip
    scale = meta.shown_factor
    low, high = (float(f"{cast(float, x) * scale:.10g}") for x in (meta.low, meta.high))
    kind = int if whole else float
    step = 1 if whole else meta.span[0] * meta.shown_factor if meta.log else (meta.step or 0.01) * scale
    suffix = f"{number}_{mine.parameter}"
    for name, label in (("low", "From"), ("high", "To")):
        form_widget(
            f"{label}{f' ({unit})' if unit else ''}", row.number_input, name, mine, f"sweep_{name}_{suffix}", convert=kind,
            min_value=kind(low), max_value=kind(high), step=kind(step), format=None if whole else "%g",
            help=f"Allowed: {meta.allowed()}.", width=135,
        )  # fmt: skip
    form_widget(
        "Values", row.number_input, "count", mine, f"sweep_count_{suffix}", convert=int, min_value=1,
        max_value=MOST_VALUES, step=1, width=110,
        help="How many values, both ends included. Whole numbers occur once each.",
    )  # fmt: skip
    form_widget(
        "Spacing", row.selectbox, "spacing", mine, f"sweep_spacing_{suffix}", options=SPACINGS, width=140,
        help="Logarithmic: each value is the same multiple of the previous one.",
    )  # fmt: skip
    try:
        axis = mine.axis()
    except ScenarioError as error:
        show_errors(error.problems)
        return None
    values = f"{axis.title}: {', '.join(f'{axis.shown(v):g}' for v in axis.values)}"
    st.caption("  \n".join(filter(None, (values, axis.note(session.scenario)))))
    return axis


def _is_pair(s: Scenario, form: AxisForm) -> bool:
    """Whether the parameter is a range, a pair of two ends."""
    return isinstance(getattr(s, form.parameter), tuple)


def _policies(form: Form) -> None:
    known = catalogue(form.policies)
    form.policies = [name for name in form.policies if name in known]
    form_widget(
        "Policies", st.multiselect, "policies", form, "sweep_policies", options=list(known), format_func=lambda n: known[n].label,
        max_selections=MOST_POLICIES, convert=list,
        help="A trained policy decides only in scenarios that its networks were trained for; elsewhere its line has a gap.",
    )  # fmt: skip


def _start(session: Session, form: Form, axes: list[Axis], problems: list[str]) -> str | None:
    row = st.container(horizontal=True, vertical_alignment="bottom")
    form_widget(
        "Episodes per point", row.number_input, "episodes", form, "sweep_episodes", convert=int, min_value=1,
        max_value=MOST_EPISODES, step=1, width=150,
        help="A point is their mean, its band their 95 % interval; one episode gives no band.",
    )  # fmt: skip
    form_widget(
        "Episode seed", row.number_input, "seed", form, "sweep_seed", convert=int, min_value=0,
        max_value=LARGEST_SEED, step=1, width=140,
        help="Draws tasks, powers and dynamics, the same for every policy. The layout seed is in the sidebar.",
    )  # fmt: skip
    with row.popover("Where it runs", icon=":material/memory:"):
        form_widget(
            "Processes", st.number_input, "workers", form, "sweep_workers", convert=int, min_value=1,
            max_value=MOST_WORKERS, step=1, disabled=bool(form.cluster), help="On this machine; each uses one core.",
        )  # fmt: skip
        form_widget(
            "Cluster", st.text_input, "cluster", form, "sweep_cluster", placeholder="tcp://host:port", max_chars=300,
            help="Address of a dask.distributed scheduler, used instead of processes here. Its members unpickle what they "
            "send each other: use only a cluster that you trust. Its workers need the same version of this package.",
        )  # fmt: skip
    form_widget(
        "Name", row.text_input, "name", form, "sweep_name", placeholder=_free_name(form), max_chars=LONGEST_NAME, width=170,
        help="Name of the sweep: a-z, 0-9 and -. Empty: the name shown.",
    )  # fmt: skip
    spec = _spec(session, form, axes) if axes else None
    row.button(
        "Start", icon=":material/play_arrow:", type="primary", disabled=spec is None, key="sweep_start",
        on_click=_begin, args=(session, form, problems),
    )  # fmt: skip
    if spec is not None:
        st.caption(
            f"{spec.count} points of {spec.episodes} episodes. Time left is shown once it is measured. "
            f"Shares: {SHARE_LABELS[session.shares]} (sidebar)."
        )
    return cast("str | None", st.session_state.pop("sweep_started", None))


def _spec(session: Session, form: Form, axes: list[Axis]) -> SweepSpec | None:
    try:
        return form.spec(session, axes)
    except ScenarioError as error:
        show_errors(error.problems)
        return None


def _begin(session: Session, form: Form, problems: list[str]) -> None:
    problems.clear()
    try:
        name = form.name.strip() or _free_name(form)
        SWEEPS.create(name, form.spec(session), current_person(), **form.place())
    except ScenarioError as error:
        problems += error.problems
        return
    form.name = ""
    st.session_state["sweep_started"] = name


def _free_name(form: Form) -> str:
    return SWEEPS.free_name("-".join(axis.parameter for axis in form.axes[: 1 + form.two]))
