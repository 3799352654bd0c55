"""The parts of the Inspect page that show a decision: its summary, its values, its shares, what was observed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
import torch

from dashboard.chart_tables import download
from dashboard.drawings import bar_panels
from dashboard.inspect.state import InspectState
from dashboard.session import Point, Session
from dashboard.text import plain, show_errors
from dashboard.widgets import sync_widget
from iomt_core.charts import inspection as charts
from iomt_core.charts import tables
from iomt_core.charts import tasks as task_charts
from iomt_core.charts.formulas import Formula
from iomt_core.metrics import TASK
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import entry
from iomt_core.twin import northbound_inspect as north
from iomt_core.twin.northbound import why
from iomt_core.twin.northbound_inspect import Inspection, TaskTurn

SHARE_WORDS = {
    "equal": "Shares are even here: each task gets the same part of its device, whatever an Actor would ask for.",
    "optimal": "Shares here are the best for these choices, computed by one who sees everything.",
}
DECIDES = {
    "optimum": "It searches all users' choices together for the lowest weighted cost, starting from the shadow prices.",
    "price-response": "Each user alone takes what is cheapest for it at broadcast mean shadow prices.",
    "greedy": "Task by task in turn, it takes the device that is cheapest now, seeing who is already on each.",
    "nearest": "It looks at distances only.",
}


def episode_args(session: Session) -> tuple[Any, str, int, Any]:
    """What names the shown episode to the northbound interface."""
    return session.scenario, session.shown_policy, session.seed, session.shares


def formula_block(formulas: list[Formula]) -> None:
    """Formulas with the numbers put in, the equation's number beside each."""
    st.markdown("\n\n".join(f"**{f.number}** {f.what}\n\n$${f.latex}$$" for f in formulas))


def inspection_of(session: Session, point: Point) -> Inspection | None:
    """What the policy's networks made of the step; nothing where it has none."""
    found = north.inspect_step(*episode_args(session), point[0])
    if found is not None and not found.agrees:
        st.warning(
            "These networks would choose otherwise now than in the episode shown: the checkpoint was replaced while the "
            "dashboard ran. Restart it to play the episode anew.",
            icon=":material/warning:",
        )
    return found


def decision(session: Session, shown: Record, point: Point) -> None:
    """The selected decision in a few figures."""
    step, user, task = point
    at = (step - 1, user - 1, task - 1)
    chosen, out = int(shown.action.choice[at]), shown.outcome
    mine = north.regrets(*episode_args(session), step).query("user == @user and task == @task").iloc[0]
    st.markdown(
        f"**Step {step}, user {user}, task {task}: {plain(entry(session.shown_policy).label)} chose {device_name(chosen)}.** "
        f"The optimum's device for it is {device_name(int(mine['optimum']))}; with all else fixed the best one is "
        f"{device_name(int(mine['best']))}."
    )
    of_task = {"delay_s": out.delay, "energy_j": out.energy, "cost": out.cost, "weight": shown.snapshot.weight}
    cells = (
        *((TASK[name].label, TASK[name].show(float(values[at])), TASK[name].help) for name, values in of_task.items()),
        ("Regret", f"{mine['regret_best']:.4f}", REGRET["best"]),
        ("Against the optimum", f"{mine['regret_optimum']:+.4f}", REGRET["optimum"]),
    )
    with st.container(horizontal=True):
        for label, value, text in cells:
            st.metric(label, value, border=True, help=text, width=165)
    _tasks(session, shown, point)


def _tasks(session: Session, shown: Record, point: Point) -> None:
    """The user's tasks in this step; a row is a selection."""
    step, user, _ = point
    mine = north.regrets(*episode_args(session), step).query("user == @user").reset_index(drop=True)
    own = north.observed_tasks(shown, step - 1, user)

    def chosen() -> None:
        rows = st.session_state["inspect_tasks"].selection.rows
        if rows:
            session.picked = (step, user, int(mine.loc[rows[0], "task"]))

    frame = pd.DataFrame(
        {
            "": ["➜" if t == point[2] else "" for t in mine["task"]],
            "task": mine["task"],
            **{
                TASK[name].symbol_heading: own[TASK[name].symbol_heading].round(2)
                for name in ("data_bits", "cycles", "priority")
            },
            "chosen": [device_name(k) for k in mine["choice"]],
            "optimum's": [device_name(k) for k in mine["optimum"]],
            "cost": mine["cost"].round(4),
            "regret": mine["regret_best"].round(4),
        }
    )
    st.dataframe(
        frame, hide_index=True, key="inspect_tasks", on_select=chosen, selection_mode="single-row",
        height=min(320, 38 + 35 * len(frame)), alt=f"The tasks of user {user}; select a row to look at it",
    )  # fmt: skip


