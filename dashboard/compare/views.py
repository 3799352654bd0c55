"""The results on the Compare page; each function shows one part."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.chart_tables import csv_button
from dashboard.plotly_chart import plotly_chart
from dashboard.text import plain
from iomt_core.charts import forest as forest_charts
from iomt_core.experiments.comparison.differences import Pairing, differences
from iomt_core.experiments.comparison.paired import Paired, percent
from iomt_core.experiments.comparison.sides import Comparison, Side
from iomt_core.experiments.sweeps.spec import written
from iomt_core.metrics import CONTEXT, METRICS
from iomt_core.training.catalogue import policy_label

NAN = float("nan")


def answer(found: Comparison, pairing: Pairing) -> None:
    """The result in a few sentences; by the return where one side did not do everything."""
    pair, verb = found.pair(found.by), "return" if found.by == "return" else "cost"
    if pair.same:
        words = f"**A and B {verb} the same** in every episode, {pair.metric.show(pair.mean_a)}"
    elif pair.relative is None:
        words = f"**A {verb}s nothing**, so there is no relative change"
    else:
        more = "more" if pair.difference > 0 else "less"
        words = f"B {verb}s {percent(abs(pair.relative)).removeprefix('+')} {more} than A"
        words = f"**{words}**" if pair.excludes_zero else words
        words += f": {pair.metric.show(pair.mean_b)} instead of {pair.metric.show(pair.mean_a)} ({pair.interval_words})"
        words += ", **not distinguishable from 0**" if pair.excludes_zero is False else ""
    st.markdown(f"{words}. {_decisions(found, pairing)}")
    if found.by == "return":
        st.caption(
            "Compared by **return**, the sum of p max(0, 1 - cost) over an episode, because not everything was done: cost, delay "
            "and energy are means of what was done, so that a side that does less may seem better."
        )
    if pairing.ungraded:
        st.info(pairing.ungraded, icon=":material/balance:")


def sides_words(sides: tuple[Side, Side]) -> str:
    """Policy, network and ward of both sides, for a chart's subtitle."""
    return " · ".join(f"{name}: {_label(side)} on {side.scenario.name}" for name, side in zip("AB", sides, strict=True))


def _label(side: Side) -> str:
    return policy_label(side.policy)


def _decisions(found: Comparison, pairing: Pairing) -> str:
    if not pairing.comparable:
        return "Decisions cannot be compared one to one: the two scenarios do not have the same tasks."
    if not found.changed:
        return f"All {found.compared} decisions are the same."
    share, between = 100 * found.changed / found.compared, found.changed - found.moved
    return (
        f"**{share:.3g} % of the decisions changed** ({found.changed} of {found.compared}): {found.moved} between own device "
        f"and a server, {between} from one server to another."
    )


def warnings(found: Comparison) -> None:
    """Warns if empty batteries ended episodes early, or tasks were skipped."""
    sides = zip("AB", (found.a, found.b), found.ended, found.steps, found.skipped, strict=True)
    for name, side, count, steps, skipped in sides:
        if count:
            st.warning(
                f"{name}: an empty battery (C5) ended {count} of {found.episodes} episodes, after {steps:.3g} of "
                f"{side.scenario.T} steps on average. The step that it cannot pay and all later ones earn nothing.",
                icon=":material/battery_alert:",
            )
        if skipped:
            share = CONTEXT["skipped_share"].brief(skipped)
            st.warning(f"{name} skips {share} of its tasks. Each costs 1 and earns nothing.", icon=":material/block:")


def parameters(a: Side, b: Side, pairing: Pairing) -> None:
    """A table of what differs between the sides, including the policies, and notes on what their episodes have in common."""
    rows = [
        (d.label + " ᴬ" * d.assumption, plain(written(d.symbol)), plain(d.a), plain(d.b))
        for d in differences(a.scenario, b.scenario)
    ]
    if _label(a) != _label(b):
        rows.insert(0, ("Policy", "", plain(_label(a)), plain(_label(b))))
    if a.shares != b.shares:
        rows.insert(0, ("Shares", "", a.shares, b.shares))
    st.markdown("**What differs**")
    if rows:
        table = pd.DataFrame(rows, columns=["parameter", "symbol", "A", "B"])
        st.table(table, border="horizontal", hide_index=True, alt="Parameters in which A and B differ")
    else:
        st.info(
            "Nothing: A and B are the same. Move a slider in the sidebar, or choose another policy or scenario for A.",
            icon=":material/drag_handle:",
        )
    st.caption("  \n".join(pairing.notes))


