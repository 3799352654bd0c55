"""What the reports of sweeps and answers share: one self-contained HTML page, its charts and its tables of two columns."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from iomt_core.scenario import PRESETS, Scenario, metadata

# The page may not load anything, even if a name or the charting library tries to.
GUARD = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: .15rem .6rem; border-bottom: 1px solid #ddd;
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


def drawn(figures: Iterable[go.Figure], scripted: bool = False) -> Iterator[str]:
    """Charts with title and subtitle above them, which wrap on a narrow page, and their content in words.

    scripted: whether the page has the charting library already; it is written once, with the first chart.
    """
    for figure in figures:
        heading, alt = figure.layout.title, html.escape(figure.layout.meta["alt"], quote=True)
        words = (
            f"<figcaption><b>{heading.text}</b><br>{heading.subtitle.text}</figcaption>"  # escaped in `charts.figure`
        )
        figure.layout.title = None
        chart = figure.to_html(
            full_html=False, include_plotlyjs=not scripted, config={"displaylogo": False, "responsive": True}
        )
        scripted = True
        yield f'<figure>{words}<div role="img" aria-label="{alt}">{chart}</div></figure>'


def two_columns(heading: str, rows: Mapping[str, Any]) -> str:
    """A heading, and a table of names and values."""
    body = "".join(f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<h2>{html.escape(heading)}</h2><table>{body}</table>"


def scenario_rows(s: Scenario, left_out: Sequence[str] = ()) -> dict[str, Any]:
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


def repeat_note(s: Scenario) -> str:
    """What a reader must know who repeats the command of a report, HTML."""
    file = "scenario.yaml is the file at the end of this page. " if scenario_source(s) == "scenario.yaml" else ""
    return (
        f"<p class='small'>{file}The same code and libraries on the same kind of machine give the same numbers; on another "
        "kind the last digits may differ. A trained policy also needs the same checkpoint.</p>"
    )