REGRET = {
    "best": "By how much the ward's total weighted cost in this step would fall if this task alone went to the device best "
    "for the ward, all other tasks staying where they are. 0: no better device.",
    "optimum": "The same against the device that the optimum gives this task. It may be negative: the optimum moves other "
    "tasks too, and its device may be worse among these neighbours.",
}


# -- Q-values ------------------------------------------------------------------------------------------------------------


def values(session: Session, view: InspectState, shown: Record, point: Point) -> None:
    """Every pass of (17) beside the true cost of every alternative."""
    found = inspection_of(session, point)
    if found is None or not found.turns:
        _no_values(session, shown, point, found)
        return
    step, user, task = point
    turns = found.task_turns(user, task, shown.snapshot.weight[step - 1])
    look = _select_round(view, turns)
    names = _task_names(shown, point, look.values.shape[1])
    true = north.alternatives(*episode_args(session), step, user, task)
    own = true[:, user - 1][:, shown.snapshot.active[step - 1, user - 1]]
    left, right = st.columns(2)
    with left:
        st.markdown("**What the network expects: Q of each task under each strategy**")
        shown_values = (
            look.values[:, [n - 1 for n in _active_tasks(shown, point)]] if look.values.shape[1] > 1 else look.values
        )
        what = f"Q-values of task {task}'s network by strategy and task; {device_name(look.choice)} is taken"
        st.html(charts.by_strategy(shown_values.tolist(), names, look.choice, what))
        st.caption(
            "In reward, about 1 − cost: dark is good, against the rest of its column. Outlined: taken in this round."
        )
    with right:
        st.markdown("**What is true: cost of each of the user's tasks under each strategy**")
        what = f"True cost of user {user}'s tasks with task {task} on each device"
        chosen = int(shown.action.choice[_index(point)])
        st.html(charts.by_strategy(own.tolist(), _task_names(shown, point, 2), chosen, what, good=False))
        st.caption(
            "Dark is dear, against the rest of its column. Each row prices the whole step again, only this task moved."
        )
    _choice(session, shown, point, look, true)


def _select_round(view: InspectState, turns: list[TaskTurn]) -> TaskTurn:
    if len(turns) == 1:
        return turns[0]

    def update() -> None:
        chosen = st.session_state["inspect_round"]
        view.round = 0 if chosen == len(turns) else int(chosen)

    wanted = view.round if 1 <= view.round <= len(turns) else len(turns)
    st.segmented_control(
        "Round", range(1, len(turns) + 1), default=sync_widget("inspect_round", wanted),
        key="inspect_round", required=True, on_change=update,
        format_func=lambda n: f"{n}, which counts" if n == len(turns) else str(n),
        help="The tasks of an agent decide in turn, 1 to J, each knowing where the others then are; the last round counts.",
    )  # fmt: skip
    return turns[wanted - 1]


def _index(point: Point) -> tuple[int, int, int]:
    return point[0] - 1, point[1] - 1, point[2] - 1


def _active_tasks(shown: Record, point: Point) -> list[int]:
    return [int(n) + 1 for n in shown.snapshot.active[point[0] - 1, point[1] - 1].nonzero().flatten()]


def _task_names(shown: Record, point: Point, columns: int) -> list[str]:
    step, user, task = point
    if columns == 1:
        return [f"task {task}"]
    weight = shown.snapshot.weight[step - 1, user - 1]
    return [f"{'▶ ' if n == task else ''}{n} (p {float(weight[n - 1]):.2g})" for n in _active_tasks(shown, point)]


