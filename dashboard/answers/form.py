"""The form of a question: few fields; policy, shares, seed and ward are those of the sidebar."""

from __future__ import annotations

from typing import Any, cast

import streamlit as st

from dashboard.answers.state import SEEKS, TOPICS, Form, View
from dashboard.person import current_person
from dashboard.session import Session
from dashboard.sweep.form import AxisForm
from dashboard.text import plain, show_errors
from dashboard.widgets import clamp, form_widget, synced
from iomt_core.experiments.answers.goal_seek import TARGETS, GoalSeek
from iomt_core.experiments.answers.question import FEWEST_EPISODES, MOST_EPISODES, Question, metric_named
from iomt_core.experiments.answers.run import ANSWERS
from iomt_core.experiments.answers.screening import FEWEST_SAMPLES, METHODS, MOST, MOST_SAMPLES
from iomt_core.experiments.answers.sensitivity import LARGEST, SMALLEST, Sensitivity
from iomt_core.experiments.answers.trade_off import MOST as MOST_WEIGHTS
from iomt_core.experiments.answers.trade_off import TradeOff
from iomt_core.experiments.sweeps.spec import MOST_POLICIES, is_whole, sweepable, written
from iomt_core.scenario import ScenarioError, counted
from iomt_core.training.catalogue import catalogue

NUMBER_WIDTH, CHOICE_WIDTH = 150, 250
HELP = {
    Sensitivity.name: "Changes every parameter a little, one at a time, up and down, and plays the same episodes again. Or "
    "varies several parameters together over ranges that you choose.",
    GoalSeek.name: "The least (or most) of a parameter at which a target holds, with the curve that shows it.",
    TradeOff.name: "Delay against energy as the weight of delay α_T moves from 0 to 1, for several policies and the bound.",
}


def question_picker(form: Form) -> None:
    """The three questions; one is chosen."""

    def update() -> None:
        form.topic = st.session_state["answers_topic"] or form.topic

    st.segmented_control(
        "Question", list(TOPICS), default=form.topic, **synced("answers_topic", form.topic, update),
        format_func=lambda name: TOPICS[name], required=True, label_visibility="collapsed",
        help="\n\n".join(f"**{title}** {HELP[name]}" for name, title in TOPICS.items()),
    )  # fmt: skip


def new_answer(session: Session, view: View) -> None:
    """Shows the form of the chosen question, with a button that asks it."""
    form = view.form
    if form.topic == Sensitivity.name:
        _matters(session, form)
    elif form.topic == GoalSeek.name:
        _need(session, form)
    else:
        _trade_off(session, form)
    _ask(session, view)


def _matters(session: Session, form: Form) -> None:
    row = _row()

    def update() -> None:
        form.ranges = st.session_state["answers_ranges"] == "over whole ranges"

    options = ("one parameter at a time", "over whole ranges")
    now = options[form.ranges]
    row.segmented_control(
        "Change", options, default=now, **synced("answers_ranges", now, update), required=True,
        help="One at a time shows the effect near this ward; over ranges shows what matters within them, interactions included.",
    )  # fmt: skip
    if not form.ranges:
        low, high = 100 * SMALLEST, 100 * LARGEST
        form_widget(
            "By (%)", row.number_input, "change", form, "answers_change", convert=float, min_value=low, max_value=high,
            step=1.0, format="%g", width=NUMBER_WIDTH, help="Up and down by so much; whole numbers by 1.",
        )  # fmt: skip
        return
    form_widget(
        "Method", row.selectbox, "method", form, "answers_method", options=list(METHODS), width=CHOICE_WIDTH,
        format_func=lambda name: METHODS[name],
        help="**Morris**: few points; the mean change when a parameter moves over its range. **Sobol**: many points; the share "
        "of the variance that goes with a parameter, by itself and with its interactions.",
    )  # fmt: skip
    form_widget(
        "Samples", row.number_input, "samples", form, "answers_samples", convert=int, min_value=FEWEST_SAMPLES,
        max_value=MOST_SAMPLES, step=1, width=NUMBER_WIDTH,
        help="Morris: trajectories. Sobol: base samples, a power of 2. More samples give narrower intervals.",
    )  # fmt: skip
    usable, chosen = sweepable(session.scenario), form.ranges_for(session)

    def choose() -> None:
        form.choose_ranges(session, st.session_state["answers_over"])

    st.multiselect(
        "Parameters", list(usable), default=list(chosen), **synced("answers_over", list(chosen), choose),
        max_selections=MOST, format_func=lambda name: str(usable[name].label),
    )  # fmt: skip
    for axis in form.ranges_for(session).values():
        _ends(axis, _row(), str(usable[axis.parameter].label))


