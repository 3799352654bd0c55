"""The parts of the Inspect page that show more than one decision: mixer, regret, formulas."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table, download, selectable_tasks
from dashboard.explore.details import what_more_saves
from dashboard.following import known_by_now
from dashboard.inspect.state import RANKS, InspectState, state
from dashboard.inspect.views import (
    REGRET,
    episode_args,
    formula_block,
    full_colour,
    inspection_of,
    subtitle,
)
from dashboard.plotly_chart import charts_beside, plotly_chart
from dashboard.session import Point, Session
from dashboard.text import plain
from dashboard.widgets import synced
from iomt_core.charts import formulas
from iomt_core.charts import inspection as charts
from iomt_core.charts.city_map import is_crowded
from iomt_core.experiments.around import Request
from iomt_core.experiments.inspected import all_regrets
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record
from iomt_core.training.catalogue import checkpoint_of
from iomt_core.twin import northbound_inspect as north
from iomt_core.twin.moves import devices
from iomt_core.twin.northbound import place_name, share_rule

WORST = 10
MOST_TASKS = 1000  # of a step; with more, the page does not wait for the regret of all
MOST_ROWS = 40  # users of a crowded ward on the map of regrets
MOST_FORMULAS = 9  # of devices
LONG_COMPUTATION = 6.0  # s; a longer computation starts only after a click
MIXERS = {
    "sum": "VDN: the team's value is the sum of the agents' values. All weights are 1; there is no attention.",
    "QMIX": "QMIX: the team's value never falls when an agent's value rises; the weights depend on the state, without attention.",
    "attention": "SAE-QMIX: attention on the observations alone, so the team's value never falls when an agent's value rises.",
    "attention as printed": "SAE-QMIX as printed: the attention depends on the values, so the team's value may fall when an "
    "agent's value rises.",
}


def mixer(session: Session, shown: Record, point: Point) -> None:
    """How the mixer combines the agents' values into the team's value in this step."""
    found = inspection_of(session, point)
    if found is None or found.mixing is None:
        label = plain(session.policy_label)
        if found is None:
            words = f"{label} has no mixer: it is not learned. Its users are coordinated by the servers' shadow prices."
        elif found.numbers is not None:
            words = f"{label} has no values of single strategies to mix: its critic gives one value for all tasks of a user."
        else:
            words = "This checkpoint has no mixer, which is needed in training only. Train again to store it."
        st.info(words, icon=":material/info:")
        what_more_saves(session)
        return
    mixed, user = found.mixing, point[1]
    st.markdown(
        f"In training, a mixer combines the agents' values into one value of the team: {mixed.q_tot:.4f} in this step. The "
        "charts show how much weight each agent gives to the others, and by how much the team's value grows with each agent's "
        f"own. When acting, each agent decides alone. {MIXERS[mixed.kind]}",
        help="Values: eq. (18); attention: eq. (22); weighted values: eq. (23); team: eq. (24); derivatives: eq. (25).",
    )
    broken = [n for n, slope in zip(mixed.users, mixed.slopes.tolist(), strict=True) if slope < 0]
    if broken:
        st.warning(
            f"In this step the team's value falls when the value of agent {', '.join(map(str, broken))} rises: eq. (25) is "
            "violated.",
            icon=":material/warning:",
        )
    figures = [charts.slopes(mixed, user, subtitle(session, point))]
    if mixed.attention is not None:
        figures.insert(0, charts.attention(mixed, user, subtitle(session, point)))
    charts_beside(figures, "inspect_mixer")
    if mixed.attention is not None:
        even = 1 / len(mixed.agent_values)
        st.caption(f"Each row adds up to 1. Even attention, {even:.3f} for every agent, has half the colour.")
    frame = pd.DataFrame(
        {
            "agent": mixed.users,
            "value Q_i": mixed.agent_values.double().numpy(),
            "weighted value Q̂_i": mixed.weighted.double().numpy(),
            "∂Q_tot/∂Q_i": mixed.slopes.double().numpy(),
        }
    )
    if mixed.attention is not None:
        columns = zip(mixed.users, mixed.attention.double().T.numpy(), strict=True)
        frame = frame.assign(**{f"attends to {n}": values for n, values in columns})
    chart_table("mixer", lambda: frame, "Values, weights and attention of the agents")
    formula_block(formulas.mixing_formulas(mixed, user))


def regret(session: Session, view: InspectState, shown: Record, point: Point) -> None:
    """The regret of every task in the step, and the worst decisions of the episode."""
    st.markdown(
        "By how much the ward's weighted cost would fall, with what energy costs later, if one task alone ran on another device, "
        "everything else fixed. The "
        "darker, the larger; the colour is full at half the step's mean task cost. Click a cell to select its task.",
        help=f"*Best device*: {REGRET['best']}\n\n*The optimum's device*: {REGRET['optimum']}\n\nShares follow the policy's "
        "rule, as in the alternatives on Explore.",
    )

    def update() -> None:
        view.rank = st.session_state["inspect_rank"]

    st.segmented_control(
        "Against", list(RANKS), default=view.rank, **synced("inspect_rank", view.rank, update), required=True,
        format_func=lambda name: RANKS[name],
        help="The regret that the map shows and that sorts the list of worst decisions.",
    )  # fmt: skip
    column = f"regret_{view.rank}"
    frame = _step_regrets(session, shown, point)
    if frame is None:
        return
    crowd = _most_regret(frame, column, point) if is_crowded(session.scenario) else frame
    with st.container(key="wide_regret"):
        with st.container():
            title = f"Regret of every task, against {RANKS[view.rank]}"
            words = f"{session.title} · step {point[0]}"
            figure = charts.regret_map(crowd, column, point, full_colour(shown, point), title, words)
            plotly_chart(figure, "inspect_regret", session.pick)
            if len(crowd) < len(frame):
                st.caption(f"User {point[1]} and the {MOST_ROWS} users with the largest regret. The table has all.")
            total, best = float(shown.totals[point[0] - 1]), shown.bound[point[0] - 1] if shown.dual else None
            words = f"The step's total weighted cost is {total:.4f}"
            if best is not None:
                words += f"; no joint decision can be below {float(best):.4f}"
            st.caption(
                f"{words}. The regrets of single tasks do not add up to the difference, because moves depend on each other."
            )
            chart_table("regret", lambda: _regret_table(frame), "Regret of the step")
        with st.container():
            _worst(session, view, shown, column)


def _step_regrets(session: Session, shown: Record, point: Point) -> pd.DataFrame | None:
    """The regret of every task of the step; None while the process beside the dashboard computes it, in a very large ward."""
    if _tasks_of(session) <= MOST_TASKS:
        return north.regrets(**episode_args(session), step=point[0])
    row = slice(point[0] - 1, point[0])
    return _awaited(session, shown.select(row), row, "regret", "The regret of every task of this step")


def _tasks_of(session: Session) -> int:
    """Tasks of a step: the regret of all takes time with their square, of as many as `MOST_TASKS` about half a second."""
    return session.scenario.users * session.scenario.tasks


def _awaited(session: Session, steps: Record, rows: slice, part: str, doing: str) -> pd.DataFrame | None:
    """The regret of every task in some steps, `rows` of the episode; None until the process beside the dashboard has it."""
    s, policy, seen = session.scenario, session.shown_policy, state(session).seen
    assert seen is not None
    optimum = None if seen.optimum is None else devices(seen.optimum, rows)
    known_as = (
        s.digest,
        policy,
        checkpoint_of(policy),
        session.shares,
        session.seed,
        seen.known,
        part,
        rows.start,
        rows.stop,
    )
    request = Request(all_regrets, (steps, share_rule(policy, session.shares), optimum), known_as, quick=True)
    found = known_by_now(part, doing, request)
    return found if isinstance(found, pd.DataFrame) else None


def _most_regret(frame: pd.DataFrame, column: str, point: Point) -> pd.DataFrame:
    """The rows of the selected user and of the users with the largest regret."""
    regret = frame.groupby("user")[column].max().sort_values(ascending=False, kind="stable", na_position="last")
    return frame[frame["user"].isin({*regret.index[:MOST_ROWS], point[1]})]


def _regret_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of `frame` that people see, with readable names."""
    devices = {"chosen": "choice", "best alone": "best", "optimum's": "optimum"}
    columns: dict[str, Any] = {"regret": frame["regret_best"].round(4)}
    columns |= {name: [place_name(k) for k in frame[column]] for name, column in devices.items()}
    columns |= {
        "regret to optimum": frame["regret_optimum"].round(4),
        "cost": frame["cost"].round(4),
        "weight": frame["weight"],
    }
    return frame[["step", "user", "task"]].assign(**columns)


