"""The tab about a stale twin: how old and how wrong it is, and what it costs a policy that decides on it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.plotly_chart import plotly_chart
from dashboard.session import Session
from dashboard.text import plain, show_errors
from dashboard.twin.state import STALE_NUMBERS, StaleForm, View
from dashboard.widgets import form_widget
from iomt_core.charts.staleness import cost_table, group_table, staleness_curve
from iomt_core.experiments.comparison.paired import Verdict
from iomt_core.experiments.staleness import AXES, StalenessCost, play_on_twin, staleness_cost, staleness_notes
from iomt_core.metrics import METRICS
from iomt_core.scenario import ScenarioError
from iomt_core.twin.mapping.synchronisation import FRESH, Synchronisation, staleness
from iomt_core.twin.northbound import play

VALUES: dict[str, tuple[float, ...]] = {
    "interval": (1, 2, 4, 8), "delay": (0, 1, 2, 4, 8), "noise": (0.0, 0.05, 0.1, 0.2, 0.4)
}  # fmt: skip
SLIDERS = {
    "interval": ("Interval (steps)", "Steps between two synchronisations."),
    "delay": ("Delay (steps)", "Steps until a measurement of the ward arrives at the twin."),
    "noise": ("Noise (%)", "Relative error of a measurement; of a position, in units of the ward's side."),
}
VERDICTS: dict[Verdict, str] = {
    "the same": "**This twin costs nothing** compared with a fresh one.",
    "worse": "**This twin costs something**: the policy does worse on it than on a fresh one.",
    "better": "**The policy does better on this twin** than on a fresh one. That can happen to a policy far from the optimum.",
    "not distinguishable": "**No difference** from a fresh twin can be told in these episodes. More episodes may show one.",
}
WIDTH = 260


@st.fragment
def stale_twin(session: Session, view: View) -> None:
    """Controls of the synchronisation, its staleness, and the curve of what it costs."""
    form = view.stale
    st.markdown(
        "A policy that decides on a twin of the ward, while its actions are carried out in the ward: "
        f"**{plain(session.title)}**, seed {session.seed}."
    )
    row = st.container(horizontal=True, vertical_alignment="bottom")
    for name, (label, meaning) in SLIDERS.items():
        low, high = STALE_NUMBERS[name]
        form_widget(label, row.slider, name, form, f"twin_{name}", convert=int, min_value=low, max_value=high, width=WIDTH,
                    help=meaning)  # fmt: skip
    form_widget("Tasks too", row.toggle, "tasks", form, "twin_tasks",
                help="The twin also gets tasks late. Usually an agent knows its own new tasks.")  # fmt: skip
    settings = form.settings
    try:
        record = play(session.scenario, session.shown_policy, session.seed, session.shares)
    except ScenarioError as error:
        show_errors(error.problems)
        return
    means = {name: float(values.double().mean()) for name, values in staleness(record, settings).items()}
    st.table(group_table(means, settings), border="horizontal", hide_index=True,
             alt="Staleness and error of each group of fields")  # fmt: skip
    st.caption("Means over the steps of the first episode. At its beginning the twin has the ward of step 1.")
    _cost(session, form, settings)


def _cost(session: Session, form: StaleForm, settings: Synchronisation) -> None:
    row = st.container(horizontal=True, vertical_alignment="bottom")
    form_widget("Curve over", row.selectbox, "over", form, "twin_over", options=list(AXES), width=WIDTH,
                format_func=lambda axis: AXES[axis])  # fmt: skip
    form_widget("Episodes", row.number_input, "episodes", form, "twin_stale_episodes", convert=int, min_value=2, max_value=50,
                step=1, width=150)  # fmt: skip

    def measure() -> None:
        form.measured = True

    if not form.measured:
        row.button("Measure the cost", icon=":material/timer:", type="primary", key="twin_measure", on_click=measure)
        st.info("Not measured yet: the policy plays the same episodes on twins that are more and more stale.",
                icon=":material/show_chart:")  # fmt: skip
        return
    try:
        costs = _measured(session, form, settings)
    except ScenarioError as error:
        show_errors(error.problems)
        return
    now = next(cost for cost in costs if cost.settings == settings)
    _headline(now)
    for text in staleness_notes(session.scenario, session.shown_policy, costs):
        st.info(plain(text), icon=":material/info:")
    plotly_chart(staleness_curve(costs, form.over, settings, session.title), "twin_staleness")
    chart_table("twin_staleness", lambda: cost_table(costs), "What a stale twin costs, for each value of the curve")
    st.caption(
        f"{form.episodes} episodes, the same for every point; bars are paired 95 % intervals. The dotted line is the twin of the "
        "sliders."
    )


def _headline(cost: StalenessCost) -> None:
    with st.container(key="headline"):
        for name in ("cost", "return", "mean_delay_s", "deadline_miss_share"):
            pair = cost.pairs[name]
            st.metric(f"{METRICS[name].label}, change", pair.change_words.partition(" (")[0], help=pair.interval_words)
    st.markdown(f"{VERDICTS[cost.verdict]} *Judged by the {cost.by} and its 95 % interval.*")


def _measured(session: Session, form: StaleForm, settings: Synchronisation) -> list[StalenessCost]:
    """The costs of all points of the curve, played one after another; a change of a control interrupts between two points."""
    points = curve_settings(form.over, settings)
    arguments: dict[str, Any] = {"episodes": form.episodes, "seed": session.seed, "shares": session.shares}
    bar, found = st.empty(), []
    for n, one in enumerate(points):
        bar.progress(n / len(points), f"Playing twin {n + 1} of {len(points)}: {one.words}")
        fresh = play_on_twin(session.scenario, session.shown_policy, FRESH, **arguments)
        found.append(staleness_cost(fresh, play_on_twin(session.scenario, session.shown_policy, one, **arguments)))
    bar.empty()
    return found


def curve_settings(over: str, settings: Synchronisation) -> list[Synchronisation]:
    """The points of the curve: usual values of one setting and the present one, the others as they are."""
    values = sorted({*VALUES[over], getattr(settings, over)})
    others = {name: getattr(settings, name) for name in ("interval", "delay", "noise", "groups") if name != over}
    return [Synchronisation(**{**others, over: value if over == "noise" else int(value)}) for value in values]