def _need(session: Session, form: Form) -> None:
    usable, axis, row = sweepable(session.scenario), form.axis_for(session), _row()

    def choose() -> None:
        form.choose_axis(session, st.session_state["answers_parameter"])

    row.selectbox(
        "How much of", list(usable), list(usable).index(axis.parameter),
        **synced("answers_parameter", axis.parameter, choose), width=CHOICE_WIDTH,
        format_func=lambda name: f"{usable[name].label} {written(usable[name].symbol)}".strip(),
    )  # fmt: skip
    _ends(axis, row)
    form_widget(
        "Find", row.selectbox, "seek", form, "answers_seek", options=list(SEEKS), format_func=lambda name: SEEKS[name],
        width=NUMBER_WIDTH,
    )  # fmt: skip

    def forget_target() -> None:
        form.metric, form.target = st.session_state["answers_target_metric"], None

    row.selectbox(
        "so that", TARGETS, TARGETS.index(form.metric), **synced("answers_target_metric", form.metric, forget_target),
        format_func=lambda name: metric_named(name).label, width=CHOICE_WIDTH,
    )  # fmt: skip
    metric = metric_named(form.metric)
    key = f"answers_target_{form.metric}"

    def set_target() -> None:
        form.target = st.session_state[key]

    value = float(f"{form.target_for(session):.6g}")
    row.number_input(
        f"is at most{f' ({metric.unit})' if metric.unit else ''}", 0.0, None, value, format="%g",
        **synced(key, value, set_target), step=max(value / 10, 1e-6), width=NUMBER_WIDTH, help=metric.sentence,
    )  # fmt: skip


def _trade_off(session: Session, form: Form) -> None:
    known = catalogue(form.policies_for(session))
    form.policies = [name for name in form.policies if name in known] if form.policies is not None else None

    def choose() -> None:
        form.policies = list(st.session_state["answers_policies"])

    chosen = form.policies_for(session)
    st.multiselect(
        "Policies", list(known), default=chosen, **synced("answers_policies", chosen, choose),
        format_func=lambda name: known[name].label, max_selections=MOST_POLICIES,
    )  # fmt: skip
    form_widget(
        "Values of α_T", _row().number_input, "weights", form, "answers_weights", convert=int, min_value=2,
        max_value=MOST_WEIGHTS, step=1, width=NUMBER_WIDTH, help="Evenly from 0 to 1; α_E is 1 - α_T.",
    )  # fmt: skip


def _row() -> Any:
    return st.container(horizontal=True, vertical_alignment="bottom")


def _ends(axis: AxisForm, row: Any, label: str = "") -> None:
    """The two ends of a range, in the units people read."""
    meta = sweepable()[axis.parameter]
    whole = is_whole(axis.parameter)
    kind: Any = int if whole else float
    low, high = (float(f"{cast(float, end) * meta.shown_factor:.10g}") for end in (meta.low, meta.high))
    step = 1 if whole else meta.span[0] * meta.shown_factor if meta.log else (meta.step or 0.01) * meta.shown_factor
    unit = meta.unit if meta.shown_unit is None else meta.shown_unit
    for name, word in (("low", "from"), ("high", "to")):
        words = f"{label} {word}".strip()
        form_widget(
            f"{words[:1].upper()}{words[1:]}{f' ({unit})' if unit else ''}", row.number_input, name, axis,
            f"answers_{name}_{axis.parameter}_{bool(label)}", convert=kind, min_value=kind(low), max_value=kind(high),
            step=kind(step), format=None if whole else "%g", width=200 if label else NUMBER_WIDTH,
            help=f"{meta.meaning[:1].upper()}{meta.meaning[1:]}. Allowed: {meta.allowed()}.",
        )  # fmt: skip


def _ask(session: Session, view: View) -> None:
    """Episodes, and the button; what is wrong with the form stands in its place."""
    question, row = _question(session, view.form), _row()
    if question is not None:
        _episodes(view.form, question, row)

    def begin() -> None:
        view.problems.clear()
        try:
            new = view.form.question(session)
            run = ANSWERS.create(ANSWERS.free_name(new.name), new, current_person(), workers=view.form.workers)
        except ScenarioError as error:
            view.problems += error.problems
            return
        view.shown[new.name] = run.name

    row.button(
        "Find out",
        icon=":material/play_arrow:",
        type="primary",
        disabled=question is None,
        key="answers_ask",
        on_click=begin,
    )
    if question is not None:
        episodes = f"{counted(question.episodes, 'episode')} each"
        row.caption(
            f"Decides: **{plain(question.policy_names)}**. At most {counted(question.count, 'ward')} of {episodes}."
        )


def _episodes(form: Form, question: Question, row: Any) -> None:
    def update() -> None:
        form.episodes = st.session_state["answers_episodes"]

    now = clamp(question.episodes, 2, MOST_EPISODES)
    row.number_input(
        "Episodes", FEWEST_EPISODES, MOST_EPISODES, now, **synced("answers_episodes", now, update), step=1, width=NUMBER_WIDTH,
        help="Played on every ward, the same ones everywhere. More episodes give narrower intervals and take longer; at first so "
        "many that an answer takes less than 20 seconds on two cores.",
    )  # fmt: skip


def _question(session: Session, form: Form) -> Question | None:
    try:
        return form.question(session)
    except ScenarioError as error:
        show_errors(error.problems)
        return None
