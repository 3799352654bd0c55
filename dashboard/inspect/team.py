"""The parts of the Inspect page that show more than one decision: mixer, regret, formulas."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table, download, selectable_tasks
from dashboard.drawings import bar_panels
from dashboard.inspect.state import RANKS, InspectState
from dashboard.inspect.views import REGRET, episode_args, formula_block, inspection_of
from dashboard.session import Point, Session
from dashboard.text import plain
from dashboard.widgets import sync_widget
from iomt_core.charts import formulas
from iomt_core.charts import inspection as charts
from iomt_core.charts.devices import price_bars
from iomt_core.charts.tables import price_table
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record
from iomt_core.twin import northbound_inspect as north

WORST = 10
LONG_COMPUTATION = 6.0  # s; a longer computation starts only after a click
MIXERS = {
    "sum": "VDN: Q_tot is the sum of the agents' values. All derivatives are 1; there is no attention.",
    "QMIX": "QMIX (24): a monotone network with weights from the limited global state ŝ; there is no attention.",
    "attention": "SAE-QMIX (22)–(24): attention on ô alone. Its weights do not depend on the values, so (25) holds.",
    "attention as printed": "SAE-QMIX as printed: queries and keys of (22) contain the values, so (25) can be violated.",
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
        row = point[0] - 1
        bar_panels(price_bars(shown, row), "inspect_prices")
        chart_table("shadow_prices", lambda: price_table(shown, row), "Shadow price of every resource in the step")
        return
    mixed, user = found.mixing, point[1]
    st.caption(
        MIXERS[mixed.kind] + f" Q_tot = {mixed.q_tot:.4f}. It is used in training only: each agent decides alone."
    )
    broken = [n for n, slope in zip(mixed.users, mixed.slopes.tolist(), strict=True) if slope < 0]
    if broken:
        st.warning(
            f"(25) is violated in this step: ∂Q_tot/∂Q_i is negative for agent {', '.join(map(str, broken))}.",
            icon=":material/warning:",
        )
    left, right = st.columns(2)
    with left:
        if mixed.attention is None:
            st.info("No attention in this mixer.", icon=":material/info:")
        else:
            st.markdown("**Attention weights between agents, Â (22)**")
            st.html(charts.attention(mixed))
            even = 1 / len(mixed.agent_values)
            st.caption(
                f"Each row is an agent, each column the agent it attends to. A row adds up to 1; even attention would be "
                f"{even:.4f}."
            )
    with right:
        st.markdown("**Weight of each agent's value, ∂Q_tot/∂Q_i (25)**")
        bar_panels(charts.slopes(mixed, user), "slopes")
    frame = pd.DataFrame(
        {
            "agent": mixed.users,
            "Q_i (18)": mixed.agent_values.double().numpy(),
            "weighted Q̂_i (23)": mixed.weighted.double().numpy(),
            "∂Q_tot/∂Q_i (25)": mixed.slopes.double().numpy(),
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
        f"**Regret** of one decision, everything else fixed. *Against the best device*: {REGRET['best'][0].lower()}"
        f"{REGRET['best'][1:]} *Against the optimum's device*: {REGRET['optimum'][0].lower()}{REGRET['optimum'][1:]} Shares "
        "follow the policy's rule, as in the alternatives on Explore. Unit: weighted cost."
    )

    def update() -> None:
        view.rank = st.session_state["inspect_rank"]

    st.segmented_control(
        "Against", list(RANKS), default=sync_widget("inspect_rank", view.rank),
        key="inspect_rank", required=True, on_change=update, format_func=lambda name: RANKS[name],
        help="The regret that the map shows and that sorts the list of worst decisions.",
    )  # fmt: skip
    column = f"regret_{view.rank}"
    frame = north.regrets(*episode_args(session), point[0])
    left, right = st.columns([3, 4])
    with left:
        st.markdown(f"**Step {point[0]}, task by task**")
        st.html(charts.regret_map(frame, column))
        total, best = float(shown.totals[point[0] - 1]), shown.dual.bound[point[0] - 1] if shown.dual else None
        words = f"The step's total weighted cost is {total:.4f}"
        if best is not None:
            words += f"; no joint decision can be below {float(best):.4f}"
        st.caption(
            f"{words}. The regrets of single tasks do not add up to the difference, because moves depend on each other."
        )
        chart_table("regret", lambda: _regret_table(frame), "Regret of the step")
    with right:
        _worst(session, view, shown, column)


def _regret_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of `frame` that people see, with readable names."""
    devices = {"chosen": "choice", "optimum's": "optimum", "best alone": "best"}
    numbers = {"p": "weight", "cost": "cost", "regret": "regret_best", "against the optimum": "regret_optimum"}
    columns: dict[str, Any] = {name: [device_name(k) for k in frame[column]] for name, column in devices.items()}
    columns |= {name: frame[column].round(5) for name, column in numbers.items()}
    return frame[["step", "user", "task"]].assign(**columns)


def _worst(session: Session, view: InspectState, shown: Record, column: str) -> None:
    """The decisions of the episode with the largest regret in `column`."""
    st.markdown(f"**The worst {WORST} decisions of the episode**")
    frame = _episode_regrets(session, view, len(shown))
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


def _episode_regrets(session: Session, view: InspectState, steps: int) -> pd.DataFrame | None:
    """The regrets of all steps. A long computation starts only after a click, and any later click stops it between two steps.

    Returns None if the computation has not started.
    """
    episode, parts, bar = episode_args(session), [], None
    began = time.monotonic()
    for step in range(1, steps + 1):
        parts.append(north.regrets(*episode, step))
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
    left, right = st.columns(2)
    with left:
        st.markdown(f"**What task {task} of user {user} costs**")
        formula_block(formulas.task_formulas(shown, step - 1, user, task))
    with right:
        st.markdown("**How it was decided, and the value of the team**")
        found = inspection_of(session, point)
        if found is None or not found.turns:
            label = plain(session.policy_label)
            st.info(f"{label} has no (17), (18), (22)–(24): there are no Q-values.", icon=":material/info:")
            return
        weight = shown.snapshot.weight[step - 1]
        turn = found.task_turns(user, task, weight)[-1]
        block = [formulas.look_formula(turn, k) for k in range(len(turn.worth))]
        if found.task_values is not None:
            i = shown.scenario.user_numbers.index(user)
            block.append(formulas.agent_formula(weight[i].tolist(), found.task_values[i].tolist(), user))
        if found.mixing is not None:
            block += formulas.mixing_formulas(found.mixing, user)
        formula_block(block)
    st.caption("Numbers are printed with six digits in SI units; each value follows from the numbers as printed.")
