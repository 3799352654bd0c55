"""The results on the Compare page; each function shows one part."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.chart_tables import csv_button
from dashboard.drawings import draw
from dashboard.session import policy_label
from dashboard.text import plain
from iomt_core.charts import forest as forest_charts
from iomt_core.experiments.comparison.differences import Pairing, differences
from iomt_core.experiments.comparison.paired import Paired
from iomt_core.experiments.comparison.sides import Comparison, Side
from iomt_core.metrics import METRICS

NAN = float("nan")


def answer(found: Comparison, pairing: Pairing) -> None:
    """The result in a few sentences."""
    cost = found.pair("cost")
    if cost.same:
        words = "**A and B cost the same** in every episode"
    elif cost.relative is None:
        words = "**A costs nothing**, so there is no relative change"
    else:
        more = "more" if cost.difference > 0 else "less"
        words = f"B costs {100 * abs(cost.relative):.3g} % {more} than A"
        words = f"**{words}**" if cost.excludes_zero else words
        if cost.relative_interval is None:
            words += " in this one episode; one episode gives no interval"
        else:
            low, high = cost.relative_interval
            words += f" (95 % interval {100 * low:+.3g} to {100 * high:+.3g} %, {len(cost.a)} episodes)"
            words += "" if cost.excludes_zero else ": **not distinguishable from 0**"
    st.markdown(f"{words}. {_decisions(found, pairing)}")


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
    """Warns if empty batteries ended episodes early."""
    for name, side, count, steps in zip("AB", (found.a, found.b), found.ended, found.steps, strict=True):
        if count:
            st.warning(
                f"{name}: an empty battery (C5) ended {count} of {found.episodes} episodes. The metrics are of the steps played, "
                f"{steps:.3g} of {side.scenario.T} on average.",
                icon=":material/battery_alert:",
            )


def parameters(a: Side, b: Side, pairing: Pairing) -> None:
    """A table of what differs between the sides, including the policies, and notes on what their episodes have in common."""
    rows = [
        (d.label + " ᴬ" * d.assumption, plain(d.symbol), plain(d.a), plain(d.b))
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


def figures(found: Comparison) -> None:
    """The change of every metric as a forest plot."""
    st.markdown("**Change from A to B**")
    draw("forest", forest_charts.forest(found.pairs))
    if found.episodes == 1:
        st.caption("One episode gives no interval: play two or more.")


def numbers(found: Comparison) -> None:
    """All metrics as a table, computed while it is open."""
    box = st.expander("All metrics in numbers", key="compare_numbers", on_change="rerun")
    if box.open:
        with box:
            _numbers(found)


def _numbers(found: Comparison) -> None:
    table = metric_table(found.pairs)
    columns: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="%.5g") for name in table.columns if table[name].dtype == float
    }
    st.dataframe(table, hide_index=True, column_config=columns, alt="Metrics of A and B with paired intervals")
    st.caption(
        "Means over episodes. B - A has a 95 % interval (Student) over the paired differences, episode by episode. The change "
        "in % is relative to A's mean, which is taken as fixed. Each interval holds with 95 % by "
        "itself, not all of them together."
    )
    named = table.assign(policy_a=_label(found.a), policy_b=_label(found.b))
    csv_button("Download (CSV)", named.to_csv(index=False), "comparison-metrics.csv")


def metric_table(pairs: tuple[Paired, ...]) -> pd.DataFrame:
    """One row for each metric, in the units shown on the pages."""
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
            | {"what the interval says": forest_charts.VERDICTS[forest_charts.verdict(pair)], "meaning": metric.help}
        )
    return pd.DataFrame(rows)


def episodes(found: Comparison) -> None:
    """The values of one metric in A and B, for every episode."""
    name = st.selectbox(
        "Metric", list(METRICS), key="compare_figure", format_func=lambda n: METRICS[n].label, width=300,
        help="Which metric to show episode by episode.",
    )  # fmt: skip
    pair = found.pair(name)
    draw("episode_pairs", forest_charts.episode_pairs(pair))
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
