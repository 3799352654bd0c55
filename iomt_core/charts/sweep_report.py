"""The report of a sweep as one self-contained HTML file: charts, settings, how to repeat it, and all numbers."""

from __future__ import annotations

import html
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.report import appendix, document, drawing, scenario_rows, scenario_source
from iomt_core.charts.sweep import colour_span, curves, heat_map, partial
from iomt_core.experiments.sweeps.spec import SweepSpec
from iomt_core.metrics import METRICS
from iomt_core.scenario import counted
from iomt_core.training.catalogue import policy_label

# Metrics with a heat map a policy.
MAPPED = ("cost", "gap", "mean_delay_s", "mean_energy_j", "return", "return_gap", "deadline_miss_share")


def labels(spec: SweepSpec) -> dict[str, str]:
    """The policies' labels by name, in the order of the sweep."""
    return {name: policy_label(name) for name in spec.policies}


def command(spec: SweepSpec, out: str = "out") -> str:
    """The command line that repeats a sweep; a ward that is no preset is read from `scenario.yaml`."""
    words = ["python", "-m", "iomt_core", "sweep", "--scenario", scenario_source(spec.scenario)]
    for axis in spec.axes:
        words += ["--over", axis.words]
    for policy in spec.policies:
        words += ["--policy", policy]
    words += ["--episodes", str(spec.episodes), "--seed", str(spec.seed)]
    if spec.shares != "own":
        words += ["--shares", spec.shares]
    return shlex.join([*words, "--out", out])


def title(spec: SweepSpec) -> str:
    """Title of a sweep: its parameters and its ward."""
    return f"{' × '.join(axis.meta.label or axis.parameter for axis in spec.axes)} on {spec.scenario.name}"


def subtitle(spec: SweepSpec) -> str:
    """The ward without what is varied in it, and what a point is: "Ward: paper, 8 users, 4 servers · 5 episodes a point"."""
    s, swept = spec.scenario, {axis.parameter for axis in spec.axes}
    words = (
        ("users", counted(s.users, "user")),
        ("tasks", f"{counted(s.tasks, 'task')} a user"),
        ("servers", counted(s.servers, "server")),
    )
    sizes = [text for name, text in words if name not in swept]
    return f"Ward: {', '.join((s.name, *sizes))} · {counted(spec.episodes, 'episode')} a point from seed {spec.seed}"


def partial_words(table: pd.DataFrame) -> str:
    """That some points are to be compared by their return, and why."""
    return (
        f"At {sum(partial(table))} of {len(table)} points a battery ended episodes early, or tasks were skipped (open marks). "
        "There cost, delay and energy are means of what was done, so that a policy that does less may seem better: compare the "
        "return."
    )


def report(spec: SweepSpec, table: pd.DataFrame, versions: Mapping[str, str]) -> str:
    """The report as HTML; `table` is `sweeps.run.results_table` and may lack points that are not known yet."""
    e = html.escape
    missing = spec.count - len(table)
    parts = [
        f"<p>{len(table)} of {spec.count} points; each is the mean over {spec.episodes} episodes, bands are 95 % intervals "
        "over episodes (Student). SI units in the tables.</p>",
        f"<p><b>Not complete:</b> {missing} points are missing.</p>" if missing else "",
        f"<p>{e(partial_words(table))}</p>" if any(partial(table)) else "",
        *(f"<p>{e(note)}</p>" for note in spec.notes),
    ]
    with_library = True
    for name, metric in METRICS.items():
        figures = list(_charts(spec, table, name)) if len(table) else []
        if figures:
            parts.append(f"<h2>{e(metric.label)}</h2><p class='small'>{e(metric.sentence)}</p>")
        for figure in figures:
            parts.append(drawing(figure, with_library))
            with_library = False
    reasons = sorted({(p, r) for p, r in zip(table["policy"], table["reason"], strict=True) if r})
    if reasons:
        rows = "".join(f"<tr><td>{e(p)}</td><td>{e(r)}</td></tr>" for p, r in reasons)
        parts.append(f"<h2>Not available</h2><table><tr><th>policy</th><th>why</th></tr>{rows}</table>")
    parts.append(appendix(command(spec), spec.scenario, _settings(spec), versions, table))
    return document(f"Sweep: {title(spec)}", parts)


def _charts(spec: SweepSpec, table: pd.DataFrame, name: str) -> Iterator[go.Figure]:
    named = labels(spec)
    if len(spec.axes) == 1:
        yield curves(table, spec.axes[0], name, named, subtitle(spec))
    elif name in MAPPED:
        for policy, label in named.items():
            if bool((table["policy"] == policy).any()):
                words = f"Policy: {label} · {subtitle(spec)}"
                yield heat_map(table, spec.axes, name, policy, colour_span(table, name), words)


def _settings(spec: SweepSpec) -> dict[str, Any]:
    axes = {
        f"{axis.parameter}: {axis.title}": ", ".join(f"{axis.shown(v):g}" for v in axis.values) for axis in spec.axes
    }
    return {
        "policies": ", ".join(f"{label} [{name}]" for name, label in labels(spec).items()),
        "shares": spec.shares,
        "episodes of a point": spec.episodes,
        "seed of the episodes": spec.seed,
        **axes,
        **scenario_rows(spec.scenario, left_out={axis.parameter for axis in spec.axes}),
    }
