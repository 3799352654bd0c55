"""The parts of the Inspect page that show a decision: summary, Q-values, shares, observation."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st
import torch

from dashboard.chart_tables import download, page_of, selectable_tasks
from dashboard.following import known_by_now
from dashboard.inspect.state import InspectState, state
from dashboard.plotly_chart import charts_beside
from dashboard.session import Point, Session
from dashboard.text import plain, show_errors
from dashboard.widgets import synced
from iomt_core.charts import inspection as charts
from iomt_core.charts import tables
from iomt_core.charts import tasks as task_charts
from iomt_core.charts.formulas import Formula
from iomt_core.experiments.around import Request
from iomt_core.experiments.inspected import step_inspection
from iomt_core.metrics import TASK
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import GENERAL, entry
from iomt_core.twin import northbound_inspect as north
from iomt_core.twin.moves import SKIPPED, UNKNOWN
from iomt_core.twin.northbound import place_name, share_rule, why
from iomt_core.twin.northbound_inspect import Inspection, TaskTurn

SHARE_WORDS = {
    "planned": "Shares are the best for these choices, with what energy costs later and within the deadlines.",
    "equal": "Shares are even: each task gets the same part of its device, whatever an Actor would request.",
    "optimal": "Shares are the best for these choices, computed with full information.",
}
MOST_VALUES = 50_000  # tasks times devices of a step; with more, the page does not wait for a policy's networks
REQUESTS = "Every user requests shares for itself; if the requests exceed a device, all are scaled down in proportion."
HOW_IT_DECIDES = {
    "optimum": "It knows all tasks of the episode in advance and plans all users' choices together, with the price of each "
    "user's battery, so that the charge lasts and tasks are in time.",
    "optimum-causal": "It searches all users' choices of the step together. Of later steps it knows only how the ward is on "
    "average, which gives the price of each user's battery.",
    "optimum-step": "It searches all users' choices of the step together for the lowest weighted cost, starting from the shadow "
    "prices. It knows neither batteries nor deadlines.",
    "price-response": "Each user chooses, by itself, the cheapest devices at the servers' mean shadow prices, changed as the "
    "capacities that all users see change, and the price of its own battery, which rises when it is behind its plan.",
    "greedy": "It gives one task after another the device that is cheapest now, knowing which tasks each device already has.",
    "greedy-saving": "It decides as greedy does, but a user spends at most an even part of its remaining battery in a step.",
    "nearest": "It uses distances only.",
}


def episode_args(session: Session) -> dict[str, Any]:
    """The arguments that identify the shown episode in the northbound interface, as far as it is known."""
    return {
        "s": session.scenario, "policy": session.shown_policy, "seed": session.seed, "shares": session.shares,
        "seen": state(session).seen,
    }  # fmt: skip


def formula_block(formulas: list[Formula]) -> None:
    """Shows formulas with numbers inserted; the number of the equation or constraint is on hover."""
    for f in formulas:
        kind = "Equation" if f.number.startswith("(") else "Constraint" if f.number.startswith("C") else ""
        st.markdown(
            f"**{f.what[:1].upper()}{f.what[1:]}**\n\n$${f.latex}$$", help=f"{kind} {f.number}" if kind else None
        )


def subtitle(session: Session, point: Point) -> str:
    """What decides, in which ward, and the step and user that a chart is about."""
    return f"{session.title} · step {point[0]}, user {point[1]}"


def full_colour(shown: Record, point: Point) -> float:
    """The difference in cost that has the darkest colour in this step."""
    row = point[0] - 1
    return charts.FULL * float(shown.outcome.cost[row][shown.snapshot.active[row]].mean())


def inspection_of(session: Session, point: Point) -> Inspection | None:
    """The values and requests of the policy's networks in the step; None if the policy has no networks.

    In a very large ward they are computed beside the dashboard; until they are there, what follows on the page waits.
    """
    s, policy = session.scenario, session.shown_policy
    if not entry(policy).trained:
        return None
    if s.users * s.tasks * (s.servers + 1) <= MOST_VALUES:
        found = north.inspect_step(**episode_args(session), step=point[0])
    else:
        request = Request.of(step_inspection, s, policy, session.shares, session.seed, *point[:2], quick=True)
        found = known_by_now("networks", "The networks of all users in this step", request)
        if found is None:
            st.stop()
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
    mine = north.regrets(**episode_args(session), step=step, user=user).query("task == @task").iloc[0]
    st.markdown(
        f"**Step {step}, user {user}, task {task}: {plain(session.policy_label)} chose {place_name(int(mine['choice']))}.** "
        f"{_of_optimum(int(mine['optimum']))}ith everything else fixed the best device is {place_name(int(mine['best']))}."
    )
    delay = math.nan if bool(out.skipped[at]) else float(out.delay[at])
    of_task = {"delay_s": delay, "energy_j": float(out.energy[at]), "cost": float(out.cost[at])}
    cells = (
        *((TASK[name].label, TASK[name].show(value), TASK[name].sentence) for name, value in of_task.items()),
        ("Regret", f"{mine['regret_best']:.4f}", REGRET["best"]),
    )
    with st.container(key="headline"):
        for label, value, text in cells:
            st.metric(label, value, border=True, help=text)
    _tasks(session, shown, point)


def _of_optimum(number: int) -> str:
    """The beginning of a sentence about the optimum's device; of a large ward it may not be known yet."""
    return "W" if number == UNKNOWN else f"The optimum's device for it is {place_name(number)}; w"


