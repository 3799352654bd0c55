"""The parts of the Explore page: each function shows one thing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.following import FOLLOWING, Awaited, Episode, episode, following, is_large
from dashboard.plotly_chart import charts_beside, plotly_chart
from dashboard.policy_notes import policy_replaced
from dashboard.session import Session
from dashboard.text import plain
from dashboard.ward_map import ward_map
from iomt_core.charts import comparison, tables
from iomt_core.charts import tasks as task_charts
from iomt_core.charts.batteries import end_words
from iomt_core.charts.forest import RETURNS
from iomt_core.charts.ward_map import ward_frames, ward_text
from iomt_core.experiments.comparison.differences import differences, not_comparable
from iomt_core.experiments.evaluation import compared_by, episode_bounds, evaluate_episode, summary_of
from iomt_core.metrics import METRICS, TASK
from iomt_core.policies.registry import POLICIES
from iomt_core.record import Record
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import default_policy, entry, policy_label, usable_policy, why_not
from iomt_core.twin.moves import SKIPPED
from iomt_core.twin.northbound import Why, play, why

HEADLINE = {  # by the metric that policies are compared by
    "cost": ("mean_delay_s", "mean_energy_j", "cost", "deadline_miss_share", "gap"),
    "return": ("mean_delay_s", "mean_energy_j", "cost", "deadline_miss_share", "return", "return_gap"),
}
METRIC_HELP = {
    "gap": "No policy can cost less than the certified bound, so this policy is **at most** this far from the best possible. "
    "Part of the gap is slack in the bound: most where there are few tasks, so even the true optimum then shows a gap. The bound "
    "is of each step by itself. It does not know batteries (C5); the bound of the return does.",
    "return_gap": "No policy can return more than the certified bound, so this policy is **at most** this far from the best "
    "possible. The bound is of the whole episode, with batteries (C5) and deadlines (C6), and knows all its tasks in advance.",
}
FOLLOWS = "The certified bound is being computed in the background. This figure follows as soon as it is known."
BY_RETURN = (
    "Compared by **return**: the sum of p max(0, 1 - cost) over the episode. Here batteries run short or tasks are skipped, and "
    "cost, delay and energy are means of what was done, so that a policy that does less may seem better."
)


def subtitle(session: Session, scope: str, policy: bool = True) -> str:
    """What a chart is of: the policy with its network, the ward and the scope, such as "this step"."""
    return f"{session.title if policy else f'Ward: {session.scenario.size_words}'} · {scope}"


def step_scope(shown: Record, row: int) -> str:
    """The scope of a chart of one step."""
    return f"step {int(shown.step[row])}"


EPISODE = "this episode"
LEAST = 1e-9  # weighted cost; smaller changes are those of rounding


def record(session: Session) -> Record:
    """The episode shown."""
    return play(session.scenario, session.shown_policy, session.seed, session.shares)


def shown_episode(session: Session) -> Episode:
    """The episode shown, as far as it is known; in small wards all of it."""
    return episode("shown", session.scenario, session.shown_policy, session.shares, session.seed)


def pinned_episode(session: Session) -> Episode:
    """The same of the pinned scenario; without a record if there is none."""
    p = session.pinned
    return Episode(None) if p is None else episode("pinned", p.scenario, p.policy, p.shares, p.seed)


def results(session: Session, record: Record) -> dict[str, dict[str, Any]]:
    """The metrics of the compared policies by name, but of those that follow, see `following.py`.

    record: of the shown policy, which has the share rule of the session.
    """
    shown = session.shown_policy
    if is_large(session.scenario):
        return {shown: summary_of(record, shown)}
    return {
        n: evaluate_episode(session.scenario, n, session.seed, session.shares if n == shown else "own")
        for n in compared(session)
        if n == shown or n not in FOLLOWING
    }


def compared(session: Session) -> tuple[str, ...]:
    """The compared policies: the default one if it can decide here, the shown one, and all without networks."""
    return tuple(dict.fromkeys((usable_policy(default_policy(), session.scenario), session.shown_policy, *POLICIES)))


def judged_by(session: Session, shown: Record) -> Literal["cost", "return"]:
    """The metric by which the policies of this page are compared, see `evaluation.compared_by`; that of a pinned one counts."""
    then = pinned_episode(session).record
    pinned = compared_by(then) if then else "cost"
    return "return" if "return" in (compared_by(shown), pinned) else "cost"


def headline(session: Session, now: dict[str, Any], by: Literal["cost", "return"]) -> None:
    """Metrics of the episode, each with its change from the pinned scenario.

    Changes are graded as better or worse only if the wards are comparable, by the same rule as on Compare.
    """
    p, past = session.pinned, pinned_episode(session).record
    then = summary_of(past, p.policy) if p and past else None
    ungraded = not_comparable(p.scenario, session.scenario, "the pinned ward", "this one") if p else ""
    with st.container(key="headline"):
        for name in HEADLINE[by]:
            metric, delta = METRICS[name], None
            if name not in now:
                st.metric(metric.label, "…", border=True, help=FOLLOWS)
                continue
            if then is not None and name in then:
                difference = metric.show_difference(now[name] - then[name], now[name], brief=True)
                delta = f"pinned: {metric.brief(then[name])}" if ungraded else difference
            alike = by == "cost" or name in RETURNS  # what was not done counts in the return only
            changed = delta is not None and not ungraded and alike and not delta.startswith(("±", "about"))
            good: Literal["normal", "inverse"] = "normal" if metric.better == "higher" else "inverse"
            st.metric(
                metric.label, metric.brief(now[name]), delta, border=True, help=METRIC_HELP.get(name, metric.sentence),
                delta_color=good if changed else "off", delta_arrow="auto" if changed else "off",
            )  # fmt: skip
    if by == "return":
        st.caption(BY_RETURN)
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
    if trained and shown.collapse and not is_large(s) and shown.collapse != play(s, "optimum", session.seed).collapse:
        words = f"{session.policy_label} has collapsed: it {shown.collapse}, which the optimum does not."
        st.warning(plain(words), icon=":material/warning:")
    if bool(shown.ended.any()):
        words = end_words(shown)
        st.warning(f"{words[:1].upper()}{words[1:]}.", icon=":material/battery_alert:")


def ward(session: Session, shown: Record) -> Why | None:
    """The map of the ward, which can play the episode, with the answer about the selected task below it, which it returns."""
    row = visible_row(session, shown)

    def toggle(kind: str, number: int) -> None:
        session.toggle(kind, number)
        st.rerun()  # the whole page, with the controls

    maps = [("", ward_frames(shown, session.policy_label), ward_text(shown, row))]
    ward_map(maps, int(shown.step[row]), session, "ward", on_switched=toggle)
    answer = selected_task(session, shown)
    if answer is None:
        st.caption(
            "Click a task, a small mark around its user, to see why it runs on its device, or a server or user to switch it off.",
            help="With the keyboard: Tab to the map, arrow keys to the task, Enter. A bar or a row below selects its task too.",
        )
    chart_table("ward", lambda: tables.ward_table(shown, row), "Places of users and servers, and the tasks of each")
    return answer


def visible_row(session: Session, shown: Record) -> int:
    """Row of the selected step; the last row if the episode ended before it."""
    return min(session.step, len(shown)) - 1


def policy_labels(names: Iterable[str]) -> dict[str, str]:
    """What people read for each policy, by name."""
    return {name: policy_label(name) for name in names}


@st.fragment
def policies(session: Session, now: dict[str, dict[str, Any]], by: Literal["cost", "return"], awaited: Awaited) -> None:
    """Cost or return of all policies in this scenario and seed, with the bound as a line; some of them follow."""
    awaited.draw_what_is_chosen()
    names = compared(session)
    labels, s = policy_labels(names), session.scenario
    certified = not is_large(s) or "lower_bound" in now[session.shown_policy]
    later = following(s, session.seed, "policies", session.shown_policy, names)
    known = {name: {**later, **now}[name] for name in names if name in later or name in now}
    pinned = None
    if session.pinned is not None:
        pinned = pinned_values(session, names, by)
    about = subtitle(session, EPISODE, policy=False)
    bound = bound_of(now[session.shown_policy], by) if is_large(s) else episode_bounds(s, session.seed)[by]
    figure = comparison.policy_bars(known, labels, session.shown_policy, bound, by, pinned, about, s.T)

    def show(name: str) -> None:
        session.policy = name
        st.rerun()  # the whole page, with the controls

    plotly_chart(figure, "policy_bars", show, pending=certified and len(known) < len(names))
    chart_table(
        "policies", lambda: tables.policy_table(known, labels, by, pinned), "Cost, return and gaps of every policy"
    )


def bound_of(result: dict[str, Any], by: Literal["cost", "return"]) -> float:
    """The bound in a summary, see `evaluation.episode_bounds`; NaN without certificates."""
    return float(result.get({"cost": "lower_bound", "return": "return_bound"}[by], math.nan))


def pinned_values(session: Session, names: Iterable[str], by: Literal["cost", "return"]) -> dict[str, float]:
    """Cost or return of policies in the pinned scenario, by name, as far as they are known."""
    p = session.pinned
    assert p is not None
    if is_large(p.scenario):
        later = following(p.scenario, p.seed, "pinned policies", "", names, {p.policy: p.shares})
        return {n: later[n][by] for n in names if n in later}
    later = following(p.scenario, p.seed, "pinned policies", p.policy)
    return {
        n: (later.get(n) or evaluate_episode(p.scenario, n, p.seed, p.shares if n == p.policy else "own"))[by]
        for n in names
        if (n in later or n == p.policy or n not in FOLLOWING) and not why_not(n, p.scenario)
    }


def selected_task(session: Session, shown: Record) -> Why | None:
    """Says why the selected task runs on its device; returns the answer, None if no task is selected."""
    if session.picked is None:
        return None
    step, user, task = session.picked
    try:
        answer = why(shown, session.shown_policy, session.shares, step, user, task)
    except ScenarioError as error:
        st.info(plain(str(error)))
        return None
    frame = answer.alternatives
    chosen, best = frame[frame["chosen"]].iloc[0], frame.iloc[int(frame["cost"].to_numpy().argmin())]
    s = session.scenario
    where = "skipped" if answer.chosen == SKIPPED else f"on {s.device_label(answer.chosen)}"
    st.markdown(f"**Why is task {task} of {plain(f'{s.user_label(user)} {where}')} in step {step}?**")
    own = f"though {best['device']} would cost the task itself only {best['cost']:.3f}"
    if best["choice"] == answer.chosen:
        own = "which is also the cheapest for itself"
    there = "" if answer.chosen == SKIPPED else " there"
    st.markdown(plain(f"It costs {chosen['cost']:.3f}{there}, {own}; {best_move(frame)}.{later_words(frame, user)}"))
    return answer


def alternatives(session: Session, answer: Why | None) -> None:
    """The selected task on every device: charts and a table."""
    if answer is None:
        return
    frame = answer.alternatives
    about = subtitle(session, f"step {answer.step}, user {answer.user}, task {answer.task}")
    charts_beside(task_charts.alternatives(frame, about), "alternatives")
    table = partial(tables.alternatives_table, frame, everything=True)
    chart_table("alternatives", table, "The task on every device", "All numbers of the task on every device")
    rule = {
        "equal": "The shares of every device are even, computed again for each row.",
        "optimal": "The shares of every device are the best for the choices, computed again for each row.",
        "requests": "All requests stay as they are and are scaled down in proportion if they exceed a device.",
        "planned": "The shares of every device are the best for the choices, with what energy costs later and within the "
        "deadlines, computed again for each row.",
    }[answer.rule]
    st.caption(
        f"All other tasks stay where they are. For every device the whole step was computed again with this task on it. {rule}"
    )


def best_move(alternatives: pd.DataFrame) -> str:
    """A sentence: whether another device for the task would lower the total cost of the ward, now and in later steps."""
    now, later = alternatives["ward_change"].to_numpy(), alternatives["later_change"].fillna(0.0).to_numpy()
    best, soon = int((now + later).argmin()), int(now.argmin())
    name = alternatives["device"]
    if now[best] + later[best] < -LEAST:
        rest = ", later steps included" if abs(later[best]) > LEAST else ""
        return f"moving it to {name.iloc[best]} would lower the ward's total by {-now[best] - later[best]:.4f}{rest}"
    if now[soon] < -LEAST:
        return (
            f"moving it to {name.iloc[soon]} would lower the ward's total by {-now[soon]:.4f} in this step, but the energy for "
            f"it would cost {later[soon]:.4f} more later"
        )
    return "no other device would make the ward's total lower"


def later_words(alternatives: pd.DataFrame, user: int) -> str:
    """A sentence on what the energy of a task costs in later steps, where it is chosen and where that is least; or nothing."""
    later = alternatives["energy_later"]
    if not (later > LEAST).any():
        return ""
    chosen = alternatives[alternatives["chosen"]].iloc[0]
    least = alternatives[alternatives["choice"] != SKIPPED].sort_values("energy_later").iloc[0]
    energy, words = TASK["energy_j"].brief, ""
    if least["choice"] != chosen["choice"]:
        words = (
            f", on {least['device']} only {least['energy_later']:.3f} ({energy(float(least['energy_j']))})"
            if least["energy_later"] < chosen["energy_later"]
            else f", on {least['device']} {least['energy_later']:.3f} ({energy(float(least['energy_j']))})"
        )
    return (
        f" The battery of user {user} is short, so energy has a price: the {energy(float(chosen['energy_j']))} that the task "
        f"takes cost {chosen['energy_later']:.3f} in later steps{words}."
    )