def _choice(session: Session, shown: Record, point: Point, look: TaskTurn, true: torch.Tensor) -> None:
    step, user, task = point
    weight = shown.snapshot.weight[step - 1]
    totals = (true * weight).sum((1, 2))
    counted = look.worth + look.margin
    chosen = int(shown.action.choice[_index(point)])
    frame = pd.DataFrame(
        {
            "": ["➜" if k == look.choice else "" for k in range(len(counted))],
            "strategy": [device_name(k) for k in range(len(counted))],
            "Σ p Q (17)": look.worth.double().numpy(),
            "margin": look.margin.double().numpy(),
            "counts": counted.double().numpy(),
            "expected gain": (look.worth - look.worth[chosen]).double().numpy(),
            "true gain": (totals[chosen] - totals).numpy(),
            "true cost of the task": true[:, user - 1, task - 1].numpy(),
            "true Σ p cost of the user": (true[:, user - 1] * weight[user - 1]).sum(-1).numpy(),
            "true total of the ward": totals.numpy(),
        }
    )
    before = ", ".join(f"{n}: {device_name(k)}" for n, k in enumerate(look.before, 1) if n != task)
    if look.round:
        way = f"In turn (round {look.round}); when task {task} decided, the user's other tasks stood at {before}."
    else:
        way = "All of the user's tasks decided at once, each without knowing the others' choice."
    st.dataframe(frame.style.format(precision=5), hide_index=True, key="choice_table", alt="Strategies by (17)")
    st.caption(
        f"{way} Taken is the largest of *counts*, of equals the first. The server with the fewest of the user's other tasks "
        f"(counted from the user's own offset) counts {float(look.margin.max()):g} more{_less(look)}: servers are much alike, "
        "and agents that cannot see each other would all run to the one that seems a little better. *Expected gain* and *true "
        "gain* are over the device really taken, in weighted reward and weighted cost of the whole ward; a well-trained network "
        "orders them alike. It saw none of the other users' tasks." + _scale(session)
    )
    download(frame, "strategies", "Strategies of the task")


def _less(look: TaskTurn) -> str:
    least = float(look.margin.min())
    return f", any other {-least:g} less" if least < 0 else ""


def _scale(session: Session) -> str:
    unit = north.cost_unit(session.scenario, session.shown_policy)
    return f" It reads costs in units of what is usual in this ward: its Q is about 1 − {unit:.3g} × cost." * (
        unit != 1
    )


def _no_values(session: Session, shown: Record, point: Point, found: Inspection | None) -> None:
    step, user, task = point
    label = plain(entry(session.shown_policy).label)
    if found is not None and found.numbers is not None and found.first_server is not None:
        x, dealt, k = (
            float(found.numbers[user - 1, task - 1]),
            int(found.first_server[user - 1, task - 1]),
            session.scenario.servers,
        )
        number = min(int(x * (k + 1)), k)
        st.info(
            f"{label} has no Q-values per strategy: its Actor gives each task's device as a number. Here x = {x:.4f}, and "
            f"⌊x (K + 1)⌋ = ⌊{x:.4f} × {k + 1}⌋ = {number}: "
            + (
                "0 is the own device."
                if number == 0
                else f"the {number}. server, counted from the one that the task is dealt to, server {dealt}: "
                f"{device_name(int(found.choice[user - 1, task - 1]))}."
            ),
            icon=":material/info:",
        )
    else:
        decides = DECIDES.get(session.shown_policy, plain(entry(session.shown_policy).summary))
        st.info(
            f"{label} has no Q-values: it is not learned. {decides} "
            "Below is what there is to compare: the true cost of every alternative, and the shadow prices.",
            icon=":material/info:",
        )
    try:
        frame = why(shown, session.shown_policy, session.shares, step, user, task).alternatives
    except ScenarioError as error:
        show_errors(error.problems)
        return
    left, right = st.columns([2, 3])
    with left:
        bar_panels(task_charts.alternatives(frame), "inspect_alternatives")
    with right:
        price = frame["cpu_price"] * frame["cpu_hz"] + (frame["bandwidth_price"] * frame["bandwidth_hz"]).fillna(0.0)
        weight = float(shown.snapshot.weight[_index(point)])
        out = pd.DataFrame(
            {
                **tables.alternatives_table(frame),
                "weight × cost": frame["cost"] * weight,
                "price of what it holds": price,
                "both": frame["cost"] * weight + price,
            }
        )
        st.dataframe(out.style.format(precision=4), hide_index=True, key="true_table", alt="True alternatives")
        st.caption(
            "*Price of what it holds*: λ f + μ b at the step's shadow prices, in weighted cost: what the others lose by it. "
            "At the best decision, the smallest of *both* is near what is chosen."
        )
        download(out, "alternatives", "The alternatives of the task")