def _tasks(session: Session, shown: Record, point: Point) -> None:
    """The user's tasks in this step; a click on a row selects the task."""
    (row, i, _), (step, user, _) = _index(shown, point), point
    mine = north.regrets(**episode_args(session), step=step, user=user)
    frame = pd.DataFrame(
        {
            "task": [f"➜ {t}" if t == point[2] else str(t) for t in mine["task"]],
            "chosen": [place_name(k) for k in mine["choice"]],
            "optimum's": [place_name(k) for k in mine["optimum"]],
            "cost": mine["cost"].round(4),
            "regret": mine["regret_best"].round(4),
            "priority": shown.snapshot.P[row, i][shown.snapshot.active[row, i]].int(),
        }
    )
    selectable_tasks(
        frame, mine, session, "inspect_tasks", height=min(320, 38 + 35 * len(frame)),
        alt=f"The tasks of user {user}; select a row to look at it",
    )  # fmt: skip


SHORT = {0: "own", SKIPPED: "skipped"}
# Headings of what an agent observes of a task, by symbol.
HEADS = {
    TASK["data_bits"].symbol_heading: "data (KB)", TASK["cycles"].symbol_heading: "kcycles", "P": "priority",
    TASK["deadline_s"].symbol_heading: "T_max (ms)",
}  # fmt: skip
WIDE = ("T_max (ms)",)  # headings that need a wider column
REGRET = {
    "best": "By how much the total weighted cost of this step, and what its energy costs later, would fall if this task alone "
    "moved to the device that is best for the ward, with all other tasks fixed. 0: no device is better.",
    "optimum": "The same for the device that the optimum gives this task. It may be negative: the optimum moves other tasks too, "
    "and its device may be worse with the present choices of the others.",
}


def values(session: Session, view: InspectState, shown: Record, point: Point) -> None:
    """What the network expects of every device for the task, and the true cost of each."""
    found = inspection_of(session, point)
    if found is None or not found.turns:
        _no_values(session, shown, point, found)
        return
    step, user, task = point
    st.markdown(
        f"Each row is a device for task {task}, each column a task of user {user}. One map has what the network expects each "
        "task to be worth (about 1 - cost), the other what each task would truly cost, with the whole step computed again. The "
        "darker, the worse compared with the column's best device; the colour is full at half the step's mean task cost, so that "
        "differences too small to matter stay pale. The chosen device is outlined; click a cell to select its task.",
        help="Expected: the Q-values of eq. (17). True: eqs. (1) to (10) and the cost behind (11).",
    )
    turns = found.task_turns(user, task, shown.snapshot.weight[step - 1])
    turn = _select_round(view, turns)
    true = north.alternatives(**episode_args(session), step=step, user=user, task=task)
    row, i, j = _index(shown, point)
    active = shown.snapshot.active[row, i]
    points = [(step, user, int(n) + 1) for n in active.nonzero().flatten()]
    own, words, full = true[:, i][:, active], subtitle(session, point), full_colour(shown, point)
    alone = turn.values.shape[1] == 1  # a network that values only its own task
    shown_columns = active & torch.tensor(turn.valued)
    at = [one for one, valued in zip(points, shown_columns[active].tolist(), strict=True) if valued]
    expected, at = (turn.values, [point]) if alone else (turn.values[:, shown_columns], at)
    unit, chosen = north.cost_unit(session.scenario, session.shown_policy), int(shown.action.choice[row, i, j])
    figures = (
        charts.by_device(expected.tolist(), at, task, turn.devices, turn.choice, full * unit, True, words),
        charts.by_device(own.tolist(), points, task, turn.devices, chosen, full, False, words),
    )
    charts_beside(figures, "inspect_values", session.pick)
    _choice(session, shown, point, turn, len(turns), true)


