"""The tables of answers in the units people read, each value with its 95 % interval."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from iomt_core.experiments.answers.goal_seek import GoalSeek, Probe
from iomt_core.experiments.answers.question import IMPACTS, Question
from iomt_core.experiments.answers.results import Evaluation, Results
from iomt_core.experiments.answers.screening import RANKED_BY, Screening
from iomt_core.experiments.answers.sensitivity import Effect, Sensitivity, size
from iomt_core.experiments.answers.trade_off import DELAY, ENERGY, TradeOff
from iomt_core.metrics import METRICS, Metric
from iomt_core.training.catalogue import policy_label


def answer_table(question: Question, results: Results, metric: str = "cost") -> pd.DataFrame:
    """The numbers of an answer as people read them; rows of a tornado and of indices are ordered by `metric`."""
    if isinstance(question, Sensitivity):
        return _effects(question, results, metric)
    if isinstance(question, Screening):
        return _indices(question, results, metric)
    if isinstance(question, GoalSeek):
        return _probes(question, results)
    return _choices(question, results) if isinstance(question, TradeOff) else pd.DataFrame()


def _effects(question: Sensitivity, results: Results, metric: str) -> pd.DataFrame:
    effects = question.effects(results)
    known = sorted((e for e in effects if e.pairs), key=lambda e: -size(e, metric))
    rows = [
        {
            "parameter": e.variation.meta.label,
            "change": e.variation.short_words,
            **{f"{METRICS[name].label.lower()} (%)": _change(e, name) for name in IMPACTS},
            "cost by prices (%)": "" if e.predicted is None else _signed(100 * e.predicted),
        }
        for e in known
    ]
    return pd.DataFrame(rows)


def _change(effect: Effect, name: str) -> str:
    """A relative change in per cent, with the ends of its interval in a digit less: "-23.6 (-24 to -23)"."""
    pair = effect.pairs[name]
    if pair.same or pair.relative is None:
        return "0"
    value = 100 * pair.relative
    ends = [_signed(100 * end, value, 1) for end in pair.relative_interval or ()]
    return f"{_signed(value)} ({' to '.join(ends)})"


def _signed(value: float, like: float = 0.0, fewer: int = 0) -> str:
    """A number with its sign and so many decimals that `like`, or else itself, has three significant digits, or fewer."""
    size = abs(like or value)
    decimals = max(0, min(3, 2 - math.floor(math.log10(size)) - fewer)) if size else 0
    return f"{value:+.{decimals}f}"


def _indices(question: Screening, results: Results, metric: str) -> pd.DataFrame:
    tables = {name: question.indices(results, name) for name in IMPACTS}
    if tables[metric].empty:
        return pd.DataFrame()
    order = tables[metric].sort_values(RANKED_BY[question.method], ascending=False, kind="stable").index
    rows = []
    for n in order:
        axis = question.axes[n]
        row: dict[str, Any] = {
            "parameter": axis.meta.label,
            "range": f"{axis.meta.show(axis.values[0])} to {axis.meta.show(axis.values[1])}",
        }
        for name, table in tables.items():
            if not table.empty:
                row[METRICS[name].label.lower()] = _index(question, METRICS[name], table.loc[n])
        rows.append(row)
    return pd.DataFrame(rows)


def _index(question: Screening, metric: Metric, row: pd.Series[Any]) -> str:
    if question.method == "morris":
        factor = metric.factor
        return f"{factor * row['mu_star']:.3g} ± {factor * row['mu_star_conf']:.2g} {metric.difference_unit}".strip()
    total, first = (f"{100 * row[name]:.3g} ± {100 * row[f'{name}_conf']:.2g} %" for name in ("total", "first"))
    return f"{total}; alone {first}"


def _probes(question: GoalSeek, results: Results) -> pd.DataFrame:
    rows = [
        {
            str(question.axis.meta.label): question.value_words(probe),
            question.measured.heading: _estimate(question.measured, probe.evaluation),
            "target holds": _holds(question, probe),
        }
        for probe in question.finding(results).probes
    ]
    return pd.DataFrame(rows)


def _holds(question: GoalSeek, probe: Probe) -> str:
    if probe.evaluation.reason:
        return "not known"
    holds = probe.holds(question.target)
    certain = probe.holds(question.target, "high") if holds else not probe.holds(question.target, "low")
    return f"{'yes' if holds else 'no'}{'' if certain else ', not certain'}"


def _choices(question: TradeOff, results: Results) -> pd.DataFrame:
    beaten = {(c.alpha_T, c.evaluation.policy): c.dominated for c in question.choices(results)}
    rows = []
    for alpha, evaluation in question.evaluations(results):
        dominated = beaten.get((alpha, evaluation.policy))
        place = "not available" if evaluation.reason else "not everything done" if dominated is None else (
            "another choice is better" if dominated else "on the front"
        )  # fmt: skip
        rows.append(
            {
                "policy": policy_label(evaluation.policy), "α_T": f"{alpha:g}",
                **{f"weighted {m.label.split('-weighted ')[1]} ({m.unit})": _estimate(m, evaluation) for m in (DELAY, ENERGY)},
                "place": place,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _estimate(metric: Metric, evaluation: Evaluation) -> str:
    if evaluation.reason:
        return "n/a"
    mean, interval = evaluation.mean(metric), evaluation.interval(metric)
    words = "" if interval is None else f" ({metric.number(interval[0])} to {metric.number(interval[1])})"
    return f"{metric.number(mean)}{words}"
