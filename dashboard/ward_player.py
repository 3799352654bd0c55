"""The ward's map as a Streamlit component: play, pause, step, speed and picking a task, in the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent
_player = st.components.v2.component(
    "ward_player",
    html='<div class="ward"></div>',
    css=(_HERE / "ward_player.css").read_text(encoding="utf-8"),
    js=(_HERE / "ward_player.js").read_text(encoding="utf-8"),
)


def ward_player(
    frames: dict[str, Any],
    step: int,
    picked: tuple[int, int, int] | None,
    text: str,
    on_picked: Callable[[], None],
    on_step: Callable[[], None],
) -> None:
    """Shows the map. `on_picked` and `on_step` run before the rerun; the values stand in session state under "ward"."""
    data = {"frames": frames, "step": step, "picked": list(picked) if picked else None, "text": text}
    _player(key="ward", data=data, on_picked_change=on_picked, on_step_change=on_step)