def _select_round(view: InspectState, turns: list[TaskTurn]) -> TaskTurn:
    """Shows a control for the round or move, if there are several, and returns the chosen one; at first the last."""
    if len(turns) == 1:
        return turns[0]

    def update() -> None:
        chosen = st.session_state["inspect_round"]
        view.round = 0 if chosen == len(turns) else int(chosen)

    wanted = view.round if 1 <= view.round <= len(turns) else len(turns)
    words = (
        "In every round the tasks of an agent are decided one after another, each knowing where the others are now. "
        f"Round {len(turns)} is final."
    )
    if turns[0].mover is not None:
        words = "Before every move all tasks of the user are valued; the one that gains most moves, until none gains."
    st.segmented_control(
        "Round" if turns[0].mover is None else "Move", range(1, len(turns) + 1), default=wanted,
        **synced("inspect_round", wanted, update), required=True,
        format_func=lambda n: f"{n} (final)" if n == len(turns) else str(n),
        help=words,
    )  # fmt: skip
    return turns[wanted - 1]


def _index(shown: Record, point: Point) -> tuple[int, int, int]:
    """Where the tensors of the record hold this task."""
    return point[0] - 1, shown.scenario.user_numbers.index(point[1]), point[2] - 1


def _choice(
    session: Session, shown: Record, point: Point, turn: TaskTurn, rounds: int, true: torch.Tensor
) -> None:  # fmt: skip
    """How the device was chosen, compared with the true costs."""
    (row, i, j), task = _index(shown, point), point[2]
    weight = shown.snapshot.weight[row]
    totals = (true * weight).sum((1, 2))
    score = turn.worth + turn.margin
    chosen = int(shown.action.choice[row, i, j])
    devices, columns = range(len(score)), st.column_config.NumberColumn
    frame = pd.DataFrame(
        {
            "": ["➜" if k == turn.choice else "" for k in devices], "device": [device_name(n) for n in turn.devices],
            "score": score.double().numpy(), "expected gain": (turn.worth - turn.worth[chosen]).double().numpy(),
            "true gain": (totals[chosen] - totals).numpy(), "task's true cost": true[:, i, j].numpy(),
            "user's true cost": (true[:, i] * weight[i]).sum(-1).numpy(), "ward's true cost": totals.numpy(),
            "expected value": turn.worth.double().numpy(), "margin": turn.margin.double().numpy(),
        }
    )  # fmt: skip
    notes = {
        "score": "Expected value plus margin: the highest score wins; of equal scores, the first. Where the largest gain moves "
        "next, a task's gain is its highest score minus that of the device that it is on.",
        "expected gain": "What the network expects to gain compared with the chosen device, in weighted reward.",
        "true gain": "By how much the ward's weighted cost would truly fall compared with the chosen device.",
        "user's true cost": "Sum of the costs of the user's tasks, each times its weight p.",
        "ward's true cost": "Sum of the costs of all users' tasks, each times its weight p.",
        "expected value": "Sum of the expected values of the user's tasks, each times its weight p: eq. (17).",
        "margin": "Added for the server with the fewest of the user's other tasks, in the user's own cyclic order.",
    }
    config = {
        name: columns(help=notes.get(name), format="%.5f")
        for name in frame.columns[2:]
    }  # fmt: skip
    st.dataframe(frame, hide_index=True, key="choice_table", column_config=config, alt="Devices by their score")
    before = ", ".join(f"task {n} on {device_name(turn.devices[k])}" for n, k in enumerate(turn.before, 1) if n != task)
    if turn.mover is not None:
        way = _move_words(turn, task, before)
    elif turn.round:
        way = f"Round {rounds} is final; the highest score wins."
        way += (
            f" When task {task} was decided in round {turn.round}, the user's other tasks were: {before}."
            if before
            else ""
        )
    else:
        way = "The highest score wins. All tasks of the user were decided at the same time, without knowing each other's devices."
    st.caption(
        f"{way} The margin ({float(turn.margin.max()):g}{_negative_margin(turn)}) keeps agents that cannot see each other from "
        "all choosing the server that seems slightly better. A well-trained network ranks the devices as the true gains do, "
        "although it does not see the tasks of other users." + _scale(session)
    )
    download(frame, "strategies", "Devices by their score")


