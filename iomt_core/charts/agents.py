"""An agent's twin beside the recorded policy, and generated tasks beside held-out ones: figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.bars import Bars, grouped_bars
from iomt_core.charts.figure import figure
from iomt_core.charts.style import PINNED_COLOUR, SHOWN_COLOUR
from iomt_core.experiments.agent_twins import TwinCheck
from iomt_core.metrics import TASK
from iomt_core.model.snapshot import device_name
from iomt_core.twin.mapping.fidelity import LEVELS

# Name, unit and factor of each variable of generated tasks.
VARIABLES = {
    name: (TASK[name].label, TASK[name].unit, TASK[name].factor) for name in ("data_bits", "cycles", "priority")
}
VARIABLES |= {"kind": ("Kind", "", 1.0), "tasks": ("Tasks of a step", "", 1.0)}


def check_table(check: TwinCheck) -> pd.DataFrame:
    """Costs of the twin's user and of the ward, as text."""
    rows = []
    for name, pair in ((f"user {check.user}", check.own), ("all users", check.ward)):
        rows.append((name, pair.metric.show(pair.mean_a), pair.metric.show(pair.mean_b), pair.change_words))
    return pd.DataFrame(rows, columns=["cost of", "as recorded", "with the twin", "change (95 %)"])


def device_table(check: TwinCheck) -> pd.DataFrame:
    """Share of the user's tasks on each device, as text."""
    devices = check.devices
    return pd.DataFrame(
        {
            "device": [device_name(number) for number in devices["device"]],
            "as recorded": [f"{100 * share:.1f} %" for share in devices["recorded"]],
            "twin": [f"{100 * share:.1f} %" for share in devices["twin"]],
        }
    )


def device_bars(check: TwinCheck, subtitle: str = "") -> go.Figure:
    """Where the user's tasks go, under the recorded policy and under the twin."""
    devices = check.devices
    names = [device_name(number) for number in devices["device"]]
    recorded, twin = ([100 * share for share in devices[name]] for name in ("recorded", "twin"))
    series = [
        Bars("as recorded", recorded, [PINNED_COLOUR] * len(names), hatched=True),
        Bars("twin", twin, [SHOWN_COLOUR] * len(names)),
    ]
    return grouped_bars(
        names, series, f"Where the tasks of user {check.user} go", "tasks (%)", "", subtitle, "%", 100.0
    )


def fidelity_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """All measures of `fidelity.report` with their yardsticks, as text."""
    rows = []
    for name, value in report["ks"]["generated"].items():
        label = VARIABLES[name][0].lower()
        rows.append((f"largest difference of distribution functions (KS): {label}", f"{value:.3f}",
                     f"{report['ks']['training'][name]:.3f} for training tasks"))  # fmt: skip
    error = report["correlation_error"]
    rows.append(
        ("largest error of a correlation", f"{error['generated']:.3f}", f"{error['training']:.3f} for training tasks")
    )
    for name, value in report["tell_apart"].items():
        what = {"task": "a task", "step": "a step with the one before"}[name]
        rows.append((f"a classifier that sees {what} is right", f"{100 * value:.1f} %", "50 % by chance"))
    likelihood = report["log_likelihood"]
    copula = report.get("log_likelihood_copula")
    rows.append(("log-likelihood of a held-out step above independence", f"{likelihood:.2f} nats",
                 "0 if independent" if copula is None else f"{copula:.2f} nats for the copula"))  # fmt: skip
    for name, near in report["nearness"].items():
        rows.append((f"chance that a generated {name} is nearer to a training {name} than a held-out one",
                     f"{100 * near['nearer']:.1f} %", "50 % for real tasks"))  # fmt: skip
        rows.append((f"median distance to the nearest training {name} (in ranks)", f"{near['generated']:.4f}",
                     f"{near['held_out']:.4f} for held-out tasks"))  # fmt: skip
        rows.append((f"copies of a training {name}", f"{100 * near['copies']:.2f} %",
                     f"{100 * near['copies_held_out']:.2f} % of held-out tasks"))  # fmt: skip
    return pd.DataFrame(rows, columns=["measure", "generated", "yardstick"])


def quantile_figure(report: Mapping[str, Any], name: str, subtitle: str = "") -> go.Figure:
    """Distribution functions of a variable from 5 to 95 %, of held-out and of generated tasks."""
    label, unit, factor = VARIABLES[name]
    percent = [float(f"{100 * level:.6g}") for level in LEVELS]
    sides = (("held-out, recorded", "held_out", PINNED_COLOUR, "dash", "diamond-open"),
             ("generated", "generated", SHOWN_COLOUR, "solid", "circle"))  # fmt: skip
    data = [
        {
            "type": "scatter", "mode": "lines+markers", "name": title, "y": percent,
            "x": [float(f"{value * factor:.6g}") for value in report["quantiles"][name][side]],
            "line": {"color": colour, "dash": dash, "width": 2}, "marker": {"symbol": symbol, "size": 6},
            "hovertemplate": f"%{{y}} % of the values are at most %{{x:.4g}} {unit}",
        }
        for title, side, colour, dash, symbol in sides
    ]  # fmt: skip
    layout = {
        "height": 300, "showlegend": True,
        "xaxis": {"title": {"text": f"{label} ({unit})" if unit else label}}, "yaxis": {"title": {"text": "values up to it (%)"}},
    }  # fmt: skip
    middle = [report["quantiles"][name][side][len(LEVELS) // 2] * factor for side in ("held_out", "generated")]
    words = (
        f"{label}: half of the held-out values are at most {middle[0]:.4g} {unit}, generated {middle[1]:.4g} {unit}."
    )
    return figure(data, layout, f"{label}: generated and held-out", words, subtitle)


def quantile_table(report: Mapping[str, Any], name: str) -> pd.DataFrame:
    """The values of `quantile_figure`."""
    _, unit, factor = VARIABLES[name]
    values = {side: [value * factor for value in report["quantiles"][name][side]] for side in ("held_out", "generated")}
    ending = f" ({unit})" if unit else ""
    return pd.DataFrame(
        {
            "values up to it (%)": [f"{100 * level:.0f}" for level in LEVELS],
            f"held-out{ending}": values["held_out"],
            f"generated{ending}": values["generated"],
        }
    )
