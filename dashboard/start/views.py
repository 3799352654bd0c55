"""The parts of the Start page: what the lab shows, a scenario that plays, the tour, the other pages, claims and assumptions."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
import streamlit as st

from dashboard.chart_tables import chart_table
from dashboard.explore import views as explore_views
from dashboard.explore.city import city_of_task, undecided
from dashboard.explore.curves import draw_episode
from dashboard.following import Awaited, Episode, episode, is_large
from dashboard.navigation import TITLES, pages
from dashboard.session import Session
from dashboard.start.questions import QUESTIONS, Setup
from dashboard.start.tour import begin, restore, state
from dashboard.text import plain
from dashboard.ward_map import ward_map
from iomt_core.charts.batteries import end_words, plan_words
from iomt_core.charts.city_map import is_crowded
from iomt_core.charts.ward_map import ward_frames, ward_text
from iomt_core.experiments.evaluation import batteries_matter, compared_by, summary_of
from iomt_core.experiments.paper.results import results, verdict_table
from iomt_core.metrics import METRICS
from iomt_core.record import Record
from iomt_core.scenario import PRESETS, counted, metadata
from iomt_core.training.manifest import read_manifest

ABOUT = {
    "explore": "Change any parameter and see what every policy decides, and why a task runs on its device.",
    "inspect": "Look inside one decision and the policy that made it.",
    "compare": "Two scenarios or two policies on the same tasks, with the confidence interval of every difference.",
    "train": "Train the paper's algorithm or its baselines, and watch them learn.",
    "sweep": "One parameter over its whole range, many episodes at each point, with intervals.",
    "answers": "What matters most, how much you need, and what less delay costs in energy.",
    "twin": "Record what happens, encrypted; see who asked what, and what would have happened.",
    "paper": "The paper's figures in our numbers, and which of its claims hold.",
}


def sentences(session: Session) -> None:
    """What the lab shows, in a few sentences."""
    s = session.scenario
    servers = counted(s.servers, "edge server")
    st.markdown(
        f"A ward of {counted(s.users, 'user')} with wearables. In every step each user has up to {s.tasks} tasks: the small "
        f"marks around a user. Each task runs on the wearable (grey) or on one of {servers} (that server's colour and shape). "
        f"**{plain(session.policy_label)}** decides where each task runs and what share of CPU and bandwidth it gets. "
        "The curves show what these decisions cost, and the bound that no policy can beat."
    )


def episode_of(session: Session, awaited: Awaited) -> Episode:
    """The episode of the page; of a large ward as far as it is known by now."""
    return awaited.episode(session.policy_label, partial(explore_views.shown_episode, session))


def ward(session: Session, shown: Episode) -> None:
    """The map of the scenario, playing; a click on a task opens it on Explore."""
    record = shown.record
    if record is None:
        undecided(session, shown.problem)
        return
    if is_crowded(session.scenario):
        city_of_task(session, record, "start_city")
        st.caption("A site is as large as its number of tasks. Explore lets you choose a step and a site.")
        return
    row = min(session.step, len(record)) - 1

    maps = [("", ward_frames(record, session.policy_label), ward_text(record, row))]
    ward_map(
        maps, int(record.step[row]), session, "start_ward", autoplay=True,
        on_picked=lambda: setattr(session, "wanted_page", "explore"),
    )  # fmt: skip
    st.caption("Each step brings new tasks. Click a task to see why it runs on its device.")


def curves(session: Session, record: Record) -> None:
    """Delay, energy and cost of each step, running along with the map."""
    draw_episode(session, record, {}, "start_curves")


def figures(session: Session, record: Record) -> None:
    """A few metrics of the episode on the map."""
    s, seed = session.scenario, session.seed
    if is_large(s):
        now, alone = summary_of(record, session.shown_policy), episode("all local", s, "all-local", "own", seed, False)
        local = None if alone.record is None else summary_of(alone.record, "all-local")
    else:
        now = Setup(s, session.shown_policy, session.shares, seed).figures
        local = Setup(s, "all-local", seed=seed).figures
    by = compared_by(record)
    with st.container(key="figures"):
        for name in ("mean_delay_s", "mean_energy_j", "local_share", "return_gap" if by == "return" else "gap"):
            metric = METRICS[name]
            text = explore_views.METRIC_HELP.get(name, metric.sentence)
            if name not in now:
                st.metric(metric.label, "…", border=True, help=explore_views.FOLLOWS)
                continue
            st.metric(metric.label, metric.brief(now[name]), border=True, help=text)
    if local is None:
        return
    change, judged = now[by] / local[by] - 1 if local[by] else math.nan, METRICS[by]
    words = f", {100 * abs(change):.0f} % {'less' if change < 0 else 'more'} than" if math.isfinite(change) else ";"
    st.caption(
        f"{plain(session.policy_label)}, this episode. {judged.label}: {judged.brief(now[by])}{words} with all tasks on the "
        f"wearables ({judged.brief(local[by])}).",
        help=judged.sentence,
    )


def batteries(session: Session, shown: Record) -> None:
    """Where batteries run short: how the episode ends, and what a plan for it is worth."""
    if not batteries_matter(shown):
        return
    s, names = session.scenario, ("optimum-step", "all-local", "optimum")
    words = f"**Batteries run short here.** {plain(session.policy_label)}: {end_words(shown)}."
    if not is_large(s):  # there the comparison would take minutes; Explore has it as soon as it is known
        step, local, plan = (Setup(s, name, seed=session.seed).figures for name in names)
        words += f" {plan_words(step, local, plan, s)}"
    st.markdown(f"{words} Explore shows the charge of every battery.")


def tour(session: Session) -> None:
    """The tour's questions as cards, and a button that restores what was there before the tour."""
    st.subheader("Questions to begin with", anchor=False)
    with st.container(key="cards_questions"):
        for n, question in enumerate(QUESTIONS):
            with st.container(border=True):
                st.button(
                    question.title, key=f"ask_{question.key}", on_click=begin, args=(session, n), width="stretch",
                    type="primary" if n == 0 else "secondary",
                    help=f"Sets scenario and policy for you, and opens {TITLES[question.page][0]}.",
                )  # fmt: skip
                st.caption(question.teaser)
    before = state().before
    if before is not None:
        st.button(
            f"Back to “{plain(before.scenario.name)}”, the scenario from before the tour", icon=":material/undo:",
            key="tour_undo", on_click=restore, args=(session,), help="Restores scenario, policy, step, selection and pin.",
        )  # fmt: skip


