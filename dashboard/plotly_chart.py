"""Shows a Plotly figure, drawn in place: it neither fades nor loses its zoom when its data change."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
import streamlit as st

from iomt_core.charts.figure import TEMPLATES
from iomt_core.paths import APP
from iomt_core.scenario.files import written_whole

_FOLDER = Path(__file__).parent


def bundle() -> str:
    """Path of the Plotly bundle below the server's root; copied from the installed package to `static/` if it is not there.

    Its name has the version, so that a browser may keep it.
    """
    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    name = f"plotly-{plotly.__version__}.min.js"
    target = APP / "static" / name
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(exist_ok=True)
        with written_whole(target) as part:  # another process may do the same at the same time
            shutil.copyfile(source, part)
    base = str(st.get_option("server.baseUrlPath")).strip("/")
    return f"{base and '/'}{base}/app/static/{name}"


_BUNDLE = bundle()
_chart = st.components.v2.component(
    "plotly_chart",
    html=(_FOLDER / "plotly_chart.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "plotly_chart.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "plotly_chart.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


def plotly_chart(
    figure: go.Figure, key: str, on_click: Callable[[Any], None] | None = None, pending: bool = False
) -> None:  # fmt: skip
    """Shows a figure of `iomt_core.charts`, with its title above it and buttons to save it as SVG, PNG and CSV.

    on_click: is called with the `customdata` of a point that a person clicks, before the rerun. With `pending` the page, or the
    fragment that the chart is in, runs again soon, because more of the figure is being computed.
    """

    def clicked() -> None:
        point = st.session_state[key].point
        if point is not None and on_click is not None:
            on_click(point)

    data = {
        "figure": figure.to_json(engine="orjson"),
        "bundle": _BUNDLE,
        "dark": TEMPLATES["dark"],
        "clicks": on_click is not None,
        "pending": time.monotonic() if pending else 0,  # never the same, so that the script runs again
    }
    _chart(key=key, data=data, on_point_change=clicked, on_more_change=lambda: None)


def charts_beside(
    figures: Sequence[go.Figure], key: str, on_click: Callable[[Any], None] | None = None
) -> None:  # fmt: skip
    """Shows figures side by side as far as there is room; `on_click` as for `plotly_chart`."""
    with st.container(key=f"beside_{key}"):
        for n, figure in enumerate(figures, 1):
            with st.container():
                plotly_chart(figure, f"{key}_{n}", on_click)
