"""The coordination of a step as tables and a figure: observations in, weights, decisions out, and bytes across borders."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.style import SERVER_COLOURS
from iomt_core.environment.observation import MIXER_NAMES
from iomt_core.metrics import three_digits
from iomt_core.twin.management.trace import Trace

NONE = "–"
WEIGHTS = {
    "value": "value Q_i", "attention": "attention received", "weighted": "weighted value", "slope": "weight in Q_tot",
}  # fmt: skip


def observed_table(trace: Trace) -> pd.DataFrame:
    """ô of each agent, as text: what management receives."""
    frame = trace.agents()
    columns = {name: _texts(frame[f"ô {name}"]) for name in MIXER_NAMES}
    return pd.DataFrame({"agent": frame["user"].astype(str), **columns})


def decided_table(trace: Trace) -> pd.DataFrame:
    """One row for each agent, as text: how the mixer weights it, and where its tasks run; without weights that it has not."""
    frame = trace.agents()
    weights = {heading: _texts(frame[name]) for name, heading in WEIGHTS.items() if not frame[name].isna().all()}
    counts = {name: frame[name].astype(str) for name in ("local", "offloaded")}
    return pd.DataFrame(
        {"agent": frame["user"].astype(str), **weights, **counts, "device of each task": frame["devices"]}
    )


def _texts(values: pd.Series[float]) -> list[str]:
    return [NONE if math.isnan(value) else f"{value:.3f}" for value in values]


def border_table(trace: Trace) -> pd.DataFrame:
    """What crossed which border, as text."""
    frame = trace.crossings()
    sizes = [f"{round(size):,}" for size in frame["bytes"]]
    return pd.DataFrame(
        {
            "border": frame["border"],
            "what": frame["what"],
            "messages": frame["messages"].astype(str),
            "bytes": sizes,
            "size is": frame["counted"],
        }
    )


def coordination_notes(trace: Trace) -> list[str]:
    """The joint value, and what to know when reading the tables, as sentences."""
    mixing = trace.mixing
    found = [f"Weighted cost of the step: {three_digits(trace.total)}."]
    if mixing is None:
        found.append("This policy has no mixer, so there are no values and no weights.")
    else:
        found.append(f"Joint value Q_tot = {three_digits(mixing.q_tot)}, in the networks' units; mixer: {mixing.kind}.")
    if not trace.agrees:
        found.append(
            "The networks would decide otherwise on what they see in this step; values are those of the choices that were made."
        )
    return found


def weight_bars(trace: Trace, subtitle: str = "") -> go.Figure:
    """Bars of each agent's weight in Q_tot, ∂Q_tot/∂Q_i (25). The trace has a mixer."""
    assert trace.mixing is not None
    values, users = trace.mixing.slopes.tolist(), [str(user) for user in trace.mixing.users]
    colours = [SERVER_COLOURS[0]] * len(values)
    bars = Bars("weight", values, colours, False, [False] * len(values), [f"{value:.3f}" for value in values])
    return grouped_bars(
        users, [bars], "Weight of each agent's value in the joint value", "∂Q_tot/∂Q_i", "agent", subtitle
    )
