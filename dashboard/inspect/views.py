"""The parts of the Inspect page that show a decision: summary, Q-values, shares, observation."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
import torch

from dashboard.chart_tables import download, selectable_tasks
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
from iomt_core.training.catalogue import GENERAL, entry
from iomt_core.twin import northbound_inspect as north
from iomt_core.twin.northbound import why
from iomt_core.twin.northbound_inspect import Inspection, TaskTurn

SHARE_WORDS = {
    "equal": "Shares are even: each task gets the same part of its device, whatever an Actor would request.",
    "optimal": "Shares are the best for these choices, computed with full information.",
}
REQUESTS = "Every user requests shares for itself; if the requests exceed a device, all are scaled down in proportion."
HOW_IT_DECIDES = {
    "optimum": "It searches all users' choices together for the lowest weighted cost, starting from the shadow prices.",
    "price-response": "Each user chooses, by itself, the cheapest devices at the mean shadow prices that the servers broadcast.",
    "greedy": "It gives one task after another the device that is cheapest now, knowing which tasks each device already has.",
    "nearest": "It uses distances only.",
}


def episode_args(session: Session) -> tuple[Any, str, int, Any]:
    """The arguments that identify the shown episode in the northbound interface."""
    return session.scenario, session.shown_policy, session.seed, session.shares


def formula_block(formulas: list[Formula]) -> None:
    """Shows formulas with numbers inserted, each with its equation number."""
    st.markdown("\n\n".join(f"**{f.number}** {f.what}\n\n$${f.latex}$$" for f in formulas))


def inspection_of(session: Session, point: Point) -> Inspection | None:
    """The values and requests of the policy's networks in the step; None if the policy has no networks."""
    found = north.inspect_step(*episode_args(session), point[0])
    if found is not None and not found.agrees:
        st.warning(
            "These networks would now choose differently than in the episode shown: the checkpoint was replaced while the "
            "dashboard was running. Restart the dashboard to play the episode again.",
            icon=":material/warning:",
        )
    return found


def decision(session: Session, shown: Record, point: Point) -> None:
    """The selected decision: device, delay, energy, cost and regret."""
    step, user, task = point
    at, out = _index(shown, point), shown.outcome
    mine = north.regrets(*episode_args(session), step).query("user == @user and task == @task").iloc[0]
    st.markdown(
        f"**Step {step}, user {user}, task {task}: {plain(session.policy_label)} chose {device_name(int(mine['choice']))}.** "
        f"The optimum's device for it is {device_name(int(mine['optimum']))}; with everything else fixed the best device is "
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
    """The user's tasks in this step; a click on a row selects the task."""
    step, user, _ = point
    mine = north.regrets(*episode_args(session), step).query("user == @user").reset_index(drop=True)
    own = north.observed_tasks(shown, step - 1, user)

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
    selectable_tasks(
        frame, mine, session, "inspect_tasks", height=min(320, 38 + 35 * len(frame)),
        alt=f"The tasks of user {user}; select a row to look at it",
    )  # fmt: skip


REGRET = {
    "best": "By how much the total weighted cost of this step would fall if this task alone moved to the device that is best for "
    "the ward, with all other tasks fixed. 0: no device is better.",
    "optimum": "The same for the device that the optimum gives this task. It may be negative: the optimum moves other tasks too, "
    "and its device may be worse with the present choices of the others.",
}


def values(session: Session, view: InspectState, shown: Record, point: Point) -> None:
    """The Q-values of every strategy, used in eq. (17), and the true cost of every alternative."""
    found = inspection_of(session, point)
    if found is None or not found.turns:
        _no_values(session, shown, point, found)
        return
    step, user, task = point
    turns = found.task_turns(user, task, shown.snapshot.weight[step - 1])
    turn = _select_round(view, turns)
    names = _task_names(shown, point, turn.values.shape[1])
    true = north.alternatives(*episode_args(session), step, user, task)
    row, i, _ = _index(shown, point)
    own = true[:, i][:, shown.snapshot.active[row, i]]
    left, right = st.columns(2)
    with left:
        st.markdown("**What the network expects: Q of each task under each strategy**")
        shown_values = (
            turn.values[:, [n - 1 for n in _active_tasks(shown, point)]] if turn.values.shape[1] > 1 else turn.values
        )
        what = f"Q-values of task {task}'s network by strategy and task; {device_name(turn.devices[turn.choice])} is chosen"
        st.html(charts.by_strategy(shown_values.tolist(), names, turn.devices, turn.choice, what))
        st.caption("In reward, about 1 − cost. Dark is good within its column. Outlined: chosen in this round.")
    with right:
        st.markdown("**What is true: cost of each of the user's tasks under each strategy**")
        what = f"True cost of user {user}'s tasks with task {task} on each device"
        chosen, tasks = int(shown.action.choice[_index(shown, point)]), _task_names(shown, point, 2)
        st.html(charts.by_strategy(own.tolist(), tasks, turn.devices, chosen, what, good=False))
        st.caption(
            "Dark is expensive within its column. Each row computes the whole step again with only this task moved."
        )
    _choice(session, shown, point, turn, true)


def _select_round(view: InspectState, turns: list[TaskTurn]) -> TaskTurn:
    """Shows a control for the round, if there are several, and returns the chosen one; at first the last."""
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
        help="The tasks of an agent are decided in order, 1 to J; each decision knows the present devices of the others. The "
        "last round counts.",
    )  # fmt: skip
    return turns[wanted - 1]


