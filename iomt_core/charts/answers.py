"""The charts of answers: tornado, indices over ranges, the curve of a goal seek, and the trade-off with its bound."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from iomt_core.charts.figure import figure
from iomt_core.charts.style import BOUND_COLOUR, DASHES, LOCAL_COLOUR, SERVER_COLOURS, SYMBOLS
from iomt_core.experiments.answers.goal_seek import Finding, GoalSeek, Probe
from iomt_core.experiments.answers.question import Question
from iomt_core.experiments.answers.results import Results
from iomt_core.experiments.answers.screening import RANKED_BY, Screening
from iomt_core.experiments.answers.sensitivity import Effect, Sensitivity, show
from iomt_core.experiments.answers.trade_off import DELAY, ENERGY, Choice, SupportLine, TradeOff, envelope, least_energy
from iomt_core.experiments.comparison.differences import YARDSTICK
from iomt_core.experiments.sweeps.spec import is_whole
from iomt_core.metrics import METRICS, Metric
from iomt_core.scenario import counted
from iomt_core.training.catalogue import policy_label

ROW, ROOM, HEIGHT = 34, 120, 400  # px: a parameter's bars; legend, axis and its title; other charts
MOST_ROWS = 12  # parameters of a tornado; the table has all
SAMPLES = 120  # of the bound's curve
WIDE = 8.0  # an axis is logarithmic if its largest value is so many times the smallest
DOWN_COLOUR, UP_COLOUR = SERVER_COLOURS[0], SERVER_COLOURS[1]


def subtitle(question: Question) -> str:
    """What decides, where, and how often: the subtitle of an answer's chart."""
    several = "Policies" if len(question.policies) > 1 else "Policy"
    episodes = f"{counted(question.episodes, 'episode')} of each ward from seed {question.seed}"
    return f"{several}: {question.policy_names} · Ward: {question.scenario.name}, {question.scenario.size_words} · {episodes}"


def tornado(question: Sensitivity, results: Results, metric: str) -> go.Figure:
    """Relative change of a metric when a parameter goes down or up, the largest first, with paired 95 % intervals."""
    shown = METRICS[metric]
    ranked = [item for item in question.ranked(results, metric) if metric != "cost" or item[0] not in YARDSTICK][
        :MOST_ROWS
    ]
    labels = [_label(effects[0]) for _, effects in ranked]
    data: list[dict[str, Any]] = []
    for up, name, colour in ((False, "less", DOWN_COLOUR), (True, "more", UP_COLOUR)):
        bars = [
            (label, e)
            for label, (_, effects) in zip(labels, ranked, strict=True)
            for e in effects
            if e.variation.up == up
        ]
        data.append(_tornado_bars(bars, shown, name, colour, hatched=up))
    if metric == "cost":
        data += _predictions(labels, [effects for _, effects in ranked])
    layout = {
        "height": ROW * max(3, len(labels)) + ROOM,
        "barmode": "group",
        "bargap": 0.25,
        "uirevision": metric,
        "xaxis": {"title": {"text": f"change of {_lower(shown)} (%)"}, "ticksuffix": " %"},
        "yaxis": {"type": "category", "categoryarray": labels, "autorange": "reversed", "showgrid": False},
    }
    words = "; ".join(
        f"{label} {_percent(e, metric)}" for label, (_, es) in zip(labels, ranked, strict=True) for e in es
    )
    return figure(
        data, layout, f"Change of {_lower(shown)} when one parameter changes",
        f"Change of {_lower(shown)} by parameter, the largest first: {words or 'nothing is known yet'}.", subtitle(question),
    )  # fmt: skip


def _tornado_bars(
    bars: Sequence[tuple[str, Effect]], shown: Metric, name: str, colour: str, hatched: bool
) -> dict[str, Any]:
    values, low, high, words = [], [], [], []
    for label, effect in bars:
        pair, v = effect.pairs[shown.name], effect.variation
        value = 100 * (pair.relative or 0.0)
        ends = [100 * end for end in pair.relative_interval or (value / 100, value / 100)]
        values.append(_rounded(value))
        low.append(_rounded(value - ends[0]))
        high.append(_rounded(ends[1] - value))
        interval = f"{value:+.3g} % (95 % interval {ends[0]:+.3g} to {ends[1]:+.3g} %)"
        amounts = f"{shown.show(pair.mean_a)} → {shown.show(pair.mean_b)}"
        words.append(
            f"{label}: {v.words}<br>{show(v.before, v.meta)} → {show(v.after, v.meta)}<br>{shown.label} {interval}<br>{amounts}"
        )
    pattern = (
        {"shape": "/", "size": 6, "solidity": 0.35, "fillmode": "overlay", "fgcolor": "#ffffff"} if hatched else {}
    )
    return {
        "type": "bar", "orientation": "h", "name": name, "y": [label for label, _ in bars], "x": values,
        "marker": {"color": colour, "pattern": pattern}, "hovertext": words, "hovertemplate": "%{hovertext}<extra></extra>",
        "error_x": {
            "type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 1.5, "width": 3,
            "color": LOCAL_COLOUR,
        },
    }  # fmt: skip