def _move_words(turn: TaskTurn, task: int, before: str) -> str:
    """What happened in one step of a search in which the task that gains most moves, in words."""
    others = f" The user's other tasks are: {before}." if before else ""
    if turn.mover == 0:
        return f"No task of the user gains by moving, so this is final.{others}"
    now = device_name(turn.devices[turn.choice])
    if turn.mover == task:
        return (
            f"Of all tasks of the user, task {task} gains most by moving: it moves to {now}, its highest score.{others}"
        )
    return f"Task {turn.mover} gains more by moving, so it moves and task {task} stays on {now} for now.{others}"


def _negative_margin(turn: TaskTurn) -> str:
    """The margin of all other servers as text, if it is negative."""
    least = float(turn.margin.min())
    return f", for every other server {least:g}" if least < 0 else ""


def _scale(session: Session) -> str:
    """A note on the unit of cost in the network; empty if costs are not scaled."""
    unit = north.cost_unit(session.scenario, session.shown_policy)
    return f" This network counts costs in units of what is typical here: it expects about 1 - {unit:.3g} × cost." * (
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
    charts_beside(task_charts.alternatives(frame, subtitle(session, point)), "inspect_alternatives")
    price = frame["cpu_price"] * frame["cpu_hz"] + (frame["bandwidth_price"] * frame["bandwidth_hz"]).fillna(0.0)
    weight = float(shown.snapshot.weight[_index(shown, point)])
    out = pd.DataFrame(
        {
            **tables.alternatives_table(frame),
            "weight × cost": frame["cost"] * weight,
            "price of its resources": price,
            "sum": frame["cost"] * weight + frame["energy_later"] + price,
        }
    )
    st.dataframe(out.style.format(precision=4), hide_index=True, key="true_table", alt="True alternatives")
    st.caption(
        "*Its energy costs later*: κ E at the price of the user's battery, 0 where that is not short. *Price of its resources*: "
        "λ f + μ b at the shadow prices of the step: what the other tasks lose. All in weighted cost. At the best decision, the "
        "chosen device has nearly the smallest value of *sum*."
    )
    download(out, "alternatives", "The alternatives of the task")


def shares(session: Session, shown: Record, point: Point) -> None:
    """The requested and the granted shares of the user's tasks and of all tasks on the chosen device."""
    step, user, task = point
    frame = north.grants(shown, step - 1)
    mine = frame[frame["user"] == user]
    rule = share_rule(session.shown_policy, session.shares)
    requested = entry(session.shown_policy).trained and session.shares == "own"
    st.markdown(
        f"How much of its device's CPU and bandwidth each task of user {user} requested and got. "
        + ("The network knows only the user's own tasks. " + REQUESTS if requested else SHARE_WORDS.get(rule, REQUESTS))
        + " Colours are those of the devices on the map; click a bar to select its task.",
        help="A device grants at most all of its CPU and bandwidth: constraints C2 to C4.",
    )
    words = subtitle(session, point)
    figures = [charts.share_bars(mine, kind, task, step, words) for kind in ("cpu", "bandwidth")]
    charts_beside(figures, "inspect_shares", session.pick)
    st.dataframe(_share_table(mine), hide_index=True, key="share_table", alt="Shares of the user's tasks")
    chosen = int(mine.loc[mine["task"] == task, "choice"].iloc[0])
    there = frame[(frame["choice"] == chosen) & ((frame["user"] == user) | (chosen > 0))]
    where = "that are skipped" if chosen == SKIPPED else f"on {device_name(chosen)}"
    st.markdown(f"**All tasks {where}: {len(there)}**")
    st.dataframe(_share_table(there), hide_index=True, key="share_table_device", alt=f"Tasks {where}")
    found = inspection_of(session, point)
    if found is not None and session.shares != "own":
        x, y = found.requested[_index(shown, point)[1:]].tolist()
        st.caption(
            f"The network would request {x:.1%} of the CPU and {y:.1%} of the bandwidth; the setting *Shares* overrides it."
        )
    download(frame, "shares", "Shares of all tasks")


def _share_table(frame: pd.DataFrame) -> Any:
    columns: dict[str, Any] = {
        "user": frame["user"],
        "task": frame["task"],
        "device": map(place_name, frame["choice"]),
    }
    kinds = (("cpu", "CPU"), ("bandwidth", "bandwidth"))
    for kind, name in kinds:
        columns |= {f"{name} {word}": frame[f"{kind}_{word}"] * 100 for word in ("requested", "granted")}
    for kind, name in kinds:
        columns[f"{name} (MHz)"] = frame[f"{kind}_hz"] * TASK[f"{kind}_hz"].factor
    for kind, name in kinds:
        columns[f"all requests of {name}"] = frame[f"{kind}_requested_by_all"] * 100
    table = pd.DataFrame(columns)
    shares: dict[Any, Any] = {name: "{:.1f} %" for name in table if "request" in str(name) or "granted" in str(name)}
    return table.style.format(shares, na_rep="–").format(
        precision=1, na_rep="–", subset=["CPU (MHz)", "bandwidth (MHz)"]
    )


def observation(session: Session, shown: Record, point: Point) -> None:
    """The agent's observation (14) with units, and what the agent could not observe."""
    step, user, _ = point
    known = entry(session.shown_policy)
    if known.trained:
        words = "Each number enters the network scaled to about 0 to 1, as shown beside it."
        if known.network == GENERAL or _scale(session):
            words = "The network scales them by what is typical in the scenario, and assumes full batteries, as in its training."
    elif known.decentralised:
        words = "This policy decides for each user from these numbers and from the prices that servers broadcast."
    else:
        words = "This policy is central: it knows both. An agent would know only the first."
    st.markdown(
        f"All that agent {user} knows when it decides, and what it cannot know: the tasks of the other users. {words}",
        help="The observation of eq. (14). The agent does not know the fading of the channel or the load of the servers within "
        "the step either; delays are expectations, eq. (6).",
    )
    own, rest = north.observed_tasks(shown, step - 1, user), north.observed_rest(shown, step - 1, user)
    hidden = north.hidden_tasks(shown, step - 1, user)
    heads = {head: words for head, words in HEADS.items() if head in own}  # deadlines only where they differ
    rows = 38 + 35 * len(own), 38 + 35 * len(rest)  # px, heights of the two tables on the left
    with st.container(key="wide_observation"):
        with st.container():
            st.markdown(f"**What agent {user} observed**")
            order = ["task", *(part for head in heads for part in (head, f"{head.split()[0]} observed"))]
            width, scaled = (72, 60) if len(heads) == 3 else (70, 52)  # px, so that the table fits
            config = {
                head: st.column_config.Column(words, width=width + 6 * (words in WIDE)) for head, words in heads.items()
            }
            config |= {head: st.column_config.Column("scaled", width=scaled) for head in order[2::2]}
            config["task"] = st.column_config.Column(width=48)
            st.dataframe(
                own.style.format(precision=2), hide_index=True, key="seen_tasks", alt="Own tasks", height=rows[0],
                column_order=order, column_config=config,
            )  # fmt: skip
            rest = rest.rename(columns={"observed": "scaled"})
            st.dataframe(
                rest.style.format(precision=3),
                hide_index=True,
                key="seen_rest",
                alt="Itself and the servers",
                height=rows[1],
            )
            download(pd.concat([own, rest]), "observation", "What the agent observed")
        with st.container():
            st.markdown(f"**What it could not observe: {len(hidden)} tasks of other users**")
            if hidden.empty:
                st.info("There is no other user in this step.", icon=":material/info:")
            else:
                tasks = [f"{i}.{j}" for i, j in zip(hidden["user"], hidden["task"], strict=True)]
                table = pd.DataFrame({"user.task": tasks, "device": [SHORT.get(k, f"S{k}") for k in hidden["choice"]]})
                requests = {f"{name} requested (%)": f"{name} (%)" for name in ("CPU", "bandwidth")}
                table = page_of(table.join(hidden[[*heads, *requests]].rename(columns=heads | requests)), "unseen_page")
                st.dataframe(
                    table.style.format(precision=1, na_rep="–"), hide_index=True, key="unseen",
                    height=min(sum(rows) + 16, 38 + 35 * len(hidden)),
                    column_config={n: st.column_config.Column(width=76 if n in WIDE else 62) for n in table.columns[:-1]},
                    alt="Others' tasks, their devices and requests",
                )  # fmt: skip
                download(hidden, "hidden", "What it could not observe")
