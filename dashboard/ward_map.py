"""The map of the ward, which plays an episode: the dashboard's only own drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.session import Session

_FOLDER = Path(__file__).parent
_map = st.components.v2.component(
    "ward_map",
    html=(_FOLDER / "ward_map.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "ward_map.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "ward_map.js").read_text(encoding="utf-8"),
)


def ward_map(
    maps: Sequence[tuple[str, dict[str, Any], str]], step: int, session: Session, key: str, autoplay: bool = False,
    on_picked: Callable[[], None] = lambda: None, on_switched: Callable[[str, int], None] | None = None,
) -> None:  # fmt: skip
    """Shows maps side by side that step together.

    maps: title, `charts.ward_map.ward_frames` and a text for screen readers, for each map; step: the step shown, from 1. The
    step and the task that a person chooses are set in the session; then `on_picked` is called. A click on a server or user calls
    `on_switched` with "server" or "user" and its number. With `autoplay` it plays at once, unless the person's system asks for
    less motion.
    """

    def pick() -> None:
        if point := st.session_state[key].picked:
            session.pick(point)
            on_picked()

    def go() -> None:
        if chosen := st.session_state[key].step:
            session.step = int(chosen)

    def switch() -> None:
        if (device := st.session_state[key].switched) and on_switched is not None:
            on_switched(str(device[0]), int(device[1]))

    data = {
        "maps": [{"title": title, "frames": frames, "text": text} for title, frames, text in maps], "step": step,
        "picked": list(session.picked) if session.picked else None, "autoplay": autoplay,
        "switches": on_switched is not None,
    }  # fmt: skip
    _map(key=key, data=data, on_picked_change=pick, on_step_change=go, on_switched_change=switch)