def _predictions(labels: Sequence[str], ranked: Sequence[Sequence[Effect]]) -> list[dict[str, Any]]:
    """What shadow prices predict for the cost, of parameters that have them."""
    found = [
        (label, _rounded(100 * e.predicted), e)
        for label, effects in zip(labels, ranked, strict=True)
        for e in effects
        if e.predicted is not None
    ]
    if not found:
        return []
    return [
        {
            "type": "scatter", "mode": "markers", "name": "predicted by shadow prices", "y": [y for y, _, _ in found],
            "x": [x for _, x, _ in found], "marker": {"symbol": "diamond-open", "size": 11, "color": BOUND_COLOUR,
                                                      "line": {"width": 2}},
            "hovertext": [f"{y}: {e.variation.words}<br>the shadow prices predict {x:+.3g} %" for y, x, e in found],
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
    ]  # fmt: skip


def index_bars(question: Screening, results: Results, metric: str) -> go.Figure:
    """The indices of all parameters for a metric, the largest first, with 95 % intervals by bootstrap."""
    shown, morris = METRICS[metric], question.method == "morris"
    table = question.indices(results, metric)
    by = RANKED_BY[question.method]
    if not table.empty:
        table = table.sort_values(by, ascending=False, kind="stable")
    names = [str(question.axis(str(p)).meta.label) for p in table.get("parameter", ())]
    factor, unit = (shown.factor, shown.difference_unit) if morris else (100.0, "%")
    series = [("mu_star", "mean change over the range")] if morris else [
        ("total", "total: with all interactions"), ("first", "by itself"),
    ]  # fmt: skip
    data = []
    for n, (column, words) in enumerate(series):
        values = [_rounded(factor * float(v)) for v in table.get(column, ())]
        halves = [_rounded(factor * float(v)) for v in table.get(f"{column}_conf", ())]
        hover = [f"{a}: {words}<br>{v:.4g} ± {h:.2g} {unit}" for a, v, h in zip(names, values, halves, strict=True)]
        if morris:
            spread = [factor * float(v) for v in table.get("sigma", ())]
            hover = [
                f"{a}<br>σ {s:.3g} {unit}: differs so much from place to place"
                for a, s in zip(hover, spread, strict=True)
            ]
        data.append(
            {
                "type": "bar", "orientation": "h", "name": words, "y": names, "x": values, "hovertext": hover,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "marker": {"color": (DOWN_COLOUR, UP_COLOUR)[n], "pattern": {"shape": "" if n == 0 else "/"}},
                "error_x": {"type": "data", "array": halves, "thickness": 1.5, "width": 3, "color": LOCAL_COLOUR},
            }
        )  # fmt: skip
    axis = f"mean change of {_lower(shown)} over the range{f' ({unit})' if unit else ''}" if morris else (
        f"share of the variance of {_lower(shown)} (%)"
    )  # fmt: skip
    layout = {
        "height": ROW * max(3, len(names)) + ROOM,
        "barmode": "group",
        "bargap": 0.25,
        "showlegend": len(series) > 1,
        "uirevision": metric,
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
        "yaxis": {"type": "category", "categoryarray": names, "autorange": "reversed", "showgrid": False},
    }
    words = "; ".join(f"{name} {v}" for name, v in zip(names, data[0]["x"], strict=True))
    return figure(
        data, layout, f"What {_lower(shown)} depends on over these ranges", f"{axis}: {words or 'nothing is known yet'}.",
        subtitle(question),
    )  # fmt: skip


def goal_curve(question: GoalSeek, results: Results) -> go.Figure:
    """The metric at every value tried with its 95 % interval, the target, and the answer."""
    found, shown = question.finding(results), question.measured
    decided = [probe for probe in found.probes if not probe.evaluation.reason]
    x = [question.axis.shown(probe.value) for probe in decided]
    holds = [probe.holds(question.target) for probe in decided]
    f = shown.factor
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": f"{_lower(shown)}, 95 % interval", "x": x,
            "y": [_rounded(f * p.mean) for p in decided], "line": {"color": DOWN_COLOUR, "width": 2},
            "marker": {
                "symbol": ["circle" if h else "circle-open" for h in holds], "size": 10, "color": DOWN_COLOUR,
                "line": {"width": 2, "color": DOWN_COLOUR},
            },
            "error_y": {
                "type": "data", "symmetric": False, "array": [_rounded(f * (p.high - p.mean)) for p in decided],
                "arrayminus": [_rounded(f * (p.mean - p.low)) for p in decided], "thickness": 1.5, "width": 4,
            },
            "hovertext": [_probe_words(question, probe) for probe in decided], "hovertemplate": "%{hovertext}<extra></extra>",
        },
        {
            "type": "scatter", "mode": "lines", "name": f"target: at most {shown.show(question.target)}",
            "x": [question.axis.shown(v) for v in question.axis.values], "y": [_rounded(f * question.target)] * 2,
            "line": {"color": BOUND_COLOUR, "dash": "dash", "width": 2}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    data += _not_available(question, found)
    if found.answer is not None:
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": f"answer: {question.value_words(found.answer)}",
                "x": [question.axis.shown(found.answer.value)], "y": [_rounded(f * found.answer.mean)], "hoverinfo": "skip",
                "marker": {"symbol": "circle-open", "size": 20, "color": SERVER_COLOURS[4], "line": {"width": 3}},
            }
        )  # fmt: skip
    log = question.axis.spacing == "logarithmic"
    whole = is_whole(question.axis.parameter) and len(found.probes) <= MOST_ROWS
    layout = {
        "height": HEIGHT,
        "xaxis": {
            "title": {"text": question.axis.title}, **({"type": "log", "dtick": "D2", "tickformat": ",~g"} if log else {}),
            **({"tickvals": [question.axis.shown(probe.value) for probe in found.probes]} if whole else {}),
        },
        "yaxis": {"title": {"text": shown.axis_title}, "rangemode": "tozero"},
    }  # fmt: skip
    words = "; ".join(f"{question.value_words(probe)}: {shown.show(probe.mean)}" for probe in decided)
    return figure(
        data, layout, f"{shown.label} at each value of {_lower_first(question.axis.meta.label or question.axis.parameter)}",
        f"{shown.axis_title} at the values tried: {words}. Target: at most {shown.show(question.target)}. Filled: it holds.",
        subtitle(question),
    )  # fmt: skip