def _worst(session: Session, view: InspectState, shown: Record, column: str) -> None:
    """The decisions of the episode with the largest regret in `column`."""
    st.markdown(f"**The worst {WORST} decisions of the episode**")
    frame = _episode_regrets(session, view, shown)
    if frame is None:
        return
    worst = frame.sort_values(column, ascending=False, kind="stable").head(WORST).reset_index(drop=True)

    selectable_tasks(
        _regret_table(worst), worst, session, "worst", alt="The worst decisions; select a row to look at it"
    )
    none = int((frame["regret_best"] < 1e-9).sum())
    st.caption(
        f"Select a row to look at that decision. For {none} of {len(frame)} decisions of the episode no device is better."
    )
    download(_regret_table(frame), "regret_of_episode", "Regret of the episode")


def _episode_regrets(session: Session, view: InspectState, shown: Record) -> pd.DataFrame | None:
    """The regrets of all steps. A long computation starts only after a click, and any later click stops it between two steps.

    Returns None if the computation has not started.
    """
    args, steps, parts, bar = episode_args(session), len(shown), [], None
    episode = tuple(value for name, value in args.items() if name != "seen")
    if view.seen is not None:  # a large ward
        if _tasks_of(session) > MOST_TASKS and view.agreed != episode:
            if not st.button(f"Compute all {steps} steps", icon=":material/calculate:"):
                st.caption(
                    "Every task on every device in every step, in the background. In a ward as large as this it takes minutes."
                )
                return None
            view.agreed = episode
        return _awaited(session, shown, slice(0, steps), "all regrets", f"The regret of all {steps} steps")
    began = time.monotonic()
    for step in range(1, steps + 1):
        parts.append(north.regrets(**args, step=step))
        spent = time.monotonic() - began
        left = spent / step * (steps - step)
        if spent > 0.4 and step < steps:
            if left > LONG_COMPUTATION and view.agreed != episode:
                if not st.button(f"Compute all {steps} steps, about {spent + left:.0f} s", icon=":material/calculate:"):
                    st.caption("Every task on every device in every step, each time with new best shares.")
                    return None
                view.agreed = episode
            if bar is None:
                bar = st.empty()
            with bar.container(horizontal=True, vertical_alignment="center"):
                st.progress(step / steps, f"Step {step} of {steps}, {left:.0f} s left")
                if left > LONG_COMPUTATION / 2 and st.button("Cancel", key=f"cancel_{step}"):
                    view.agreed = None
    if bar is not None:
        bar.empty()
    return pd.concat(parts, ignore_index=True)


