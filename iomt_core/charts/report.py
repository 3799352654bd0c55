"""What the reports of sweeps and answers share: one self-contained HTML page, its charts and its tables of two columns."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iomt_core.scenario import PRESETS, Scenario, metadata
from iomt_core.scenario.files import dump_scenario

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


def document(title: str, parts: Iterable[str]) -> str:
    """The page: title (plain text), and the parts, HTML; empty ones are left out."""
    head = html.escape(title)
    start = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{GUARD}">'
        f"<title>{head}</title><style>{STYLE}</style></head><body><h1>{head}</h1>"
    )
    return "\n".join([start, *(part for part in parts if part), "</body></html>\n"])


def drawing(figure: go.Figure, with_library: bool) -> str:
    """A chart with title and subtitle above it, which wrap on a narrow page, and its content in words.

    with_library: whether the charting library comes with it, as with the first chart of a page.
    """
    heading, alt = figure.layout.title, html.escape(figure.layout.meta["alt"], quote=True)
    words = f"<figcaption><b>{heading.text}</b><br>{heading.subtitle.text}</figcaption>"  # escaped in `charts.figure`
    figure.layout.title = None
    chart = figure.to_html(
        full_html=False, include_plotlyjs=with_library, config={"displaylogo": False, "responsive": True}
    )
    return f'<figure>{words}<div role="img" aria-label="{alt}">{chart}</div></figure>'


def appendix(
    command: str, s: Scenario, settings: Mapping[str, Any], versions: Mapping[str, str], table: pd.DataFrame
) -> str:
    """The end of a report: the command that repeats it, settings, versions, all numbers, and the scenario as a file."""
    e = html.escape
    file = "scenario.yaml is the file at the end of this page. " if scenario_source(s) == "scenario.yaml" else ""
    return "\n".join(
        [
            f"<h2>How to repeat it</h2><pre>{e(command)}</pre><p class='small'>{file}The same code and libraries on the same "
            "kind of machine give the same numbers; on another kind the last digits may differ. A trained policy also needs the "
            "same checkpoint.</p>",
            _two_columns("Settings", settings), _two_columns("Versions", versions), _numbers(table),
            f"<h2>The scenario as a file</h2><pre>{e(dump_scenario(s))}</pre>",
        ]
    )  # fmt: skip


def _numbers(table: pd.DataFrame) -> str:
    shown = table.dropna(axis=1, how="all").to_html(index=False, border=0, na_rep="", float_format="{:.6g}".format)
    return f"<h2>All numbers</h2><div class='wide'>{shown}</div>"


def _two_columns(heading: str, rows: Mapping[str, Any]) -> str:
    body = "".join(f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<h2>{html.escape(heading)}</h2><table>{body}</table>"


def scenario_rows(s: Scenario, left_out: Collection[str] = ()) -> dict[str, Any]:
    """Every parameter with its value and unit as people read them, but those that are left out."""
    rows: dict[str, Any] = {}
    for name, meta in metadata().items():
        value = getattr(s, name)
        if name in left_out or name == "schema_version":
            continue
        if meta.group == "file":
            rows[name] = value if name == "name" else "none" if not value else "own, see the file below"
        elif value is None:
            rows[name] = "automatic"
        elif isinstance(value, tuple):
            rows[name] = " to ".join(meta.show(v) for v in value)
        else:
            rows[name] = value if isinstance(value, str) else meta.show(value)
    return rows


def scenario_source(s: Scenario) -> str:
    """What `--scenario` takes for a ward: the name of a preset, or `scenario.yaml`, the file at the end of a report."""
    return next((name for name, preset in PRESETS.items() if preset.digest == s.digest), "scenario.yaml")