# -- shares --------------------------------------------------------------------------------------------------------------


def shares(session: Session, shown: Record, point: Point) -> None:
    """What was asked for and what was granted."""
    step, user, task = point
    frame = north.grants(shown, step - 1)
    mine = frame[frame["user"] == user]
    rule = session.shares if session.shares != "own" else entry(session.shown_policy).sharing
    if entry(session.shown_policy).trained and session.shares == "own":
        st.caption(
            "The Actor asks, knowing only its own tasks; a device that is over-asked scales all requests down alike."
        )
    else:
        st.caption(
            SHARE_WORDS.get(rule, "Every user asks for itself; an over-asked device scales all requests down alike.")
        )
    bar_panels(charts.share_bars(mine, task), "share_bars")
    st.dataframe(_share_table(mine), hide_index=True, key="share_table", alt="Shares of the user's tasks")
    chosen = int(shown.action.choice[_index(point)])
    there = frame[(frame["choice"] == chosen) & ((frame["user"] == user) | (chosen > 0))]
    st.markdown(f"**Who else was on {device_name(chosen)}: {len(there)} task{'s' * (len(there) != 1)} in all**")
    st.dataframe(_share_table(there), hide_index=True, key="share_table_device", alt=f"Tasks on {device_name(chosen)}")
    found = inspection_of(session, point)
    if found is not None and session.shares != "own":
        x, y = found.requested[user - 1, task - 1].tolist()
        st.caption(
            f"Its Actor would have asked for {x:.1%} of the CPU and {y:.1%} of the bandwidth; the option Shares overrides it."
        )
    download(frame, "shares", "Shares of all tasks")


def _share_table(frame: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "user": frame["user"],
        "task": frame["task"],
        "device": [device_name(k) for k in frame["choice"]],
    }
    for kind, name in (("cpu", "CPU"), ("bandwidth", "bandwidth")):
        columns |= {
            f"{name} requested (%)": (frame[f"{kind}_requested"] * 100).round(2),
            f"{name} asked by all (%)": (frame[f"{kind}_asked_by_all"] * 100).round(1),
            f"{name} granted (%)": (frame[f"{kind}_granted"] * 100).round(2),
            TASK[f"{kind}_hz"].heading: (frame[f"{kind}_hz"] * TASK[f"{kind}_hz"].factor).round(3),
        }
    return pd.DataFrame(columns)


# -- seen and unseen -----------------------------------------------------------------------------------------------------


def seen(session: Session, shown: Record, point: Point) -> None:
    """Eq. (14) in units, and beside it what was hidden."""
    step, user, _ = point
    known = entry(session.shown_policy)
    if known.trained:
        words = "Each number reaches the network scaled to about 0 to 1, as shown beside it."
        if session.shown_policy.endswith("@general") or _scale(session):
            words = (
                "A network for any ward reads these numbers as costs in units of what is usual in the ward. Batteries in its "
                "training were ample: it takes them for full."
            )
    elif known.decentralised:
        words = "This policy decides user by user from this and from what is broadcast; it needs no scaled numbers."
    else:
        words = "This policy is central: it sees everything on both sides of this page. An agent would see the left side only."
    st.caption(words)
    left, right = st.columns(2)
    with left:
        st.markdown(f"**What agent {user} saw, eq. (14)**")
        own, rest = north.observed_tasks(shown, step - 1, user), north.observed_rest(shown, step - 1, user)
        st.dataframe(own.style.format(precision=3), hide_index=True, key="seen_tasks", alt="Own tasks")
        st.dataframe(rest.style.format(precision=3), hide_index=True, key="seen_rest", alt="Itself and the servers")
        download(pd.concat([own, rest]), "seen", "What the agent saw")
    with right:
        hidden = north.hidden_tasks(shown, step - 1, user)
        hidden.insert(2, "device", [device_name(k) for k in hidden.pop("choice")])
        st.markdown(f"**What it could not see: {len(hidden)} tasks of other users, their choices and requests**")
        if hidden.empty:
            st.info("There is no other user in this step.", icon=":material/info:")
        else:
            st.dataframe(
                hidden.style.format(precision=2), hide_index=True, key="unseen", alt="Others' tasks", height=420
            )
            download(hidden, "unseen", "What it could not see")
        st.caption(
            "Nor could it know what the channel's fading or the servers would do within the step; delays are expectations (6)."
        )