def _not_available(question: GoalSeek, found: Finding) -> list[dict[str, Any]]:
    missing = [probe for probe in found.probes if probe.evaluation.reason]
    if not missing:
        return []
    return [
        {
            "type": "scatter", "mode": "markers", "name": "the policy cannot decide", "y": [0.0] * len(missing),
            "x": [question.axis.shown(probe.value) for probe in missing],
            "marker": {"symbol": "x", "size": 9, "color": LOCAL_COLOUR}, "cliponaxis": False,
            "hovertext": [f"{question.value_words(p)}: {_wrapped(p.evaluation.reason)}" for p in missing],
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
    ]  # fmt: skip


def _probe_words(question: GoalSeek, probe: Probe) -> str:
    m = question.measured
    words = "holds" if probe.holds(question.target) else "does not hold"
    sure = probe.holds(question.target, "high") or not probe.holds(question.target, "low")
    return (
        f"{question.value_words(probe)}<br>{m.label} {m.show(probe.mean)} (95 % interval {m.number(probe.low)} to "
        f"{m.number(probe.high)})<br>the target {words}{'' if sure else ', not certain'}"
    )


def pareto(question: TradeOff, results: Results) -> go.Figure:
    """Delay against energy of every policy and weight; dominated choices are open, and no policy can be below the bound."""
    choices, lines = question.choices(results), question.bound(results)
    data: list[dict[str, Any]] = []
    log_x, log_y = (_is_wide([getattr(c, name) for c in choices]) for name in ("delay", "energy"))
    data += _bound_curve(lines, choices, log_x, log_y)
    for n, policy in enumerate(question.compared):
        mine = [choice for choice in choices if choice.evaluation.policy == policy]
        if mine:
            data.append(_policy_trace(policy, n, mine))
    layout = {
        "height": HEIGHT + 20 * (len(question.compared) // 2),
        "xaxis": {
            "title": {"text": f"priority-weighted {DELAY.heading.removeprefix('priority-weighted ')}"},
            **_axis(log_x),
        },
        "yaxis": {
            "title": {"text": f"priority-weighted {ENERGY.heading.removeprefix('priority-weighted ')}"},
            **_axis(log_y),
        },
    }
    words = "; ".join(
        f"{policy_label(c.evaluation.policy)} at α_T = {c.alpha_T:g}: {DELAY.show(c.delay)}, {ENERGY.show(c.energy)}"
        for c in question.front(results)
    )
    return figure(
        data, layout, "Delay against energy as the weight of delay moves",
        f"Choices that none beats in both: {words or 'nothing is known yet'}.", subtitle(question),
    )  # fmt: skip


def _policy_trace(policy: str, n: int, choices: Sequence[Choice]) -> dict[str, Any]:
    symbol, colour = SYMBOLS[n % len(SYMBOLS)], SERVER_COLOURS[n % len(SERVER_COLOURS)]
    label = html.escape(policy_label(policy), quote=False)
    ordered = sorted(choices, key=lambda c: c.alpha_T)
    return {
        "type": "scatter", "mode": "lines+markers", "name": label, "x": [_rounded(DELAY.factor * c.delay) for c in ordered],
        "y": [_rounded(ENERGY.factor * c.energy) for c in ordered],
        "line": {"color": colour, "dash": DASHES[n % len(DASHES)], "width": 1},
        "marker": {
            "symbol": [f"{symbol}-open" if c.dominated else symbol for c in ordered], "size": 10, "color": colour,
            "line": {"width": 1.5, "color": colour},
        },
        "hovertext": [_choice_words(label, c) for c in ordered], "hovertemplate": "%{hovertext}<extra></extra>",
    }  # fmt: skip


def _choice_words(label: str, choice: Choice) -> str:
    parts = [f"{label}, α_T = {choice.alpha_T:g}"]
    for metric, value in ((DELAY, choice.delay), (ENERGY, choice.energy)):
        low, high = choice.evaluation.interval(metric) or (value, value)
        parts.append(f"{metric.label} {metric.show(value)} ({metric.number(low)} to {metric.number(high)})")
    return "<br>".join([*parts, "another choice has less of both" if choice.dominated else "on the front"])


def _bound_curve(
    lines: Sequence[SupportLine], choices: Sequence[Choice], log_x: bool, log_y: bool
) -> list[dict[str, Any]]:
    """The lower envelope of what any policy can have, from the highest energy drawn to the largest delay drawn."""
    corners = envelope(lines, [choice.delay for choice in choices])
    if not corners:
        return []
    begin, end = corners[0][0], corners[-1][0]
    steps = [n / SAMPLES for n in range(SAMPLES + 1)]
    between = [begin * (end / begin) ** u if log_x else begin + u * (end - begin) for u in steps]
    points = [(x, least_energy(lines, x)) for x in sorted({*between, *(x for x, _ in corners)})]
    top = max(choice.energy for choice in choices)
    drawn = [(x, y) for x, y in [(begin, max(top, points[0][1])), *points] if y > 0 or not log_y]
    return [
        {
            "type": "scatter", "mode": "lines", "name": "certified bound: nothing is possible left of and below it",
            "x": [_rounded(DELAY.factor * x) for x, _ in drawn], "y": [_rounded(ENERGY.factor * max(0.0, y)) for _, y in drawn],
            "line": {"color": BOUND_COLOUR, "dash": "longdash", "width": 2},
            "hovertemplate": f"bound: at %{{x:.4g}} {DELAY.unit} at least %{{y:.4g}} {ENERGY.unit}<extra></extra>",
        }
    ]  # fmt: skip


def charts(question: Question, results: Results, metric: str = "cost") -> list[go.Figure]:
    """The chart of an answer, if there is something to draw; `metric` is whose change a tornado and indices show."""
    if isinstance(question, Sensitivity):
        return [tornado(question, results, metric)] if question.ranked(results, metric) else []
    if isinstance(question, Screening):
        return [] if question.indices(results, metric).empty else [index_bars(question, results, metric)]
    if isinstance(question, GoalSeek):
        return [goal_curve(question, results)]
    return [pareto(question, results)] if isinstance(question, TradeOff) and question.choices(results) else []


def _is_wide(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) >= WIDE


def _axis(log: bool) -> dict[str, Any]:
    return {"type": "log", "dtick": "D2", "tickformat": ",~g"} if log else {"rangemode": "tozero"}


def _percent(effect: Effect, metric: str) -> str:
    return f"{effect.variation.words}: {100 * (effect.pairs[metric].relative or 0.0):+.3g} %"


def _label(effect: Effect) -> str:
    return html.escape(str(effect.variation.meta.label), quote=False)


def _lower(metric: Metric) -> str:
    """The label in the middle of a sentence."""
    return metric.heading.partition(" (")[0]


def _lower_first(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _wrapped(text: str, width: int = 60) -> str:
    lines: list[str] = []
    for word in html.escape(text, quote=False).split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "<br>".join(lines)


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