def _index(shown: Record, point: Point) -> tuple[int, int, int]:
    """Where the tensors of the record hold this task."""
    return point[0] - 1, shown.scenario.user_numbers.index(point[1]), point[2] - 1


def _active_tasks(shown: Record, point: Point) -> list[int]:
    return [int(n) + 1 for n in shown.snapshot.active[_index(shown, point)[:2]].nonzero().flatten()]


def _task_names(shown: Record, point: Point, columns: int) -> list[str]:
    task = point[2]
    if columns == 1:
        return [f"task {task}"]
    weight = shown.snapshot.weight[_index(shown, point)[:2]]
    return [f"{'▶ ' if n == task else ''}{n} (p {float(weight[n - 1]):.2g})" for n in _active_tasks(shown, point)]


def _choice(session: Session, shown: Record, point: Point, turn: TaskTurn, true: torch.Tensor) -> None:
    """How the strategy was chosen by (17), compared with the true costs."""
    (row, i, j), task = _index(shown, point), point[2]
    weight = shown.snapshot.weight[row]
    totals = (true * weight).sum((1, 2))
    counted = turn.worth + turn.margin
    chosen = int(shown.action.choice[row, i, j])
    frame = pd.DataFrame(
        {
            "": ["➜" if k == turn.choice else "" for k in range(len(counted))],
            "strategy": [device_name(n) for n in turn.devices],
            "Σ p Q (17)": turn.worth.double().numpy(), "margin": turn.margin.double().numpy(), "counts": counted.double().numpy(),
            "expected gain": (turn.worth - turn.worth[chosen]).double().numpy(), "true gain": (totals[chosen] - totals).numpy(),
            "true cost of the task": true[:, i, j].numpy(),
            "true Σ p cost of the user": (true[:, i] * weight[i]).sum(-1).numpy(),
            "true total of the ward": totals.numpy(),
        }
    )  # fmt: skip
    before = ", ".join(f"{n}: {device_name(turn.devices[k])}" for n, k in enumerate(turn.before, 1) if n != task)
    if turn.round:
        way = f"Round {turn.round}: when task {task} was decided, the user's other tasks were on {before}."
    else:
        way = "All tasks of the user were decided at the same time, without knowing each other's choices."
    st.dataframe(frame.style.format(precision=5), hide_index=True, key="choice_table", alt="Strategies by (17)")
    st.caption(
        f"{way} The strategy with the largest value in *counts* is chosen; of equal values, the first. The server with the "
        f"fewest of the user's other tasks (in the user's own cyclic order) gets a margin of {float(turn.margin.max()):g}"
        f"{_negative_margin(turn)}: servers are similar, and agents that cannot see each other would otherwise all choose "
        "the one that seems slightly better. *Expected gain* and *true gain* are relative to the chosen device, in weighted "
        "reward and weighted cost of the whole ward; a well-trained network ranks them alike. The network did not see the "
        "tasks of other users." + _scale(session)
    )
    download(frame, "strategies", "Strategies of the task")


def _negative_margin(turn: TaskTurn) -> str:
    """The margin of all other servers as text, if it is negative."""
    least = float(turn.margin.min())
    return f", every other one of {least:g}" if least < 0 else ""


def _scale(session: Session) -> str:
    """A note on the unit of cost in the network; empty if costs are not scaled."""
    unit = north.cost_unit(session.scenario, session.shown_policy)
    return f" The network scales costs by what is typical in this scenario: its Q is about 1 − {unit:.3g} × cost." * (
        unit != 1
    )


