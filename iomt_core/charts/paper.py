"""The paper's Figures 4 to 13 and Table III from the results of the runs, and their page in HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts import sweep
from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.learning import REFERENCE_COLOUR, REFERENCE_DASHES, Curve, Line, learning_figure
from iomt_core.charts.report import document, drawing
from iomt_core.charts.style import SERVER_COLOURS
from iomt_core.experiments.paper.claims import Verdict, figure_table, verdict_table
from iomt_core.experiments.paper.figures import ARMS, CENTRE, REFERENCES, TABLE_III, Figure
from iomt_core.experiments.run_files import REFERENCE, Results
from iomt_core.metrics import METRICS
from iomt_core.policies.registry import POLICIES
from iomt_core.runs.curves import Curves

NEAR = ("optimum", "price-response")  # references that are drawn at first; the others would flatten the curves
CURVES = {
    "return": Curve(METRICS["return"], "return", evaluated=True),
    "cost": Curve(METRICS["cost"], "cost", evaluated=True),
    "gap": Curve(METRICS["gap"], evaluated=True),
    "mean_delay_s": Curve(METRICS["mean_delay_s"], evaluated=True),
    "mean_energy_j": Curve(METRICS["mean_energy_j"], evaluated=True),
}


def metrics_of(figure: Figure) -> tuple[str, ...]:
    """The metrics that a figure can show, its own first; none for Table III."""
    if figure.name == TABLE_III:
        return ()
    names = tuple(METRICS) if figure.parameter else tuple(CURVES)
    return (figure.metric, *(name for name in names if name != figure.metric))


def paper_figure(
    figure: Figure, results: Results, sizes: Mapping[str, Mapping[str, int]], metric: str = "", subtitle: str = ""
) -> go.Figure:
    """A figure of the paper in our numbers; without `metric` in the paper's own. sizes: the rows of Table III."""
    if figure.name == TABLE_III:
        return _sizes(sizes)
    name = metric or figure.metric
    return _axis(figure, results, name, subtitle) if figure.parameter else _learning(figure, results, name, subtitle)


def shown_table(
    figure: Figure, results: Results, sizes: Mapping[str, Mapping[str, int]], metric: str = ""
) -> pd.DataFrame:
    """The numbers of `paper_figure` in the units that it shows."""
    if figure.name == TABLE_III:
        return pd.DataFrame(
            [
                {
                    "network": name, "parameters": row["parameters"], "parameters, paper": row["paper_parameters"],
                    "FLOPs": row["flops"], "FLOPs, paper": row["paper_flops"],
                }
                for name, row in sizes.items()
            ]
        )  # fmt: skip
    shown = METRICS[metric or figure.metric]
    if figure.parameter:
        table = figure_table(figure, results)
        columns = {shown.name: shown.heading, f"{shown.name}_low": "low end", f"{shown.name}_high": "high end"}
        scaled = pd.DataFrame({heading: table[name] * shown.factor for name, heading in columns.items()})
        first = {
            figure.axis.title: table[figure.parameter],
            "policy": [labels().get(p, p) for p in table["policy"]],
            "seeds": table["seeds"],
        }
        return pd.concat([pd.DataFrame(first), scaled], axis=1)
    rows = [
        {"policy": labels()[arm], "seed": seed, "episode": x, shown.heading: y * shown.factor}
        for arm, seed, found in _curves_of(figure, results)
        for x, y in zip(found["held_out"]["episodes"], found["held_out"][shown.name], strict=True)
    ]
    return pd.DataFrame(rows, columns=["policy", "seed", "episode", shown.heading])


def labels() -> dict[str, str]:
    """Labels of all arms and of the policies without training."""
    return {name: arm.label for name, arm in ARMS.items()} | {name: POLICIES[name].label for name in REFERENCES}


