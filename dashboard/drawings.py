"""Drawings as small SVG components: the ward's map, bars, a density, a forest plot; each can be saved as an SVG file.

A Plotly figure takes about 100 ms to rebuild and 1.3 s to load, so whatever a slider redraws is drawn here. The data comes
from the functions of `iomt_core.charts`; each component's script has the same name as the function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.session import Session

_FOLDER = Path(__file__).parent


def component(name: str, root: str, css: Path, js: Path) -> Any:
    """A component of a style sheet and a script, with an empty element of class `root`; svg.js comes before the script."""
    script, style = ((path.read_text(encoding="utf-8")) for path in (js, css))
    script = f"{(_FOLDER / 'svg.js').read_text(encoding='utf-8')}\n{script}"
    return st.components.v2.component(name, html=f'<div class="{root}"></div>', css=style, js=script)


_drawings = {
    name: component(name, "drawing", _FOLDER / "drawings.css", _FOLDER / f"{name}.js")
    for name in ("policy_bars", "forest", "delay_bars", "bar_panels", "density", "episode_pairs")
}


def draw(name: str, data: dict[str, Any], key: str | None = None) -> None:
    """Shows the data that the chart function `name` returned; `key` is needed if a page has several of this name."""
    _drawings[name](key=key or name, data=data)


def delay_bars(data: dict[str, Any], session: Session) -> None:
    """Shows the data of `charts.tasks.delay_bars`; a bar that is clicked becomes the selected task."""

    def pick() -> None:
        if point := st.session_state["delays"].picked:
            session.pick(point)

    _drawings["delay_bars"](key="delays", data=data, on_picked_change=pick)


def bar_panels(data: dict[str, Any], key: str) -> None:
    """Shows the data of `charts.bars.panels`; the saved file is named after `key`."""
    _drawings["bar_panels"](key=key, data=data | {"file": key})
