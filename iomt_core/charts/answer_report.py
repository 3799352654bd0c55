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


def command(asked: Question, out: str = "out") -> str:
    """The command line that repeats an answer; a ward that is no preset is read from `scenario.yaml`."""
    words = ["python", "-m", "iomt_core", "answer", asked.name, "--scenario", scenario_source(asked.scenario)]
    for policy in asked.policies:
        words += ["--policy", policy]
    if isinstance(asked, Sensitivity):
        words += ["--change", f"{asked.change:g}"]
    if isinstance(asked, Screening):
        for axis in asked.axes:
            words += ["--over", axis.end_words]
        words += ["--method", asked.method, "--samples", str(asked.samples)]
    if isinstance(asked, GoalSeek):
        words += ["--over", asked.axis.end_words, "--metric", asked.metric, "--target", repr(asked.target)]
        words += ["--seek", asked.seek]
    if isinstance(asked, TradeOff):
        words += ["--weights", ",".join(f"{weight:g}" for weight in asked.weights)]
    words += ["--episodes", str(asked.episodes), "--seed", str(asked.seed)]
    if asked.shares != "own":
        words += ["--shares", asked.shares]
    return shlex.join([*words, "--out", out])


def report(asked: Question, results: Results, versions: Mapping[str, str]) -> str:
    """The report as HTML; it may lack points that are not known yet."""
    e = html.escape
    figures = [
        one
        for metric in (IMPACTS if isinstance(asked, (Sensitivity, Screening)) else IMPACTS[:1])
        for one in charts(asked, results, metric)
    ]
    settings: dict[str, Any] = {
        "policy": f"{asked.policy_names} [{', '.join(asked.policies)}]", "shares": asked.shares,
        "episodes of each ward": asked.episodes, "seed of the episodes": asked.seed, **scenario_rows(asked.scenario),
    }  # fmt: skip
    return document(
        asked.title,
        [
            f"<p><b>{e(asked.answer(results))}</b></p>",
            f"<p class='small'>{asked.intervals}.</p>",
            *(f"<p>{e(note)}</p>" for note in asked.notes(results)),
            *(drawing(one, with_library=n == 0) for n, one in enumerate(figures)),
            appendix(command(asked), asked.scenario, settings, versions, asked.table(results)),
        ],
    )
