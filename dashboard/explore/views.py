"""The parts of the Explore page: each takes the lab and shows one thing."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.drawings import bar_panels, delay_bars, density, policy_bars, ward_player
from dashboard.session import Session
from dashboard.text import plain
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
from iomt_core.training.catalogue import entry
from iomt_core.twin.northbound import Why, play, why

HEADLINE = ("mean_delay_s", "mean_energy_j", "cost", "deadline_miss_share", "gap")
COLLAPSED = 0.98
GAP_HELP = (
    "No policy whatever can cost less than the certified bound, so this policy is **at most** so far from the best "
    "possible. Part of the gap is the bound's own looseness: it is most where tasks are few, and even the true optimum "
    "then shows some. The bound concerns each step by itself, not the battery over the episode (C5)."
)


def title(session: Session) -> str:
    """Which ward this is, as Markdown."""
    s = session.scenario
    users, servers = f"{s.users} user{'s' * (s.users > 1)}", f"{s.servers} server{'s' * (s.servers > 1)}"
    return f"{plain(entry(session.shown_policy).label)} on {users} × {s.tasks} task{'s' * (s.tasks > 1)}, {servers}"


def record(session: Session) -> Record:
    """The episode shown."""
    return play(session.scenario, session.shown_policy, session.seed, session.shares)


def results(session: Session) -> dict[str, dict[str, Any]]:
    """The figures of all heuristics and of the shown policy on this ward and seed, by name; its own with the lab's shares."""
    shown = session.shown_policy
    return {
        n: evaluate_episode(session.scenario, n, session.seed, session.shares if n == shown else "own")
        for n in dict.fromkeys((*POLICIES, shown))
    }


def headline(session: Session, now: dict[str, Any]) -> None:
    """Five figures of the episode, each with its change against what is pinned."""
    p = session.pinned
    then = evaluate_episode(p.scenario, p.policy, p.seed, p.shares) if p else None
    for column, name in zip(st.columns(len(HEADLINE)), HEADLINE, strict=True):
        metric = METRICS[name]
        delta = None if then is None else metric.show_difference(now[name] - then[name])
        changed = delta is not None and not delta.startswith(("±", "about"))
        column.metric(
            metric.label, metric.show(now[name]), delta, border=True, help=GAP_HELP if name == "gap" else metric.sentence,
            delta_color="inverse" if changed else "off", delta_arrow="auto" if changed else "off",
        )  # fmt: skip
    if p is not None:
        changes = [plain(f"{d.label} {d.a} → {d.b}") for d in differences(p.scenario, session.scenario)]
        if (p.policy, p.shares) != (session.shown_policy, session.shares):
            changes.insert(0, f"policy {plain(entry(p.policy).label)} → {plain(entry(session.shown_policy).label)}")
        if p.seed != session.seed:
            changes.append(f"episode seed {p.seed} → {session.seed}")
        st.caption("Against the pinned scenario: " + ("; ".join(changes) if changes else "nothing differs yet") + ".")


def warnings(session: Session, shown: Record) -> None:
    """What a person should know before trusting the figures: another policy than chosen, a collapsed one, an early end."""
    for problem in session.policy_problems:
        st.warning(
            f"{plain(problem)} Shown in its place: {entry(session.shown_policy).label}.", icon=":material/warning:"
        )
    active = shown.snapshot.active
    choices = shown.action.choice[active]
    device = int(choices.mode().values)
    if (
        len(choices) > 1
        and float((choices == device).double().mean()) >= COLLAPSED
        and (device == 0 or session.scenario.servers > 1)
    ):
        place = "keeps everything local" if device == 0 else f"sends everything to {device_name(device)}"
        st.warning(f"This policy has collapsed: it {place}, whatever the task.", icon=":material/warning:")
    if bool(shown.ended.any()):
        last = int(shown.step.max())
        left = shown.snapshot.battery[-1] - shown.outcome.energy[-1].sum(-1)
        empty = ", ".join(str(i + 1) for i in (left < 0).nonzero().flatten().tolist())
        st.warning(
            f"The episode ended in step {last} of {session.scenario.T}: the battery of user {empty} could not pay (C5).",
            icon=":material/battery_alert:",
        )


def ward(session: Session, shown: Record) -> None:
    """The map, playable over the episode."""
    row = _row(session, shown)

    def stepped() -> None:
        step = st.session_state["ward"].step
        if step:
            session.step = int(step)

    ward_player(
        ward_frames(shown),
        int(shown.step[row]),
        session.picked,
        ward_text(shown, row),
        lambda: _picked_on(session, "ward"),
        stepped,
    )
    chart_table("ward", lambda: tables.ward_table(shown, row), "Places of users and servers, and the tasks of each")


def _row(session: Session, shown: Record) -> int:
    """Row of the lab's step; the last one where the episode ended before it."""
    return min(session.step, len(shown)) - 1


def _pick(session: Session, point: Any) -> None:
    session.picked = (int(point[0]), int(point[1]), int(point[2]))
    session.step = session.picked[0]


