"""The parts of the Inspect page that look beyond one decision: mixer, regret, formulas."""

from __future__ import annotations

import time

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table, download
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
from iomt_core.training.catalogue import entry
from iomt_core.twin import northbound_inspect as north

WORST = 10
LONG_COMPUTATION = 6.0  # s of computing that are asked for first
MIXERS = {
    "sum": "VDN: Q_tot is the sum of the agents' values. All derivatives are 1, and there is no attention.",
    "QMIX": "QMIX (24): a monotone network whose weights come from the limited global state ŝ; no attention stands before it.",
    "attention": "SAE-QMIX (22)–(24): attention on ô alone, so that its weights do not move with the values and (25) holds.",
    "attention as printed": "SAE-QMIX by the letter: queries and keys of (22) hold the values, so that (25) can break.",
}


def mixer(session: Session, shown: Record, point: Point) -> None:
    """From the agents' values to the team's, in this step."""
    found = inspection_of(session, point)
    if found is None or found.mixing is None:
        label = plain(entry(session.shown_policy).label)
        if found is None:
            words = (
                f"{label} has no mixer: it is not learned. What ties its users together are the servers' shadow prices."
            )
        elif found.numbers is not None:
            words = f"{label} has no values of single strategies to mix here: its critic judges whole users, while training only."
        else:
            words = "This checkpoint holds no mixer. It is needed for training only; train anew to keep it."
        st.info(words, icon=":material/info:")
        row = point[0] - 1
        bar_panels(price_bars(shown, row), "inspect_prices")
        chart_table("shadow_prices", lambda: price_table(shown, row), "Shadow price of every resource in the step")
        return
    mixed, user = found.mixing, point[1]
    st.caption(MIXERS[mixed.kind] + f" Q_tot = {mixed.q_tot:.4f}. Used in training only: each agent decides alone.")
    broken = [n + 1 for n, slope in enumerate(mixed.slopes.tolist()) if slope < 0]
    if broken:
        st.warning(
            f"(25) is broken in this step: ∂Q_tot/∂Q_i is negative for agent {', '.join(map(str, broken))}.",
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
                f"Row: who attends; column: to whom. Each row adds up to 1; even attention would be {even:.4f} everywhere."
            )
    with right:
        st.markdown("**How much each agent's value counts, ∂Q_tot/∂Q_i (25)**")
        bar_panels(charts.slopes(mixed, user), "slopes")
    agents = range(1, len(mixed.agent_values) + 1)
    frame = pd.DataFrame(
        {
            "agent": agents,
            "Q_i (18)": mixed.agent_values.double().numpy(),
            "weighted Q̂_i (23)": mixed.weighted.double().numpy(),
            "∂Q_tot/∂Q_i (25)": mixed.slopes.double().numpy(),
        }
    )
    if mixed.attention is not None:
        frame = frame.assign(**{f"attends to {n}": mixed.attention[:, n - 1].double().numpy() for n in agents})
    chart_table("mixer", lambda: frame, "What the mixer makes of the agents")
    formula_block(formulas.mixing_formulas(mixed, user))


# -- regret --------------------------------------------------------------------------------------------------------------


def regret(session: Session, view: InspectState, shown: Record, point: Point) -> None:
    """The step's regret task by task, and the episode's worst decisions."""
    st.markdown(
        f"**Regret** of one decision, everything else fixed. *Against the best device*: {REGRET['best'][0].lower()}"
        f"{REGRET['best'][1:]} *Against the optimum's device*: {REGRET['optimum'][0].lower()}{REGRET['optimum'][1:]} Shares "
        "follow the policy's rule, as in Explore's alternatives. In weighted cost."
    )

    def update() -> None:
        view.rank = st.session_state["inspect_rank"]

    st.segmented_control(
        "Against", list(RANKS), default=sync_widget("inspect_rank", view.rank),
        key="inspect_rank", required=True, on_change=update, format_func=lambda name: RANKS[name],
        help="Which regret the map and the list of the worst decisions go by.",
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
            words += f"; no joint decision whatever can come below {float(best):.4f}"
        st.caption(f"{words}. Regrets of single tasks do not add up to the difference: moves depend on each other.")
        chart_table("regret", lambda: _regret_table(frame), "Regret of the step")
    with right:
        _worst(session, view, shown, column)


def _regret_table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": frame["step"],
            "user": frame["user"],
            "task": frame["task"],
            "chosen": [device_name(k) for k in frame["choice"]],
            "optimum's": [device_name(k) for k in frame["optimum"]],
            "best alone": [device_name(k) for k in frame["best"]],
            "p": frame["weight"].round(3),
            "cost": frame["cost"].round(4),
            "regret": frame["regret_best"].round(5),
            "against the optimum": frame["regret_optimum"].round(5),
        }
    )


