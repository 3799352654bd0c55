"""The batteries on Explore: the charge of each over the episode, beside the plan of the optimum."""

from __future__ import annotations

import streamlit as st
import torch

from dashboard.chart_tables import chart_table, page_of
from dashboard.explore.views import EPISODE, subtitle, visible_row
from dashboard.following import Awaited, following, is_large
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session
from iomt_core.charts.batteries import battery_curves, battery_table, battery_words, plan_words, user_table
from iomt_core.experiments.around import CHARGES
from iomt_core.experiments.evaluation import batteries_matter, evaluate_episode
from iomt_core.record import Record

STEP_BY_STEP = ("optimum-step", "all-local")  # with which the plan is compared
PLAN = "optimum"  # the policy whose plan is drawn
ROWS = 12  # of the table without scrolling


def batteries(session: Session, shown: Record, awaited: Awaited) -> None:
    """The charge of every battery; open where batteries matter, folded elsewhere."""
    if shown.dual is None:  # of a large ward; whether they matter is not known yet
        return
    if batteries_matter(shown):
        _batteries(session, shown, awaited)
    else:
        _folded(session, shown, awaited)


@st.fragment
def _folded(session: Session, shown: Record, awaited: Awaited) -> None:
    box = st.expander("Batteries: none runs short here", key="batteries_box", on_change="rerun")
    if box.open:
        with box:
            _batteries(session, shown, awaited)


@st.fragment
def _batteries(session: Session, shown: Record, awaited: Awaited) -> None:
    """Curves of the charge, with the plan as soon as it is there, and what each user's battery did."""
    awaited.draw_what_is_chosen()
    s, plan = session.scenario, None
    found = following(s, session.seed, "batteries", everything=STEP_BY_STEP)
    planned = found.get(PLAN)
    if session.shown_policy != PLAN and planned is not None:
        plan = torch.from_numpy(planned[CHARGES]).double()
    now, picked = int(shown.step[visible_row(session, shown)]), session.picked[1] if session.picked else None
    with st.container(key="wide_batteries"):
        with st.container():
            figure = battery_curves(shown, now, plan, picked, subtitle(session, EPISODE))
            plotly_chart(figure, "batteries", pending=planned is None)
            chart_table("batteries", lambda: battery_table(shown, plan), "Charge of every battery after each step")
        with st.container():
            st.markdown(battery_words(shown))
            if planned is not None and batteries_matter(shown):
                known = {n: found.get(n) if is_large(s) else evaluate_episode(s, n, session.seed) for n in STEP_BY_STEP}
                step, local = (known[name] for name in STEP_BY_STEP)
                if step and local:
                    st.markdown(plan_words(step, local, planned, s))
            table = page_of(user_table(shown, plan), "battery_page")
            st.dataframe(
                table, hide_index=True, key="battery_users", alt="What each user's battery did",
                height=38 + 35 * min(ROWS, len(table)),
            )  # fmt: skip
            st.caption(
                "The plan is that of the optimum, which knows all tasks of the episode in advance. *Return per mJ*: what the "
                "best possible return would gain by a little more charge of this user, in proportion."
            )