def cards() -> None:
    """The other pages as cards."""
    st.subheader("Or open a page", anchor=False)
    known = pages()
    with st.container(key="cards_pages"):
        for name, text in ABOUT.items():
            if name in known:
                with st.container(border=True):
                    st.page_link(known[name], icon=TITLES[name][1])
                    st.caption(text)


def claims() -> None:
    """What the paper claims, what was found here, and what is an assumption of the lab."""
    assumed = {name: meta for name, meta in metadata().items() if meta.source == "assumption"}
    rest = sum(meta.group != "file" for meta in metadata().values())
    left, right = st.columns(2)
    with left:
        st.subheader("What the paper claims", anchor=False)
        st.markdown(
            "Yuan et al., *Digital Twin-Driven MADRL Approaches for Communication-Computing-Control Co-Optimization* (IEEE JSAC, "
            "2025), train many users' agents together and let each decide alone (SAE-MT-QMIX), and report less delay and less "
            "energy than their baselines. The lab checks this: model and algorithm are rebuilt equation by equation, and every "
            "policy, trained or not, is measured against the same bound."
        )
        _found()
    with right:
        st.subheader("What is assumed", anchor=False)
        st.markdown(
            f"The paper gives no value for {len(assumed)} of the {rest} parameters. Their values are assumptions of this lab, "
            "marked ᴬ on every control. So are deadlines and priorities of the medical signals in the *hospital* preset; their "
            "sizes are those of public data sets. Everything is simulated; there are no patient data."
        )
        box = st.expander("All assumptions", key="start_assumptions", on_change="rerun")
        if box.open:
            rows = [
                {"parameter": meta.label or name, "symbol": meta.symbol,
                 "value": _shown(getattr(PRESETS["paper"], name), meta.show), "meaning": meta.meaning}
                for name, meta in assumed.items()
            ]  # fmt: skip
            box.dataframe(pd.DataFrame(rows), hide_index=True, key="assumptions", alt="All assumptions of the lab")


def _found() -> None:
    """Whether the claim holds here, by the shipped policies."""
    manifest = read_manifest()
    if manifest is None:
        st.info("No trained policies are included: `make pretrained` makes them.", icon=":material/info:")
        return
    table = verdict_table(manifest)
    if len(table):
        steps = manifest["held_out"]["steps"]
        st.markdown(
            f"**What was found here**, on {steps} held-out steps of the paper's scenario, with the paper networks:"
        )
        shown = pd.DataFrame(
            {
                "claim": "lowest " + table["metric"].str.lower(),
                "rank": table["rank of SAE-MT-QMIX"],
                "difference": table["compared with"] + ": " + table["difference (95 % interval)"],
                "verdict": table["verdict"],
            }
        )
        st.table(shown, border="horizontal", hide_index=True, alt="The paper's claim, metric by metric")
        st.caption(
            "Rank of SAE-MT-QMIX among the learned policies, and its difference from the best other one with the 95 % interval.",
            help="Means over training seeds; Welch's interval.",
        )
    chart_table("found", lambda: results(manifest), "All policies in the paper's scenario")


def _shown(value: object, show: object) -> str:
    assert callable(show)
    if value is None:
        return "automatic"
    return " to ".join(str(show(x)) for x in value) if isinstance(value, tuple) else str(show(value))