def figures(found: Comparison, pairing: Pairing) -> None:
    """The change of every metric as a forest plot."""
    scope = f"{found.episodes} episode{'s' * (found.episodes > 1)} from seed {found.seed}"
    figure = forest_charts.forest(
        found.pairs, f"{sides_words((found.a, found.b))} · {scope}", not pairing.ungraded, found.by
    )
    plotly_chart(figure, "compare_forest")
    if found.episodes == 1:
        st.caption("One episode gives no interval: play two or more.")
    else:
        st.caption(
            "A mark is the mean change, its line the 95 % interval; where the line crosses 0, the change may be chance."
        )


def numbers(found: Comparison, pairing: Pairing) -> None:
    """All metrics as a table."""
    if missing := [metric.label.lower() for name, metric in METRICS.items() if not found.has(name)]:
        st.caption(
            f"A ward as large as this one is compared without certificates, and so without {', '.join(missing)}: they would take "
            "minutes for each episode. Explore computes those of one episode."
        )
    graded = not pairing.ungraded
    st.markdown("**All metrics in numbers**")
    rows = [
        {
            "metric": pair.metric.label, "A": pair.metric.show(pair.mean_a), "B": pair.metric.show(pair.mean_b),
            "B - A": pair.metric.show_difference(pair.difference),
            "95 % interval of B - A": pair.interval_text,
            "change": "" if pair.relative is None else percent(pair.relative),
            "what it says": forest_charts.VERDICTS[forest_charts.verdict(pair, graded, found.by)], "meaning": pair.metric.help,
        }
        for pair in found.pairs
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Metrics of A and B with paired intervals")
    st.caption(
        "Means over episodes. The interval (Student) is over the paired differences, episode by episode; the change in % is "
        "relative to A's mean, which is taken as fixed. Each interval holds with 95 % by itself, not all of them together."
    )
    table = metric_table(found.pairs, graded, found.by).assign(policy_a=_label(found.a), policy_b=_label(found.b))
    csv_button("Download (CSV)", table.to_csv(index=False), "comparison-metrics.csv")


def metric_table(pairs: tuple[Paired, ...], graded: bool, by: str) -> pd.DataFrame:
    """One row for each metric, in the units shown on the pages, with all digits; `graded`, `by`: see `forest.verdict`."""
    rows = []
    for pair in pairs:
        metric, interval, share = pair.metric, pair.interval or (NAN, NAN), pair.relative_interval or (NAN, NAN)
        values = {"A": pair.mean_a, "B": pair.mean_b, "B - A": pair.difference, "from": interval[0], "to": interval[1]}
        relative = {
            "change (%)": NAN if pair.relative is None else pair.relative,
            "from (%)": share[0],
            "to (%)": share[1],
        }
        rows.append(
            {"metric": metric.label, "unit": metric.unit}
            | {name: x * metric.factor for name, x in values.items()}
            | {"unit of B - A": metric.difference_unit}
            | {name: 100 * x for name, x in relative.items()}
            | {
                "what the interval says": forest_charts.VERDICTS[forest_charts.verdict(pair, graded, by)],
                "meaning": metric.help,
            }
        )
    return pd.DataFrame(rows)


def episodes(found: Comparison) -> None:
    """The values of one metric in A and B, for every episode."""
    names = [name for name in METRICS if found.has(name)]
    name = st.selectbox(
        "Metric", names, names.index(found.by), key="compare_figure", width=300,
        format_func=lambda n: METRICS[n].label, help="Which metric to show episode by episode.",
    )  # fmt: skip
    pair = found.pair(name)
    figure = forest_charts.episode_pairs(pair, f"{sides_words((found.a, found.b))} · from seed {found.seed}")
    plotly_chart(figure, "compare_pairs")
    if pair.narrowing is not None:
        st.caption(
            f"Pairing makes the interval of this difference {pair.narrowing:.3g} times as narrow as that of as many independent "
            "episodes on each side."
        )
    columns = {"episode": range(1, found.episodes + 1)}
    for pair in found.pairs:
        for side, values in zip("AB", (pair.a, pair.b), strict=True):
            if len(values) == found.episodes:
                columns[f"{side}: {pair.metric.axis_title}"] = [x * pair.metric.factor for x in values]  # type: ignore[assignment]
    table = pd.DataFrame(columns)
    st.dataframe(table, hide_index=True, alt="All metrics of every episode", height=min(360, 38 + 35 * len(table)))
    csv_button("Download all episodes (CSV)", table.to_csv(index=False), "comparison-episodes.csv")