def _worst(session: Session, view: InspectState, shown: Record, column: str) -> None:
    st.markdown(f"**The worst {WORST} decisions of the episode**")
    frame = _whole(session, view, len(shown))
    if frame is None:
        return
    worst = frame.sort_values(column, ascending=False, kind="stable").head(WORST).reset_index(drop=True)

    def chosen() -> None:
        rows = st.session_state["worst"].selection.rows
        if rows:
            step, user, task = (int(x) for x in worst.loc[rows[0], ["step", "user", "task"]])
            session.step, session.picked = step, (step, user, task)

    st.dataframe(
        _regret_table(worst), hide_index=True, key="worst", on_select=chosen, selection_mode="single-row",
        alt="The worst decisions; select a row to look at it",
    )  # fmt: skip
    none = int((frame["regret_best"] < 1e-9).sum())
    st.caption(
        f"Select a row to look at that decision. {none} of {len(frame)} decisions of the episode have no better device."
    )
    download(_regret_table(frame), "regret_of_episode", "Regret of the episode")


def _whole(session: Session, view: InspectState, steps: int) -> pd.DataFrame | None:
    """All steps' regrets; where that takes long it is asked for first, and any click stops it between two steps."""
    here, parts, bar = episode_args(session), [], None
    began = time.monotonic()
    for step in range(1, steps + 1):
        parts.append(north.regrets(*here, step))
        spent = time.monotonic() - began
        left = spent / step * (steps - step)
        if spent > 0.4 and step < steps:
            if left > LONG_COMPUTATION and view.agreed != here:
                if not st.button(f"Price all {steps} steps, about {spent + left:.0f} s", icon=":material/calculate:"):
                    st.caption("Every task on every device in every step, each with the best shares anew.")
                    return None
                view.agreed = here
            if bar is None:
                bar = st.empty()
            with bar.container(horizontal=True, vertical_alignment="center"):
                st.progress(step / steps, f"Step {step} of {steps}, {left:.0f} s left")
                if left > LONG_COMPUTATION / 2 and st.button("Cancel", key=f"cancel_{step}"):
                    view.agreed = None
    if bar is not None:
        bar.empty()
    return pd.concat(parts, ignore_index=True)


# -- formulas ------------------------------------------------------------------------------------------------------------


def numbers(session: Session, shown: Record, point: Point) -> None:
    """Each formula with this decision's numbers put in."""
    step, user, task = point
    left, right = st.columns(2)
    with left:
        st.markdown(f"**What task {task} of user {user} costs**")
        formula_block(formulas.task_formulas(shown, step - 1, user, task))
    with right:
        st.markdown("**How it was decided, and what the team makes of it**")
        found = inspection_of(session, point)
        if found is None or not found.turns:
            label = plain(entry(session.shown_policy).label)
            st.info(f"{label} has no (17), (18), (22)–(24): there are no Q-values.", icon=":material/info:")
            return
        weight = shown.snapshot.weight[step - 1]
        look = found.task_turns(user, task, weight)[-1]
        block = [formulas.look_formula(look, k) for k in range(len(look.worth))]
        if found.task_values is not None:
            block.append(formulas.agent_formula(weight[user - 1].tolist(), found.task_values[user - 1].tolist(), user))
        if found.mixing is not None:
            block += formulas.mixing_formulas(found.mixing, user)
        formula_block(block)
    st.caption("Numbers are printed with six digits in SI units; the values follow from the numbers as printed.")