def _no_values(session: Session, shown: Record, point: Point, found: Inspection | None) -> None:
    """For a policy without Q-values: how it decides, and the true cost of every alternative."""
    step, user, task = point
    label = plain(session.policy_label)
    if found is not None and found.numbers is not None and found.first_server is not None:
        at, devices = _index(shown, point)[1:], session.scenario.device_numbers
        k = len(devices) - 1
        x, first = float(found.numbers[at]), devices[int(found.first_server[at])]
        number = min(int(x * (k + 1)), k)
        st.info(
            f"{label} has no Q-values per strategy: its Actor outputs a number that gives the device. Here x = {x:.4f}, and "
            f"⌊x (K + 1)⌋ = ⌊{x:.4f} × {k + 1}⌋ = {number}: "
            + (
                "0 is the own device."
                if number == 0
                else f"server number {number} in the task's cyclic order, which begins with server {first}: "
                f"{device_name(devices[int(found.choice[at])])}."
            ),
            icon=":material/info:",
        )
    else:
        decides = HOW_IT_DECIDES.get(session.shown_policy, plain(entry(session.shown_policy).summary))
        st.info(
            f"{label} has no Q-values: it is not learned. {decides} "
            "Below are the true cost of every alternative and the shadow prices.",
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
        weight = float(shown.snapshot.weight[_index(shown, point)])
        out = pd.DataFrame(
            {
                **tables.alternatives_table(frame),
                "weight × cost": frame["cost"] * weight,
                "price of its resources": price,
                "sum": frame["cost"] * weight + price,
            }
        )
        st.dataframe(out.style.format(precision=4), hide_index=True, key="true_table", alt="True alternatives")
        st.caption(
            "*Price of its resources*: λ f + μ b at the shadow prices of the step, in weighted cost: what the other tasks "
            "lose. At the best decision, the chosen device has nearly the smallest value of *sum*."
        )
        download(out, "alternatives", "The alternatives of the task")


def shares(session: Session, shown: Record, point: Point) -> None:
    """The requested and the granted shares of the user's tasks and of all tasks on the chosen device."""
    step, user, task = point
    frame = north.grants(shown, step - 1)
    mine = frame[frame["user"] == user]
    rule = session.shares if session.shares != "own" else entry(session.shown_policy).sharing
    requested = entry(session.shown_policy).trained and session.shares == "own"
    st.caption(
        "The Actor knows only the user's own tasks. " + REQUESTS if requested else SHARE_WORDS.get(rule, REQUESTS)
    )
    bar_panels(charts.share_bars(mine, task), "share_bars")
    st.dataframe(_share_table(mine), hide_index=True, key="share_table", alt="Shares of the user's tasks")
    chosen = shown.scenario.device_numbers[int(shown.action.choice[_index(shown, point)])]
    there = frame[(frame["choice"] == chosen) & ((frame["user"] == user) | (chosen > 0))]
    st.markdown(f"**All tasks on {device_name(chosen)}: {len(there)}**")
    st.dataframe(_share_table(there), hide_index=True, key="share_table_device", alt=f"Tasks on {device_name(chosen)}")
    found = inspection_of(session, point)
    if found is not None and session.shares != "own":
        x, y = found.requested[_index(shown, point)[1:]].tolist()
        st.caption(
            f"Its Actor would request {x:.1%} of the CPU and {y:.1%} of the bandwidth; the setting *Shares* overrides it."
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
            f"{name} requested by all (%)": (frame[f"{kind}_requested_by_all"] * 100).round(1),
            f"{name} granted (%)": (frame[f"{kind}_granted"] * 100).round(2),
            TASK[f"{kind}_hz"].heading: (frame[f"{kind}_hz"] * TASK[f"{kind}_hz"].factor).round(3),
        }
    return pd.DataFrame(columns)


def observation(session: Session, shown: Record, point: Point) -> None:
    """The agent's observation (14) with units, and what the agent could not observe."""
    step, user, _ = point
    known = entry(session.shown_policy)
    if known.trained:
        words = "Each number enters the network scaled to about 0 to 1, as shown next to it."
        if known.network == GENERAL or _scale(session):
            words = (
                "The general network gets these numbers as costs in units of what is typical in the scenario. Batteries were "
                "ample in its training, so it assumes that they are full."
            )
    elif known.decentralised:
        words = "This policy decides for each user from these numbers and from broadcast prices; it needs no scaled numbers."
    else:
        words = "This policy is central: it knows everything on both sides of this page. An agent would know the left side only."
    st.caption(words)
    left, right = st.columns(2)
    with left:
        st.markdown(f"**What agent {user} observed, eq. (14)**")
        own, rest = north.observed_tasks(shown, step - 1, user), north.observed_rest(shown, step - 1, user)
        st.dataframe(own.style.format(precision=3), hide_index=True, key="seen_tasks", alt="Own tasks")
        st.dataframe(rest.style.format(precision=3), hide_index=True, key="seen_rest", alt="Itself and the servers")
        download(pd.concat([own, rest]), "observation", "What the agent observed")
    with right:
        hidden = north.hidden_tasks(shown, step - 1, user)
        hidden.insert(2, "device", [device_name(k) for k in hidden.pop("choice")])
        st.markdown(f"**What it could not observe: {len(hidden)} tasks of other users, their choices and requests**")
        if hidden.empty:
            st.info("There is no other user in this step.", icon=":material/info:")
        else:
            st.dataframe(
                hidden.style.format(precision=2), hide_index=True, key="unseen", alt="Others' tasks", height=420
            )
            download(hidden, "hidden", "What it could not observe")
        st.caption(
            "It did not know the fading of the channel or the load of the servers within the step either; delays are "
            "expectations (6)."
        )
