"""Decisions that differ between A and B: on the two maps, in a table, and the alternatives of one task on both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard.chart_tables import csv_button, selectable_tasks
from dashboard.compare.state import Compare
from dashboard.compare.views import sides_words
from dashboard.explore.views import best_move, later_words
from dashboard.plotly_chart import charts_beside, plotly_chart
from dashboard.session import Point, Session
from dashboard.text import plain
from dashboard.ward_map import ward_map
from dashboard.widgets import synced
from iomt_core.charts import tasks as task_charts
from iomt_core.charts.city_map import city_map, is_crowded
from iomt_core.charts.forest import flow_map
from iomt_core.charts.tables import alternatives_table, changes_table
from iomt_core.charts.ward_map import ward_frames, ward_text
from iomt_core.experiments.comparison.decisions import busiest_flows, changed_decisions, flows, marks
from iomt_core.experiments.comparison.differences import Pairing
from iomt_core.experiments.comparison.sides import Side
from iomt_core.metrics import TASK
from iomt_core.model.snapshot import device_name
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import describe, policy_label
from iomt_core.twin.moves import SKIPPED
from iomt_core.twin.northbound import place_name, why

MOST_ROWS = 2000
MOST_DEVICES = 26  # on the map of moves
KINDS = {"all": "all", "moved": "own device ↔ server", "server": "server → other server"}


def maps(session: Session, sides: tuple[Side, Side], records: tuple[Record, Record], comparable: bool) -> None:
    """The two wards side by side, stepping together; a dashed ring marks tasks that the two sides decide differently."""
    step = min(session.step, max(int(r.step.max()) for r in records))
    if any(is_crowded(side.scenario) for side in sides):
        _city_maps(session, sides, records, step)
        return
    shown = []
    for n, (name, side, record) in enumerate(zip("AB", sides, records, strict=True)):
        other = records[1 - n]
        frames = ward_frames(record)
        if comparable:
            changed = marks(record, other)
            names = [device_name(n) for n in range(other.scenario.ward_servers + 1)] + ["skipped"]
            frames |= {"changed": changed, "other": "BA"[n], "other_names": names}
        row = min(step, len(record)) - 1
        text = f"Side {name}. {ward_text(record, row)}"
        if comparable:
            text += f" {sum(k >= 0 for user in changed[row] for k in user)} tasks are decided differently on the other side."
        shown.append((f"{name}: {policy_label(side.policy)} on {side.scenario.name}", frames, text))

    ward_map(shown, step, session, "compare_maps")


def _city_maps(session: Session, sides: tuple[Side, Side], records: tuple[Record, Record], step: int) -> None:
    """The same of crowded wards: sites by their load, with a control for the step."""
    figures = []
    for name, side, record in zip("AB", sides, records, strict=True):
        words = f"{name}: {policy_label(side.policy)} on {side.scenario.name} · step {step}"
        figures.append(city_map(side.scenario, record, min(step, len(record)) - 1, None, words))
    charts_beside(figures, "compare_city")

    def set_step() -> None:
        session.step = int(st.session_state["compare_step"])

    last = max(len(record) for record in records)
    if last > 1:
        st.slider("Step", 1, last, step, **synced("compare_step", step, set_step))


def shown_episode(state: Compare, number: int, done: int) -> None:
    """A control for the episode that the maps and tables show: `number` now, of the `done` episodes played so far."""

    def update() -> None:
        state.shown = int(st.session_state["compare_shown"])

    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.markdown("**One episode, step by step**", width="content")
        st.number_input(
            "Episode shown", 1, done, number, **synced("compare_shown", number, update), step=1, width=150,
            help="Maps, tables of decisions and the selected task are of this episode; the metrics above are of all episodes.",
        )  # fmt: skip


def picked_task(session: Session, records: tuple[Record, Record]) -> None:
    """What both sides did with the selected task, in a sentence."""
    if session.picked is None:
        st.info(
            "Click a task on a map or a row of the table to see what both sides did with it.",
            icon=":material/touch_app:",
        )
        return
    parts, costs = [], []
    for name, record in zip("AB", records, strict=True):
        found = _task(record, session.picked)
        if found is None:
            parts.append(f"**{name}** has no such task, or its episode had ended")
            continue
        costs.append(found["cost"])
        numbers = f"{TASK['delay_s'].show(found['delay'])}, {TASK['energy_j'].show(found['energy'])}, "
        parts.append(
            f"**{name}**: {place_name(int(found['choice']))}, {'' if found['choice'] == SKIPPED else numbers}cost "
            f"{TASK['cost'].show(found['cost'])}"
        )
    step, user, task = session.picked
    change = f" Cost changes by {costs[1] - costs[0]:+.4f}." if len(costs) == 2 else ""
    st.markdown(f"Task {task} of user {user} in step {step}. {parts[0]}; {parts[1]}.{change}")


def _task(record: Record, point: Point) -> dict[str, float] | None:
    step, user, task = point
    s, out = record.scenario, record.outcome
    if step > len(record) or user not in s.user_numbers or task > s.tasks:
        return None
    at = (step - 1, s.user_numbers.index(user), task - 1)
    if not record.snapshot.active[at]:
        return None
    device = SKIPPED if bool(out.skipped[at]) else s.device_numbers[int(record.action.choice[at])]
    return {
        "choice": device,
        "delay": float(out.delay[at]),
        "energy": float(out.energy[at]),
        "cost": float(out.cost[at]),
    }


def changed_table(session: Session, number: int, sides: tuple[Side, Side], records: tuple[Record, Record]) -> None:
    """The tasks that A and B decide differently, in the step on the maps or in the whole episode."""
    table = changed_decisions(*records)
    local = (table["choice_a"] == 0) | (table["choice_b"] == 0)
    counts = {"all": len(table), "moved": int(local.sum()), "server": int((~local).sum())}
    left, right = st.columns([3, 2])
    with left:
        kind = st.segmented_control(
            "Changes", list(KINDS), default="all", required=True, key="compare_kind",
            format_func=lambda k: f"{KINDS[k]} ({counts[k]})",
            help="The servers of a scenario are often alike. A move from one server to another may mean little; a move between "
            "own device and server always matters.",
        )  # fmt: skip
    with right:
        whole = st.toggle("Whole episode", True, key="compare_whole", help="Off: only the step on the maps.")
    keep = {"all": local | ~local, "moved": local, "server": ~local}[kind or "all"]
    if not whole:
        keep &= table["step"] == session.step
    shown = table[keep].reset_index(drop=True)
    if shown.empty:
        st.info("No decision of this kind differs.", icon=":material/drag_handle:")
        return

    numbers = changes_table(shown)
    columns: dict[str, Any] = {
        str(name): st.column_config.NumberColumn(format="%.4g") for name in numbers if numbers[name].dtype == float
    }
    selectable_tasks(
        numbers.head(MOST_ROWS), shown, session, "compare_changed", column_config=columns,
        alt="Tasks that A and B decide differently", height=min(400, 38 + 35 * len(shown)),
    )  # fmt: skip
    more = f" The {MOST_ROWS} largest of {len(shown)} are shown; the file has all." if len(shown) > MOST_ROWS else ""
    st.caption(f"Episode {number}; the largest change of weighted cost first. Click a column's head to sort.{more}")
    who = {f"policy_{name.lower()}": policy_label(side.policy) for name, side in zip("AB", sides, strict=True)}
    file = f"changed-decisions-episode-{number}.csv"
    csv_button("Download these (CSV)", lambda: shown.assign(**who).to_csv(index=False), file)


def flow(sides: tuple[Side, Side], records: tuple[Record, Record], number: int) -> None:
    """How many tasks are on each device in A, by their device in B."""
    counts = flows(*records)
    drawn = counts if max(counts.shape) <= MOST_DEVICES else busiest_flows(counts, MOST_DEVICES)
    st.markdown(
        "How many tasks ran on a device in A (rows) and on one in B (columns). On the outlined diagonal both decide alike; the "
        "darker another cell, the more tasks moved."
    )
    plotly_chart(flow_map(drawn, f"{sides_words(sides)} · episode {number}"), "compare_flow")
    if len(drawn) < len(counts):
        st.caption(f"The {len(drawn)} devices that most tasks move from or to, of {len(counts)}. The table has all.")
    with st.expander("As a table"):
        table = counts.rename_axis("A \\ B").reset_index()
        st.dataframe(table, hide_index=True, alt="Number of tasks by their device in A and in B")
        csv_button("Download (CSV)", table.to_csv(index=False), "devices-a-b.csv")


def alternatives(session: Session, number: int, sides: tuple[Side, Side], records: tuple[Record, Record]) -> None:
    """The alternatives of the selected task on both sides; each is a full recomputation of its step."""
    if session.picked is None:
        st.info("Select a task on a map or in the table first.", icon=":material/touch_app:")
        return
    with st.container(key="wide_alternatives"):
        for name, side, record in zip("AB", sides, records, strict=True):
            with st.container():
                _alternatives(session.picked, number, name, side, record)


def _alternatives(point: Point, number: int, name: str, side: Side, record: Record) -> None:
    try:
        answer = why(record, side.policy, side.shares, *point, episode=number)
    except ScenarioError as error:
        st.info(plain(f"{name}: {error}"))
        return
    frame = answer.alternatives
    step, user, task = point
    words = f"{name}: {describe(side.policy, side.scenario)} · episode {number}, step {step}, user {user}, task {task}"
    cost = float(frame["cost"][frame["chosen"]].iloc[0])
    where = "skipped" if answer.chosen == SKIPPED else f"on {device_name(answer.chosen)}"
    st.markdown(f"**{name}**: {where} it costs {cost:.4f}; {plain(f'{best_move(frame)}.{later_words(frame, user)}')}")
    charts_beside(task_charts.alternatives(frame, words), f"compare_why_{name}")
    table = alternatives_table(frame)
    st.dataframe(table, hide_index=True, alt=f"The task's alternatives on side {name}", key=f"compare_why_table_{name}")
    csv_button(f"Download {name} (CSV)", table.to_csv(index=False), f"alternatives-{name}.csv")


def tabs(
    session: Session, number: int, sides: tuple[Side, Side], records: tuple[Record, Record], pairing: Pairing,
    more: Callable[[], None],
) -> None:  # fmt: skip
    """Tabs; only the open one is computed. `more` shows the episodes."""
    names = ["Decisions that changed", "Where tasks moved", "Selected task", "Episode by episode"]
    missing = "Decisions cannot be compared one to one here: the two scenarios do not have the same tasks."
    for tab, name in zip(st.tabs(names, key="compare_tabs", on_change="rerun"), names, strict=True):
        if not tab.open:
            continue
        with tab:
            if name == names[3]:
                more()
            elif name == names[2]:
                alternatives(session, number, sides, records)
            elif not pairing.comparable:
                st.info(missing, icon=":material/link_off:")
            elif name == names[1]:
                flow(sides, records, number)
            else:
                changed_table(session, number, sides, records)