def paper_report(
    figure: Figure, results: Results, sizes: Mapping[str, Mapping[str, int]], found: Sequence[Verdict], recipe: str
) -> str:
    """A figure with the paper's claims, the verdicts and the numbers as one HTML page that loads nothing."""
    e = html.escape
    claims = verdict_table(found).to_html(index=False, border=0)
    numbers = shown_table(figure, results, sizes).to_html(
        index=False, border=0, na_rep="", float_format="{:.6g}".format
    )
    return document(
        f"{figure.label}: {figure.title}",
        [
            drawing(paper_figure(figure, results, sizes, subtitle=recipe), with_library=True),
            f"<h2>The paper's claims</h2><div class='wide'>{claims}</div>",
            f"<p class='small'>{e(recipe)}</p>",
            f"<h2>All numbers</h2><div class='wide'>{numbers}</div>",
        ],
    )


def _axis(figure: Figure, results: Results, name: str, subtitle: str) -> go.Figure:
    """A metric over the axis: algorithms with bands over seeds, policies without training as grey lines."""
    table = figure_table(figure, results)
    chart = sweep.curves(
        table[table["policy"].isin(figure.arms)], figure.axis, name, {arm: ARMS[arm].label for arm in figure.arms}, subtitle
    )  # fmt: skip
    shown, named = METRICS[name], labels()
    for policy in REFERENCES:
        rows = table[table["policy"] == policy]
        if len(rows):
            chart.add_trace(
                {
                    "type": "scatter", "mode": "lines", "name": named[policy],
                    "x": [figure.axis.shown(v) for v in rows[figure.parameter]],
                    "y": [float(v) * shown.factor for v in rows[name]],
                    "visible": True if policy in NEAR else "legendonly",
                    "line": {"color": REFERENCE_COLOUR, "width": 1.6, "dash": REFERENCE_DASHES.get(policy, "4px,4px")},
                    "hovertemplate": f"{named[policy]}: %{{y:.4g}} {shown.unit}<extra></extra>",
                }
            )  # fmt: skip
    chart.layout.height = sweep.HEIGHT + sweep.LEGEND_ROW * 5
    chart.layout.title.text = html.escape(f"{figure.label}: {shown.label} over {figure.axis.title}", quote=False)
    chart.layout.meta["alt"] = _words(figure, table, name)
    return chart


def _words(figure: Figure, table: pd.DataFrame, name: str) -> str:
    """The curves in words: each at both ends of the axis."""
    shown, named = METRICS[name], labels()
    found = []
    for policy, rows in table.groupby("policy", sort=False):
        ends = [rows.iloc[0], rows.iloc[-1]]
        values = (f"{shown.show(float(row[name]))} at {row[figure.parameter]:g}" for row in ends)
        found.append(f"{named.get(str(policy), policy)} {' and '.join(values)}")
    return f"{shown.axis_title} over {figure.axis.title}. {'; '.join(found)}."


def _curves_of(figure: Figure, results: Results) -> list[tuple[str, int, Mapping[str, Any]]]:
    known = {(arm, seed): found for (arm, ward, seed), found in results.items() if ward == CENTRE and arm != REFERENCE}
    return [(arm, seed, found) for arm in figure.arms for (a, seed), found in sorted(known.items()) if a == arm]


def _learning(figure: Figure, results: Results, name: str, subtitle: str) -> go.Figure:
    lines = []
    for number, arm in enumerate(figure.arms):
        runs = [
            Curves(found["training"], found["held_out"], {}) for a, _, found in _curves_of(figure, results) if a == arm
        ]
        if runs:
            lines.append(Line(ARMS[arm].label, runs, number))
    chart = learning_figure(CURVES[name], lines, subtitle=subtitle, big=True)
    chart.layout.title.text = html.escape(f"{figure.label}: {figure.title}", quote=False)
    return chart


def _sizes(sizes: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """Parameters and FLOPs of every network beside the paper's."""
    names = list(sizes)
    series = [
        Bars(label, [float(sizes[name][key]) for name in names], [colour] * len(names), hatched)
        for label, key, colour, hatched in (
            ("parameters", "parameters", SERVER_COLOURS[0], False),
            ("parameters, paper", "paper_parameters", SERVER_COLOURS[0], True),
            ("FLOPs", "flops", SERVER_COLOURS[1], False),
            ("FLOPs, paper", "paper_flops", SERVER_COLOURS[1], True),
        )
    ]
    return grouped_bars(names, series, "Table III: sizes of the agents' networks", "number")
