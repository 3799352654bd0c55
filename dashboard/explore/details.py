"""The tabs at the bottom of Explore: where time goes, devices, what more would save, all tasks, fading."""

from __future__ import annotations

import streamlit as st

from dashboard.chart_tables import chart_table, csv_button, file_words, page_of, selectable_tasks
from dashboard.explore.state import TABS, ExploreState
from dashboard.explore.views import EPISODE, step_scope, subtitle, visible_row
from dashboard.following import is_large, known_by_now
from dashboard.plotly_chart import charts_beside, plotly_chart
from dashboard.session import Session
from dashboard.widgets import open_tab
from iomt_core.charts import tables
from iomt_core.charts import tasks as task_charts
from iomt_core.charts.devices import utilisation
from iomt_core.charts.fading import fading
from iomt_core.charts.savings import Saving, episode_savings, saving_bars, saving_table, savings, worthless
from iomt_core.experiments.around import Request
from iomt_core.metrics import TASK
from iomt_core.record import Record
from iomt_core.twin.northbound import first_episode

MOST_BARS = 300  # of single tasks in a chart


def tabs(session: Session, view: ExploreState, shown: Record) -> None:
    """Tabs; only the open one is computed."""
    show = {"time": _time, "devices": _devices, "prices": _prices, "tasks": _tasks, "fading": _fading}
    name, place = open_tab(TABS, "details", view.tab, lambda name: setattr(view, "tab", name))
    with place:
        show[name](session, shown)


def _time(session: Session, shown: Record) -> None:
    row = visible_row(session, shown)
    about = subtitle(session, step_scope(shown, row))
    plotly_chart(task_charts.delay_bars(shown, row, session.picked, about, MOST_BARS), "delays", session.pick)
    if (tasks := int(shown.snapshot.active[row].sum())) > MOST_BARS:
        st.caption(f"The {MOST_BARS} slowest of {tasks:,} tasks of the step. The table has all.")
    chart_table(
        "delays", lambda: tables.delay_table(shown, row), "Delay of each task of the step, execution and transmission"
    )
    if len(session.scenario.kind_names) > 1:
        table = shown.table()
        charts_beside(task_charts.kind_bars(table, subtitle(session, EPISODE)), "kinds")
        chart_table("kinds", lambda: tables.kind_table(table), "Cost, deadline and misses of each task kind")


def _devices(session: Session, shown: Record) -> None:
    row = visible_row(session, shown)
    charts_beside(utilisation(shown, row, subtitle(session, step_scope(shown, row))), "utilisation")
    chart_table("devices", lambda: tables.utilisation_table(shown, row), "Utilisation of every device in the step")
    st.caption("Own CPU may be left idle on purpose: running slower saves energy.")


def _prices(session: Session, shown: Record) -> None:
    what_more_saves(session)


def what_more_saves(session: Session) -> None:
    """What a little more of each resource would save in the episode: charge, deadlines, CPU and bandwidth."""
    found = _savings(session)
    if found is None:
        return
    if not found:
        st.info("Nobody has a task in this episode, so nothing is worth anything.", icon=":material/info:")
        return
    charts_beside(saving_bars(found, subtitle(session, EPISODE, policy=False)), "prices")
    chart_table("prices", lambda: saving_table(found), "What more of each resource would save in the episode")
    nothing = worthless(found)
    words = f" {' and '.join(nothing).capitalize()} would save nothing here." if nothing else ""
    st.caption(
        f"At the best possible decisions: the prices of the certified bound of the episode.{words}",
        help="In % of the lowest possible cost of the episode; the table has the return that is gained, too. A price is that of "
        "the first little bit: more of a resource saves at most in proportion. A later deadline leaves the scale of delay in the "
        "cost as it is.",
    )


def _savings(session: Session) -> list[Saving] | None:
    """What is saved, see `charts.savings`; None while it is being computed, which takes as long as the certificate."""
    s, seed = session.scenario, session.seed
    if not is_large(s):
        return savings(first_episode(s, seed))
    request = Request.of(episode_savings, s, "optimum", seed)
    found: list[Saving] | None = known_by_now("savings", "The prices of the best decisions are computed", request)
    return found


def _tasks(session: Session, shown: Record) -> None:
    row = visible_row(session, shown)
    whole = st.toggle("Whole episode", key="whole_episode", help="Off: only the step on the map.")
    table = (shown if whole else shown.select(slice(row, row + 1))).table()

    units = {metric.heading: st.column_config.Column(help=metric.help) for metric in TASK.values()}
    rows = page_of(table, "tasks_page")
    selectable_tasks(
        tables.task_table(rows.drop(columns=["episode", "bound"])), rows, session, "tasks_table", column_config=units,
        alt="All tasks", height=360,
    )  # fmt: skip
    who = session.policy_label
    csv_button(
        "Download the whole episode (CSV)", lambda: shown.table().assign(policy=who).to_csv(index=False),
        f"{session.scenario.name}-{file_words(who)}-decisions.csv",
    )  # fmt: skip


def _fading(session: Session, shown: Record) -> None:
    row, s = visible_row(session, shown), shown.scenario
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
    plotly_chart(fading(band, link, label), "fading")
    chart_table("fading", lambda: tables.fading_table(band, link), "Quantiles of the rate on this link")
    st.caption(
        "Fading changes the rate from moment to moment; delays are computed with its mean.",
        help="Rayleigh fading; the rate of one moment is equation (3), its expectation (6).",
    )