def numbers(session: Session, shown: Record, point: Point) -> None:
    """The formulas with the numbers of this decision."""
    step, user, task = point
    st.markdown(
        "The model's equations with the numbers of this decision, in SI units and six digits. Each value follows from the "
        "numbers as printed; the number of an equation is on hover."
    )
    found, weight = inspection_of(session, point), shown.snapshot.weight[step - 1]
    learned = found is not None and bool(found.turns)
    with st.container(key="wide_formulas"):
        with st.container():
            st.markdown(f"##### What task {task} of user {user} costs")
            formula_block(formulas.task_formulas(shown, step - 1, user, task))
            if found is not None and learned:
                st.markdown("##### What the team's value is")
                if found.task_values is not None:
                    i = shown.scenario.user_numbers.index(user)
                    formula_block([formulas.agent_formula(weight[i].tolist(), found.task_values[i].tolist(), user)])
                if found.mixing is not None:
                    formula_block(formulas.mixing_formulas(found.mixing, user))
        with st.container():
            st.markdown("##### How its device was chosen")
            if found is not None and learned:
                turn = found.task_turns(user, task, weight)[-1]
                best = (
                    (turn.worth + turn.margin)
                    .argsort(descending=True, stable=True)[:MOST_FORMULAS]
                    .sort()
                    .values.tolist()
                )
                formula_block([formulas.look_formula(turn, k) for k in best])
                if len(best) < len(turn.worth):
                    st.caption(f"The {len(best)} devices with the highest scores, of {len(turn.worth)}.")
                st.markdown(f"The highest score wins: {device_name(turn.devices[turn.choice])}.")
                if not all(turn.valued):
                    st.caption(
                        "What the user's other tasks on servers lose is part of the value of this task; the sum is without them."
                    )
            else:
                st.info(
                    f"{plain(session.policy_label)} has no scores of devices: it is not learned this way.",
                    icon=":material/info:",
                )
