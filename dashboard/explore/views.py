"""The parts of the Explore page: each function shows one thing."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table, csv_button, file_words, selectable_tasks
from dashboard.drawings import bar_panels, delay_bars, draw
from dashboard.policy_notes import policy_replaced
from dashboard.session import Session, policy_label
from dashboard.text import plain
from dashboard.ward_map import ward_map
from iomt_core.charts import comparison, tables
from iomt_core.charts import tasks as task_charts
from iomt_core.charts.devices import price_bars, utilisation
from iomt_core.charts.fading import fading
from iomt_core.charts.ward_map import ward_frames, ward_text
from iomt_core.experiments.comparison.differences import differences
from iomt_core.experiments.evaluation import evaluate_episode
from iomt_core.metrics import METRICS, TASK
from iomt_core.model.snapshot import device_name
from iomt_core.policies.registry import POLICIES
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import default_policy, entry, usable_policy, why_not
from iomt_core.twin.northbound import Why, play, why

HEADLINE = ("mean_delay_s", "mean_energy_j", "cost", "deadline_miss_share", "gap")
GAP_HELP = (
    "No policy can cost less than the certified bound, so this policy is **at most** this far from the best possible. Part of "
    "the gap is slack in the bound: most where there are few tasks, so even the true optimum then shows a gap. The bound is of "
    "each step by itself and does not include the battery over the episode (C5)."
)


def record(session: Session) -> Record:
    """The episode shown."""
    return play(session.scenario, session.shown_policy, session.seed, session.shares)


def results(session: Session) -> dict[str, dict[str, Any]]:
    """The metrics of the compared policies by name: the default one if it can decide here, the shown one, and all heuristics.

    The shown policy has the share rule of the session.
    """
    s, shown = session.scenario, session.shown_policy
    return {
        n: evaluate_episode(s, n, session.seed, session.shares if n == shown else "own")
        for n in dict.fromkeys((usable_policy(default_policy(), s), shown, *POLICIES))
    }


def headline(session: Session, now: dict[str, Any]) -> None:
    """Five metrics of the episode, each with its change from the pinned scenario.

    Changes are graded as better or worse only if both wards have the same users with the same number of tasks.
    """
    p = session.pinned
    then = evaluate_episode(p.scenario, p.policy, p.seed, p.shares) if p else None
    graded = p is not None and all(getattr(p.scenario, n) == getattr(session.scenario, n) for n in ("users", "tasks"))
    for column, name in zip(st.columns(len(HEADLINE)), HEADLINE, strict=True):
        metric, delta = METRICS[name], None
        if then is not None:
            difference = metric.show_difference(now[name] - then[name], now[name])
            delta = difference if graded else f"pinned: {metric.show(then[name])}"
        changed = graded and delta is not None and not delta.startswith(("±", "about"))
        column.metric(
            metric.label, metric.show(now[name]), delta, border=True, help=GAP_HELP if name == "gap" else metric.sentence,
            delta_color="inverse" if changed else "off", delta_arrow="auto" if changed else "off",
        )  # fmt: skip
    if p is not None:
        if not graded:
            st.caption(
                f"**Not comparable**: the pinned ward has {p.scenario.size_words}, this one {session.scenario.size_words}. Its "
                "figures are shown without a grade."
            )
        changes = [plain(f"{d.label} {d.a} → {d.b}") for d in differences(p.scenario, session.scenario)]
        labels = policy_label(p.policy), session.policy_label
        if labels[0] != labels[1] or p.shares != session.shares:
            changes.insert(0, f"policy {plain(labels[0])} → {plain(labels[1])}")
        if p.seed != session.seed:
            changes.append(f"episode seed {p.seed} → {session.seed}")
        st.caption("Against the pinned scenario: " + ("; ".join(changes) if changes else "nothing differs yet") + ".")


def warnings(session: Session, shown: Record) -> None:
    """Warnings: the chosen policy cannot decide here, it has collapsed, or the episode ended early."""
    policy_replaced(session)
    s, trained = session.scenario, entry(session.shown_policy).trained  # heuristics may do so on purpose
    if trained and shown.collapse and shown.collapse != play(s, "optimum", session.seed).collapse:
        words = f"{session.policy_label} has collapsed: it {shown.collapse}, which the optimum does not."
        st.warning(plain(words), icon=":material/warning:")
    if bool(shown.ended.any()):
        last = int(shown.step.max())
        left = shown.snapshot.battery[-1] - shown.outcome.energy[-1].sum(-1)
        empty = ", ".join(str(s.user_numbers[i]) for i in (left < 0).nonzero().flatten().tolist())
        st.warning(
            f"The episode ended in step {last} of {s.T}: the battery of user {empty} could not pay (C5).",
            icon=":material/battery_alert:",
        )


def ward(session: Session, shown: Record) -> None:
    """The map of the ward, which can play the episode."""
    row = _row(session, shown)

    maps = [("", ward_frames(shown, session.policy_label), ward_text(shown, row))]
    ward_map(maps, int(shown.step[row]), session, "ward")
    chart_table("ward", lambda: tables.ward_table(shown, row), "Places of users and servers, and the tasks of each")


def _row(session: Session, shown: Record) -> int:
    """Row of the selected step; the last row if the episode ended before it."""
    return min(session.step, len(shown)) - 1


def policies(session: Session, now: dict[str, dict[str, Any]]) -> None:
    """The cost of all policies in this scenario and seed, with the bound as a line."""
    labels = {n: policy_label(n) for n in now}
    by_label = {labels[n]: values for n, values in now.items()}
    pinned = None
    if session.pinned is not None:
        p = session.pinned
        pinned = {
            labels[n]: evaluate_episode(p.scenario, n, p.seed, p.shares if n == p.policy else "own")["cost"]
            for n in now
            if not why_not(n, p.scenario)
        }
    draw("policy_bars", comparison.policy_bars(by_label, labels["optimum"], session.policy_label, pinned))
    chart_table("policies", lambda: tables.policy_table(by_label, pinned), "Cost and gap of every policy")


def selected_task(session: Session, shown: Record) -> Why | None:
    """Explains why the selected task runs on its device: text and a chart."""
    if session.picked is None:
        st.info(
            "Click a task (a small mark on the map, a bar, or a row below) to see why it runs on its device. With the keyboard: "
            "Tab to the map, arrow keys to the task, Enter.",
            icon=":material/touch_app:",
        )
        return None
    step, user, task = session.picked
    try:
        answer = why(shown, session.shown_policy, session.shares, step, user, task)
    except ScenarioError as error:
        st.info(plain(str(error)))
        return None
    frame = answer.alternatives
    chosen, best = frame[frame["chosen"]].iloc[0], frame.iloc[int(frame["cost"].to_numpy().argmin())]
    st.markdown(f"**Why is task {task} of user {user} on {device_name(answer.chosen)} in step {step}?**")
    own = f"though {best['device']} would cost the task itself only {best['cost']:.3f}"
    if best["choice"] == answer.chosen:
        own = "which is also the cheapest for itself"
    st.markdown(f"It costs {chosen['cost']:.3f} there, {own}; {best_move(frame)}.")
    bar_panels(task_charts.alternatives(frame), "alternatives")
    return answer


def best_move(alternatives: pd.DataFrame) -> str:
    """A sentence: whether another device for the task would lower the total cost of the ward."""
    best = alternatives.iloc[int(alternatives["ward_change"].to_numpy().argmin())]
    if best["ward_change"] > -1e-9:
        return "no other device would make the ward's total lower"
    return f"moving it to {best['device']} would lower the ward's total by {-best['ward_change']:.4f}"


def alternatives_table(answer: Why) -> None:
    """The alternatives in full, and what stays fixed."""
    table = tables.alternatives_table(answer.alternatives, everything=True)
    st.dataframe(table, hide_index=True, key="alternatives_table", alt="The task's alternatives")
    rule = {
        "equal": "The shares of every device are even, computed again for each alternative.",
        "optimal": "The shares of every device are the best for the choices, computed again for each alternative.",
        "requests": "All requests stay as they are and are scaled down in proportion if they exceed a device.",
    }[answer.rule]
    st.caption(f"All other tasks stay where they are; each row is a full recomputation of the step. {rule}")


def details(session: Session, shown: Record) -> None:
    """Tabs; only the open one is computed."""
    labels = ["Where time goes", "Devices", "Shadow prices", "All tasks", "Fading"]
    tabs = st.tabs(labels, key="details", on_change="rerun")
    for tab, show in zip(tabs, (_time, _devices, _prices, _tasks, _fading), strict=True):
        if tab.open:
            with tab:
                show(session, shown)


def _time(session: Session, shown: Record) -> None:
    row = _row(session, shown)
    drawn = task_charts.delay_bars(shown, row, session.picked)
    delay_bars(drawn, session)
    chart_table(
        "delays", lambda: tables.delay_table(drawn), "Delay of each task of the step, execution and transmission"
    )
    if len(session.scenario.kind_names) > 1:
        table = shown.select(slice(row, row + 1)).table()
        bar_panels(task_charts.kind_costs(table), "kinds")
        chart_table("kinds", lambda: tables.kind_table(table), "Mean cost of each task kind")


def _devices(session: Session, shown: Record) -> None:
    row = _row(session, shown)
    bar_panels(utilisation(shown, row), "utilisation")
    chart_table("devices", lambda: tables.utilisation_table(shown, row), "Utilisation of every device in the step")
    st.caption("Own CPU may be left idle on purpose: running slower saves energy (k0 f² C).")


def _prices(session: Session, shown: Record) -> None:
    row = _row(session, shown)
    bar_panels(price_bars(shown, row), "prices")
    chart_table("prices", lambda: tables.price_table(shown, row), "Shadow price of every resource in the step")
    st.caption(
        "What one more unit of a resource would save at the best possible decision: the prices of the certified bound "
        f"in step {int(shown.step[row])}."
    )


def _tasks(session: Session, shown: Record) -> None:
    row = _row(session, shown)
    whole = st.toggle("Whole episode", key="whole_episode", help="Off: only the step on the map.")
    table = (shown if whole else shown.select(slice(row, row + 1))).table()

    units = {metric.heading: st.column_config.Column(help=metric.help) for metric in TASK.values()}
    selectable_tasks(
        tables.task_table(table.drop(columns=["episode", "bound"])), table, session, "tasks_table", column_config=units,
        alt="All tasks", height=360,
    )  # fmt: skip
    who = session.policy_label
    csv_button(
        "Download the whole episode (CSV)", lambda: shown.table().assign(policy=who).to_csv(index=False),
        f"{session.scenario.name}-{file_words(who)}-decisions.csv",
    )  # fmt: skip


def _fading(session: Session, shown: Record) -> None:
    row, s = _row(session, shown), shown.scenario
    user = s.user_numbers.index(session.picked[1]) if session.picked else 0
    near = int(shown.snapshot.distance[row, user].argmin())
    chosen = int(shown.action.choice[row, user, session.picked[2] - 1]) if session.picked else 0
    server = chosen - 1 if chosen else near
    sent = max(1, int((shown.action.choice[row] == server + 1).sum()))
    band = float(shown.snapshot.B_k[row, server]) / sent
    link = float(shown.snapshot.beta[row, user, server])
    distance = float(shown.snapshot.distance[row, user, server])
    share = f"{TASK['bandwidth_hz'].show(band)} (an even share of {sent})"
    label = f"User {s.user_numbers[user]} to server {s.server_numbers[server]}, {distance:.1f} m, {share}"
    draw("density", fading(band, link, label), "fading")
    chart_table("fading", lambda: tables.fading_table(band, link), "Quantiles of the rate on this link")
    st.caption(
        "Rayleigh fading changes the rate (3) from moment to moment; delays are computed with its expectation (6)."
    )
