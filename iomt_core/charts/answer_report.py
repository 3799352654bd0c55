"""The report of an answer as one self-contained HTML file: the answer in words, its chart, how to repeat it, all numbers."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping
from typing import Any

from iomt_core.charts.answers import charts
from iomt_core.charts.report import appendix, document, drawing, scenario_rows, scenario_source
from iomt_core.experiments.answers.goal_seek import GoalSeek
from iomt_core.experiments.answers.question import IMPACTS, Question
from iomt_core.experiments.answers.results import Results
from iomt_core.experiments.answers.screening import Screening
from iomt_core.experiments.answers.sensitivity import Sensitivity
from iomt_core.experiments.answers.trade_off import TradeOff


def command(question: Question, out: str = "out") -> str:
    """The command line that repeats an answer; a ward that is no preset is read from `scenario.yaml`."""
    words = ["python", "-m", "iomt_core", "answer", question.name, "--scenario", scenario_source(question.scenario)]
    for policy in question.policies:
        words += ["--policy", policy]
    if isinstance(question, Sensitivity):
        words += ["--change", f"{question.change:g}"]
    if isinstance(question, Screening):
        for axis in question.axes:
            words += ["--over", axis.end_words]
        words += ["--method", question.method, "--samples", str(question.samples)]
    if isinstance(question, GoalSeek):
        words += ["--over", question.axis.end_words, "--metric", question.metric, "--target", repr(question.target)]
        words += ["--seek", question.seek]
    if isinstance(question, TradeOff):
        words += ["--weights", ",".join(f"{weight:g}" for weight in question.weights)]
    words += ["--episodes", str(question.episodes), "--seed", str(question.seed)]
    if question.shares != "own":
        words += ["--shares", question.shares]
    return shlex.join([*words, "--out", out])


def report(question: Question, results: Results, versions: Mapping[str, str]) -> str:
    """The report as HTML; it may lack points that are not known yet."""
    e = html.escape
    figures = [
        one
        for metric in (IMPACTS if isinstance(question, (Sensitivity, Screening)) else IMPACTS[:1])
        for one in charts(question, results, metric)
    ]
    settings: dict[str, Any] = {
        "policy": f"{question.policy_names} [{', '.join(question.policies)}]", "shares": question.shares,
        "episodes of each ward": question.episodes, "seed of the episodes": question.seed, **scenario_rows(question.scenario),
    }  # fmt: skip
    return document(
        question.title,
        [
            f"<p><b>{e(question.answer(results))}</b></p>",
            f"<p class='small'>{question.intervals}.</p>",
            *(f"<p>{e(note)}</p>" for note in question.notes(results)),
            *(drawing(one, with_library=n == 0) for n, one in enumerate(figures)),
            appendix(command(question), question.scenario, settings, versions, question.table(results)),
        ],
    )
