"""The parts of the Explore page: each function shows one thing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.plotly_chart import charts_beside, plotly_chart
from dashboard.policy_notes import policy_replaced
from dashboard.session import Session
from dashboard.text import plain
from dashboard.ward_map import ward_map
from iomt_core.charts import comparison, tables
from iomt_core.charts import tasks as task_charts
from iomt_core.charts.ward_map import ward_frames, ward_text
from iomt_core.experiments.comparison.differences import differences, not_comparable
from iomt_core.experiments.evaluation import evaluate_episode
from iomt_core.metrics import METRICS
from iomt_core.model.snapshot import device_name
from iomt_core.policies.registry import POLICIES
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import default_policy, entry, policy_label, usable_policy, why_not
from iomt_core.twin.northbound import play, why

HEADLINE = ("mean_delay_s", "mean_energy_j", "cost", "deadline_miss_share", "gap")
GAP_HELP = (
    "No policy can cost less than the certified bound, so this policy is **at most** this far from the best possible. Part of "
    "the gap is slack in the bound: most where there are few tasks, so even the true optimum then shows a gap. The bound is of "
    "each step by itself and does not include the battery over the episode (C5)."
)


def subtitle(session: Session, scope: str, policy: bool = True) -> str:
    """What a chart is of: the policy with its network, the ward and the scope, such as "this step"."""
    return f"{session.title if policy else f'Ward: {session.scenario.size_words}'} · {scope}"


def step_scope(shown: Record, row: int) -> str:
    """The scope of a chart of one step."""
    return f"step {int(shown.step[row])}"


EPISODE = "this episode"


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

    Changes are graded as better or worse only if the wards are comparable, by the same rule as on Compare.
    """
    p = session.pinned
    then = evaluate_episode(p.scenario, p.policy, p.seed, p.shares) if p else None
    ungraded = not_comparable(p.scenario, session.scenario, "the pinned ward", "this one") if p else ""
    with st.container(key="headline"):
        for name in HEADLINE:
            metric, delta = METRICS[name], None
            if then is not None:
                difference = metric.show_difference(now[name] - then[name], now[name], brief=True)
                delta = f"pinned: {metric.brief(then[name])}" if ungraded else difference
            changed = delta is not None and not ungraded and not delta.startswith(("±", "about"))
            st.metric(
                metric.label, metric.brief(now[name]), delta, border=True, help=GAP_HELP if name == "gap" else metric.sentence,
                delta_color="inverse" if changed else "off", delta_arrow="auto" if changed else "off",
            )  # fmt: skip
    if p is not None:
        if ungraded:
            st.caption(f"**Not comparable**: {ungraded}. The pinned figures are shown without a grade.")
        changes = [plain(f"{d.label} {d.a} → {d.b}") for d in differences(p.scenario, session.scenario)]
        labels = policy_label(p.policy), session.policy_label
        if labels[0] != labels[1] or p.shares != session.shares:
            changes.insert(0, f"policy {plain(labels[0])} → {plain(labels[1])}")
        if p.seed != session.seed:
            changes.append(f"episode seed {p.seed} → {session.seed}")
        words = "Against the pinned scenario: " + ("; ".join(changes) if changes else "nothing differs yet") + "."
        st.caption(words)


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
            f"Stopped at step {last} of {shown.scenario.T}: battery of user {empty} empty.",
            icon=":material/battery_alert:",
        )


def ward(session: Session, shown: Record) -> None:
    """The map of the ward, which can play the episode."""
    row = visible_row(session, shown)

    def toggle(kind: str, number: int) -> None:
        session.toggle(kind, number)
        st.rerun()  # the whole page, with the controls

    maps = [("", ward_frames(shown, session.policy_label), ward_text(shown, row))]
    ward_map(maps, int(shown.step[row]), session, "ward", on_switched=toggle)
    st.caption(
        "Click a task, a small mark around its user, to see why it runs on its device, or a server or user to switch it off.",
        help="With the keyboard: Tab to the map, arrow keys to the task, Enter. A bar or a row below selects its task too.",
    )
    chart_table("ward", lambda: tables.ward_table(shown, row), "Places of users and servers, and the tasks of each")


def visible_row(session: Session, shown: Record) -> int:
    """Row of the selected step; the last row if the episode ended before it."""
    return min(session.step, len(shown)) - 1


def policy_labels(names: Iterable[str]) -> dict[str, str]:
    """What people read for each policy, by name."""
    return {name: policy_label(name) for name in names}


def policies(session: Session, now: dict[str, dict[str, Any]]) -> None:
    """The cost of all policies in this scenario and seed, with the bound as a line."""
    labels = policy_labels(now)
    pinned = None
    if session.pinned is not None:
        p = session.pinned
        pinned = {
            n: evaluate_episode(p.scenario, n, p.seed, p.shares if n == p.policy else "own")["cost"]
            for n in now
            if not why_not(n, p.scenario)
        }
    about = subtitle(session, EPISODE, policy=False)
    figure = comparison.policy_bars(now, labels, "optimum", session.shown_policy, pinned, about)

    def show(name: str) -> None:
        session.policy = name
        st.rerun()  # the whole page, with the controls

    plotly_chart(figure, "policy_bars", show)
    chart_table("policies", lambda: tables.policy_table(now, labels, pinned), "Cost and gap of every policy")


def selected_task(session: Session, shown: Record) -> None:
    """Explains why the selected task runs on its device: text, charts and a table."""
    if session.picked is None:
        return
    step, user, task = session.picked
    try:
        answer = why(shown, session.shown_policy, session.shares, step, user, task)
    except ScenarioError as error:
        st.info(plain(str(error)))
        return
    frame = answer.alternatives
    chosen, best = frame[frame["chosen"]].iloc[0], frame.iloc[int(frame["cost"].to_numpy().argmin())]
    st.markdown(f"**Why is task {task} of user {user} on {device_name(answer.chosen)} in step {step}?**")
    own = f"though {best['device']} would cost the task itself only {best['cost']:.3f}"
    if best["choice"] == answer.chosen:
        own = "which is also the cheapest for itself"
    st.markdown(f"It costs {chosen['cost']:.3f} there, {own}; {best_move(frame)}.")
    about = subtitle(session, f"step {step}, user {user}, task {task}")
    charts_beside(task_charts.alternatives(frame, about), "alternatives")
    table = partial(tables.alternatives_table, frame, everything=True)
    chart_table("alternatives", table, "The task on every device", "All numbers of the task on every device")
    rule = {
        "equal": "The shares of every device are even, computed again for each row.",
        "optimal": "The shares of every device are the best for the choices, computed again for each row.",
        "requests": "All requests stay as they are and are scaled down in proportion if they exceed a device.",
    }[answer.rule]
    st.caption(
        f"All other tasks stay where they are. For every device the whole step was computed again with this task on it. {rule}"
    )


def best_move(alternatives: pd.DataFrame) -> str:
    """A sentence: whether another device for the task would lower the total cost of the ward."""
    best = alternatives.iloc[int(alternatives["ward_change"].to_numpy().argmin())]
    if best["ward_change"] > -1e-9:
        return "no other device would make the ward's total lower"
    return f"moving it to {best['device']} would lower the ward's total by {-best['ward_change']:.4f}"
