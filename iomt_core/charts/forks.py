"""What happened in a recorded episode, and what would have happened: curves over the steps, and the metrics of both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import torch

from iomt_core.charts.curves import Curve, curve_panels
from iomt_core.charts.figure import step_line
from iomt_core.charts.style import PINNED, SHOWN
from iomt_core.experiments.evaluation import step_sums, summary_of
from iomt_core.metrics import METRICS
from iomt_core.record import Record
from iomt_core.twin.recorded_fork import Fork, RecordedEpisode

CURVES = ("return", "cost", "mean_delay_s", "mean_energy_j")
NUMBERS = (*CURVES, "deadline_miss_share")
HAPPENED, FORKED = "what happened", "fork"


def fork_curves(recorded: RecordedEpisode, fork: Fork, subtitle: str = "") -> go.Figure:
    """Return, cost, delay and energy of each step: the whole episode as it happened, and the fork from its step on."""
    curves = [
        Curve(HAPPENED, recorded.record.step.tolist(), _by_step(recorded.record), PINNED),
        Curve(FORKED, fork.forked.step.tolist(), _by_step(fork.forked), SHOWN),
    ]
    axis = {"title": {"text": "step"}, "range": [0.5, recorded.scenario.T + 0.5]}
    title = f"Both futures from step {fork.step} on"
    return curve_panels(curves, CURVES, axis, [step_line(fork.step - 0.5)], title, subtitle)


def fork_table(recorded: RecordedEpisode, fork: Fork) -> pd.DataFrame:
    """The table of `fork_curves`: a row for each step, in the units shown."""
    tables = []
    for name, record in ((HAPPENED, recorded.record), (FORKED, fork.forked)):
        values = {
            f"{METRICS[key].axis_title}, {name}": [math.nan if x is None else x * METRICS[key].factor for x in column]
            for key, column in _by_step(record).items()
        }
        tables.append(pd.DataFrame(values, index=pd.Index(record.step.tolist(), name="step")))
    return tables[0].join(tables[1], how="outer").reset_index()


def fork_numbers(fork: Fork) -> pd.DataFrame:
    """The metrics of both futures, from the step of the fork on, as text with units; and the number of steps played."""
    happened, forked = (summary_of(record, "") for record in (fork.happened, fork.forked))
    rows = []
    for metric in (METRICS[name] for name in NUMBERS):
        before, after = happened[metric.name], forked[metric.name]
        change = metric.show_difference(after - before, before)
        rows.append((metric.label, metric.show(before), metric.show(after), change))
    played = len(fork.happened), len(fork.forked)
    rows.append(
        (
            "Steps played",
            str(played[0]),
            str(played[1]),
            f"{played[1] - played[0]:+d}" if played[1] != played[0] else "±0",
        )
    )
    return pd.DataFrame(rows, columns=["metric", HAPPENED, FORKED, "difference"])


def _by_step(record: Record) -> dict[str, Sequence[float | None]]:
    sums = {name: values.to(torch.float64).tolist() for name, values in step_sums(record).items()}
    sums["episodes"] = [1.0] * len(record)
    return {
        name: [value if math.isfinite(value) else None for value in METRICS[name].per_episode(sums)] for name in CURVES
    }
