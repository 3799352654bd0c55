"""The parts of the Start page: what one sees, the ward moving, the tour's questions, where to go, claims and assumptions."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.drawings import ward_player
from dashboard.explore import views as explore_views
from dashboard.navigation import TITLES, pages
from dashboard.session import Session
from dashboard.start.questions import QUESTIONS, Setup
from dashboard.start.tour import begin, restore, state
from dashboard.text import plain
from iomt_core.charts.ward_map import ward_frames, ward_text
from iomt_core.experiments.paper.results import read_manifest, results, verdict_table
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.scenario import PRESETS, metadata

ABOUT = {
    "explore": "Move any parameter and see at once what every policy decides, and why a task runs where it runs.",
    "inspect": "Look inside one decision and the policy that took it.",
    "compare": "Two wards or two policies beside each other on the same tasks, with how sure the difference is.",
    "train": "Train the paper's algorithm or its baselines, and watch them learn.",
    "sweep": "One parameter over its whole range, many episodes a point, with intervals.",
}
KEY = "start_ward"
CARD = 214  # px: five cards in a row on a wide screen


def sentences(session: Session) -> None:
    """What one sees, in three sentences."""
    s = session.scenario
    users = f"{s.users} user{'s' * (s.users > 1)}"
    servers = f"{s.servers} edge server{'s' * (s.servers > 1)}"
    st.markdown(
        f"This is a ward of {users} with wearables: in every step each has up to {s.tasks} tasks (the small marks around "
        f"a user), and each task is computed on the wearable, grey, or sent to one of {servers}, in that server's colour and "
        "shape. A policy decides where, and with how much of a device's CPU and bandwidth; the lab prices each decision in delay "
        "and energy by the equations of a published model. Beside every policy stands a bound that no policy whatever can beat, "
        "so that you always see how far it is from the best possible."
    )


def ward(session: Session) -> None:
    """The map of the lab's ward, playing; a task clicked is opened on Explore."""
    record = explore_views.record(session)
    row = min(session.step, len(record)) - 1

    def picked() -> None:
        point = st.session_state[KEY].picked
        if point:
            session.picked = (int(point[0]), int(point[1]), int(point[2]))
            session.step, session.wanted_page = session.picked[0], "explore"

    def stepped() -> None:
        step = st.session_state[KEY].step
        if step:
            session.step = int(step)

    ward_player(
        ward_frames(record),
        int(record.step[row]),
        session.picked,
        ward_text(record, row),
        picked,
        stepped,
        KEY,
        autoplay=True,
    )
    st.caption("Each step brings new tasks. Click one to see why it runs where it runs.")


def figures(session: Session) -> None:
    """A few figures of the episode on the map."""
    now = Setup(session.scenario, session.shown_policy, session.shares, session.seed).figures
    local = Setup(session.scenario, "all-local", seed=session.seed).figures
    shown = (CONTEXT["tasks"], METRICS["mean_delay_s"], METRICS["local_share"], METRICS["gap"])
    for start in (0, 2):
        for column, metric in zip(st.columns(2), shown[start : start + 2], strict=True):
            text = explore_views.GAP_HELP if metric.name == "gap" else metric.sentence
            column.metric(metric.label, metric.show(now[metric.name]), border=True, help=text)
    change, cost = now["cost"] / local["cost"] - 1, METRICS["cost"]
    st.caption(
        f"Cost: {cost.show(now['cost'])}, {abs(change):.0%} {'less' if change < 0 else 'more'} than with everything on the "
        f"wearables ({cost.show(local['cost'])}). It is the {cost.help}."
    )


def tour(session: Session) -> None:
    """The tour's questions as cards, and the way back to what was there before it."""
    st.header("Five questions to begin with", anchor=False)
    with st.container(horizontal=True, gap="small"):
        for n, question in enumerate(QUESTIONS):
            with st.container(border=True, width=CARD, height="stretch"):
                st.button(
                    question.title, key=f"ask_{question.key}", on_click=begin, args=(session, n), width="stretch",
                    type="primary" if n == 0 else "secondary",
                    help=f"Sets ward and policy for you, and opens {TITLES[question.page][0]}.",
                )  # fmt: skip
                st.caption(question.teaser)
    before = state().before
    if before is not None:
        st.button(
            f"Back to “{plain(before.scenario.name)}”, the ward from before the tour", icon=":material/undo:", key="tour_undo",
            on_click=restore, args=(session,), help="Restores scenario, policy, step, selection and pin.",
        )  # fmt: skip


def cards() -> None:
    """Where to go."""
    st.header("Or go where you like", anchor=False)
    known = pages()
    with st.container(horizontal=True, gap="small"):
        for name, text in ABOUT.items():
            if name in known:
                with st.container(border=True, width=CARD, height="stretch"):
                    st.page_link(known[name], icon=TITLES[name][1])
                    st.caption(text)


def claims() -> None:
    """What the paper claims, and what is an assumption of the lab."""
    assumed = {name: meta for name, meta in metadata().items() if meta.source == "assumption"}
    rest = sum(meta.group != "file" for meta in metadata().values())
    left, right = st.columns(2)
    with left:
        st.header("What the paper claims", anchor=False)
        st.markdown(
            "Yuan et al., *Digital Twin-Driven MADRL Approaches for Communication-Computing-Control Co-Optimization* (IEEE JSAC, "
            "2025), train many users' agents together and let each decide alone (SAE-MT-QMIX), and report less delay and less "
            "energy than their baselines. The lab takes none of this on trust: model and algorithm are rebuilt equation by "
            "equation, and every policy, trained or not, stands beside the same bound."
        )
        _found()
    with right:
        st.header("What is assumed", anchor=False)
        st.markdown(
            f"The paper leaves open {len(assumed)} of the {rest} parameters: their values are this lab's assumptions, marked ᴬ "
            "on every control. The medical task kinds of the *hospital* ward are assumed magnitudes too. Everything here is "
            "simulated; there is no patient's data in it."
        )
        box = st.expander("All assumptions", key="start_assumptions", on_change="rerun")
        if box.open:
            default = PRESETS["paper"]
            rows = [
                {
                    "parameter": meta.label or name,
                    "symbol": meta.symbol,
                    "value": _shown(getattr(default, name), meta.show),
                    "meaning": meta.meaning,
                }
                for name, meta in assumed.items()
            ]
            box.dataframe(pd.DataFrame(rows), hide_index=True, key="assumptions", alt="All assumptions of the lab")


def _found() -> None:
    """Whether the claim holds here, from the shipped runs."""
    manifest = read_manifest()
    if manifest is None:
        st.info("No trained policies are shipped here: `make pretrained` makes them.", icon=":material/info:")
        return
    table = verdict_table(manifest)
    if len(table):
        steps = manifest["held_out"]["steps"]
        st.markdown(f"**What was found here**, on {steps} held-out steps of the paper's ward:")
        st.table(table, border="horizontal", hide_index=True, alt="The paper's claim, metric by metric")
        st.caption("Means over training seeds; differences to the best other learned policy, Welch's interval.")
    chart_table("found", lambda: results(manifest), "All policies on the paper's ward")


def _shown(value: object, show: object) -> str:
    assert callable(show)
    if value is None:
        return "automatic"
    return " to ".join(str(show(x)) for x in value) if isinstance(value, tuple) else str(show(value))
