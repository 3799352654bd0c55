"""The report of a sweep as one self-contained HTML file: charts, settings, how to repeat it, and all numbers."""

from __future__ import annotations

import html
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.charts.sweep import colour_span, curves, heat_map
from iomt_core.experiments.sweeps.spec import SweepSpec
from iomt_core.metrics import METRICS
from iomt_core.scenario import PRESETS, ScenarioError, counted, metadata
from iomt_core.scenario.files import dump_scenario
from iomt_core.training.catalogue import entry

MAPPED = ("cost", "gap", "mean_delay_s", "mean_energy_j", "deadline_miss_share")  # metrics with a heat map a policy
# The page may not load anything, even if a name or the charting library tries to.
GUARD = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
td, th { padding: .15rem .6rem; border-bottom: 1px solid #ddd;
text-align: left; font-variant-numeric: tabular-nums; } pre { background: #f4f5f7; padding: .8rem; overflow-x: auto; }
figure { margin: 1rem 0; } figcaption { font-size: 14px; }
.wide { overflow-x: auto; } h2 { margin-top: 2rem; } .small { color: #555; font-size: 13px; }
"""


def labels(spec: SweepSpec) -> dict[str, str]:
    """The policies' labels by name, in the order of the sweep."""
    found = {}
    for name in spec.policies:
        try:
            found[name] = entry(name).label
        except ScenarioError:  # a run that has since been deleted
            found[name] = name
    return found


def command(spec: SweepSpec, out: str = "out") -> str:
    """The command line that repeats a sweep; a ward that is no preset is read from `scenario.yaml`."""
    match = next((name for name, preset in PRESETS.items() if preset.digest == spec.scenario.digest), "scenario.yaml")
    words = ["python", "-m", "iomt_core", "sweep", "--scenario", match]
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


def report(spec: SweepSpec, table: pd.DataFrame, versions: Mapping[str, str]) -> str:
    """The report as HTML; `table` is `sweeps.run.results_table` and may lack points that are not known yet."""
    e = html.escape
    head = e(title(spec))
    missing = spec.count - len(table)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{GUARD}">',
        f"<title>{head}</title><style>{STYLE}</style></head><body><h1>Sweep: {head}</h1>",
        f"<p>{len(table)} of {spec.count} points; each is the mean over {spec.episodes} episodes, bands are 95 % intervals "
        "over episodes (Student). SI units in the tables.</p>",
        f"<p><b>Not complete:</b> {missing} points are missing.</p>" if missing else "",
    ]
    scripted = False
    for name, metric in METRICS.items():
        drawn = list(_charts(spec, table, name)) if len(table) else []
        if drawn:
            parts.append(f"<h2>{e(metric.label)}</h2><p class='small'>{e(metric.sentence)}</p>")
        for one in drawn:
            # The charting library is written into the page once, with the first chart.
            parts += _figure(one, not scripted)
            scripted = True
    reasons = sorted({(p, r) for p, r in zip(table["policy"], table["reason"], strict=True) if r})
    if reasons:
        rows = "".join(f"<tr><td>{e(p)}</td><td>{e(r)}</td></tr>" for p, r in reasons)
        parts.append(f"<h2>Not available</h2><table><tr><th>policy</th><th>why</th></tr>{rows}</table>")
    parts += [
        "<h2>How to repeat it</h2>", f"<pre>{e(command(spec))}</pre>",
        "<p class='small'>scenario.yaml is the file at the end of this page.</p>" if "scenario.yaml" in command(spec) else "",
        "<p class='small'>The same code and libraries on the same kind of machine give the same numbers; on another kind "
        "the last digits may differ. A trained policy also needs the same checkpoint.</p>",
        _settings(spec), _two_columns("Versions", versions), "<h2>All numbers</h2>", "<div class='wide'>",
        table.dropna(axis=1, how="all").to_html(index=False, border=0, na_rep="", float_format="{:.6g}".format),
        f"</div><h2>The scenario as a file</h2><pre>{e(dump_scenario(spec.scenario))}</pre></body></html>\n",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _figure(figure: go.Figure, scripted: bool) -> list[str]:
    """A chart with its title and subtitle above it, which wrap on a narrow page, and its content in words."""
    heading, alt = figure.layout.title, html.escape(figure.layout.meta["alt"], quote=True)
    words = f"<figcaption><b>{heading.text}</b><br>{heading.subtitle.text}</figcaption>"  # escaped in `charts.figure`
    figure.layout.title = None
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=scripted, config={"displaylogo": False, "responsive": True}
    )
    return [f'<figure>{words}<div role="img" aria-label="{alt}">{drawn}</div></figure>']


def _charts(spec: SweepSpec, table: pd.DataFrame, name: str) -> Iterator[go.Figure]:
    named = labels(spec)
    if len(spec.axes) == 1:
        yield curves(table, spec.axes[0], name, named, subtitle(spec))
    elif name in MAPPED:
        for policy, label in named.items():
            if bool((table["policy"] == policy).any()):
                words = f"Policy: {label} · {subtitle(spec)}"
                yield heat_map(table, spec.axes, name, policy, colour_span(table, name), words)


def _settings(spec: SweepSpec) -> str:
    rows: dict[str, Any] = {
        "policies": ", ".join(f"{label} [{name}]" for name, label in labels(spec).items()),
        "shares": spec.shares,
        "episodes of a point": spec.episodes,
        "seed of the episodes": spec.seed,
    }
    for axis in spec.axes:
        rows[f"{axis.parameter}: {axis.title}"] = ", ".join(f"{axis.shown(v):g}" for v in axis.values)
    swept = {axis.parameter for axis in spec.axes}
    for name, meta in metadata().items():
        value = getattr(spec.scenario, name)
        if name in swept or name == "schema_version":
            continue
        if meta.group == "file":
            rows[name] = value if name == "name" else "none" if not value else "own, see the file below"
        elif value is None:
            rows[name] = "automatic"
        elif isinstance(value, tuple):
            rows[name] = " to ".join(meta.show(v) for v in value)
        else:
            rows[name] = value if isinstance(value, str) else meta.show(value)
    return _two_columns("Settings", rows)


def _two_columns(heading: str, rows: Mapping[str, Any]) -> str:
    body = "".join(f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<h2>{html.escape(heading)}</h2><table>{body}</table>"