def policies(session: Session, now: dict[str, dict[str, Any]]) -> None:
    """All policies on this ward and seed, with the bound as a line."""
    by_label = {entry(n).label: values for n, values in now.items()}
    pinned = None
    if session.pinned is not None:
        p = session.pinned
        pinned = {
            entry(n).label: evaluate_episode(p.scenario, n, p.seed, p.shares if n == p.policy else "own")["cost"]
            for n in now
            if n in POLICIES or n == p.policy
        }
    policy_bars(comparison.policy_bars(by_label, entry("optimum").label, entry(session.shown_policy).label, pinned))
    chart_table("policies", lambda: tables.policy_table(by_label, pinned), "Cost and gap of every policy")


def selected_task(session: Session, shown: Record) -> Why | None:
    """Why the selected task went where it went, in words and a figure."""
    if session.picked is None:
        st.info(
            "Click a task (a small mark on the map, a bar, or a row below) to see why it runs where it runs. With the keyboard: "
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
    chosen, best = frame.loc[answer.chosen], frame.iloc[int(frame["cost"].to_numpy().argmin())]
    ward_best = frame.iloc[int(frame["ward_change"].to_numpy().argmin())]
    st.markdown(f"**Why is task {task} of user {user} on {device_name(answer.chosen)} in step {step}?**")
    own = f"though {best['device']} would cost the task itself only {best['cost']:.3f}"
    if best["choice"] == answer.chosen:
        own = "which is also the cheapest for itself"
    ward_words = f"moving it to {ward_best['device']} would lower the ward's total by {-ward_best['ward_change']:.4f}"
    if ward_best["ward_change"] > -1e-9:
        ward_words = "no other device would make the ward's total lower"
    st.markdown(f"It costs {chosen['cost']:.3f} there, {own}; {ward_words}.")
    bar_panels(task_charts.alternatives(frame), "alternatives")
    return answer


def alternatives_table(answer: Why) -> None:
    """The alternatives in full, and what was kept fixed."""
    table = tables.alternatives_table(answer.alternatives, everything=True)
    st.dataframe(table, hide_index=True, key="alternatives_table", alt="The task's alternatives")
    rule = {
        "equal": "Every device's shares are even, dealt anew for each alternative.",
        "optimal": "Every device's shares are the best for the choices, found anew for each alternative.",
        "requests": "Everyone's requests stay as they are and are scaled down pro rata where a device is over-asked.",
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


def _picked_on(session: Session, key: str) -> None:
    point = st.session_state[key].picked
    if point:
        _pick(session, point)


def _time(session: Session, shown: Record) -> None:
    row = _row(session, shown)
    drawn = task_charts.delay_bars(shown, row, session.picked)
    delay_bars(drawn, lambda: _picked_on(session, "delays"))
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
        "What a little more of a resource would save, per unit, at the best possible decision: the prices of the certified bound "
        f"in step {int(shown.step[row])}."
    )


def _tasks(session: Session, shown: Record) -> None:
    row = _row(session, shown)
    whole = st.toggle("Whole episode", key="whole_episode", help="Off: only the step on the map.")
    table = (shown if whole else shown.select(slice(row, row + 1))).table()

    def chosen() -> None:
        rows = st.session_state["tasks_table"].selection.rows
        if rows:
            _pick(session, table.loc[rows[0], ["step", "user", "task"]].tolist())

    units = {metric.heading: st.column_config.Column(help=metric.help) for metric in TASK.values()}
    st.dataframe(
        tables.task_table(table.drop(columns=["episode", "bound"])), hide_index=True, key="tasks_table", on_select=chosen,
        selection_mode="single-row", column_config=units, alt="All tasks", height=360,
    )  # fmt: skip
    file = f"{session.scenario.name}-{session.shown_policy}-decisions.csv"
    st.download_button(
        "Download the whole episode (CSV)", lambda: shown.table().to_csv(index=False), file, "text/csv", on_click="ignore"
    )  # fmt: skip


def _fading(session: Session, shown: Record) -> None:
    row = _row(session, shown)
    user = (session.picked[1] if session.picked else 1) - 1
    near = int(shown.snapshot.distance[row, user].argmin())
    chosen = int(shown.action.choice[row, user, session.picked[2] - 1]) if session.picked else 0
    server = chosen - 1 if chosen else near
    sent = max(1, int((shown.action.choice[row] == server + 1).sum()))
    band = float(shown.snapshot.B_k[row, server]) / sent
    link = float(shown.snapshot.beta[row, user, server])
    distance = float(shown.snapshot.distance[row, user, server])
    share = f"{TASK['bandwidth_hz'].show(band)} (an even share of {sent})"
    label = f"User {user + 1} to server {server + 1}, {distance:.1f} m, {share}"
    density(fading(band, link, label), "fading")
    chart_table("fading", lambda: tables.fading_table(band, link), "Quantiles of the rate on this link")
    st.caption(
        "Rayleigh fading makes the rate (3) jump from moment to moment; delays are computed with its expectation (6)."
    )
