"""Drawings as small SVG components: the ward's map, a forest plot; each can be saved as an SVG file.

A Plotly figure takes about 100 ms to rebuild and 1.3 s to load, so whatever a slider redraws is drawn here. The data comes
from the functions of `iomt_core.charts`; each component's script has the same name as the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


_player = component("ward_player", "ward", _FOLDER / "ward_player.css", _FOLDER / "ward_player.js")
_drawings = {
    name: component(name, "drawing", _FOLDER / "drawings.css", _FOLDER / f"{name}.js")
    for name in ("forest", "episode_pairs")
}


def ward_player(
    maps: Sequence[tuple[str, dict[str, Any], str]], step: int, session: Session, key: str, autoplay: bool = False,
    on_picked: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Shows maps side by side that step together.

    maps: title, `ward_map.ward_frames` and a text for screen readers, for each map; step: the step shown, from 1. The step and
    the task that a person chooses are set in the session; then `on_picked` is called. With `autoplay` it plays at once, unless
    the person's system asks for less motion.
    """

    def pick() -> None:
        if point := st.session_state[key].picked:
            session.pick(point)
            on_picked()

    def go() -> None:
        if chosen := st.session_state[key].step:
            session.step = int(chosen)

    data = {
        "maps": [{"title": title, "frames": frames, "text": text} for title, frames, text in maps],
        "step": step, "picked": list(session.picked) if session.picked else None, "autoplay": autoplay,
    }  # fmt: skip
    _player(key=key, data=data, on_picked_change=pick, on_step_change=go)


def draw(name: str, data: dict[str, Any], key: str | None = None) -> None:
    """Shows the data that the chart function `name` returned; `key` is needed if a page has several of this name."""
    _drawings[name](key=key or name, data=data)
