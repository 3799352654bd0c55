"""Drawings that answer at once: the ward's player, bars, a density and a forest plot, as small SVG components.

A Plotly figure costs about 100 ms to build and draw anew and 1.3 s to load; what a slider must redraw is drawn here
instead, and can be taken away as an SVG file. What they show comes ready from `iomt_core.charts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).parent


def _component(name: str, root: str, css: str) -> Any:
    script = "\n".join((_FOLDER / file).read_text(encoding="utf-8") for file in ("svg.js", f"{name}.js"))
    style = (_FOLDER / css).read_text(encoding="utf-8")
    return st.components.v2.component(name, html=f'<div class="{root}"></div>', css=style, js=script)


_player = _component("ward_player", "ward", "ward_player.css")
_policies = _component("policy_bars", "drawing", "drawings.css")
_forest = _component("forest", "drawing", "drawings.css")
_delays = _component("delay_bars", "drawing", "drawings.css")
_panels = _component("bar_panels", "drawing", "drawings.css")
_density = _component("density", "drawing", "drawings.css")
_pairs = _component("episode_pairs", "drawing", "drawings.css")


def ward_player(
    frames: dict[str, Any],
    step: int,
    picked: tuple[int, int, int] | None,
    text: str,
    on_picked: Callable[[], None],
    on_step: Callable[[], None],
    key: str = "ward",
    autoplay: bool = False,
) -> None:
    """Shows the map. `on_picked` and `on_step` run before the rerun; the values stand in session state under `key`.

    With `autoplay` it plays at once, unless the person's system asks for less motion.
    """
    ward_players([("", frames, text)], step, picked, on_picked, on_step, key, autoplay)


def ward_players(
    maps: Sequence[tuple[str, dict[str, Any], str]],
    step: int,
    picked: tuple[int, int, int] | None,
    on_picked: Callable[[], None],
    on_step: Callable[[], None],
    key: str,
    autoplay: bool = False,
) -> None:
    """Several maps side by side that step together: title, frames and text of each. Otherwise as `ward_player`."""
    data = {
        "maps": [{"title": title, "frames": frames, "text": text} for title, frames, text in maps],
        "step": step,
        "picked": list(picked) if picked else None,
        "autoplay": autoplay,
    }
    _player(key=key, data=data, on_picked_change=on_picked, on_step_change=on_step)


def policy_bars(data: dict[str, Any]) -> None:
    """Shows what `iomt_core.charts.comparison.policy_bars` made."""
    _policies(key="policy_bars", data=data)


def delay_bars(data: dict[str, Any], on_picked: Callable[[], None]) -> None:
    """Shows what `iomt_core.charts.tasks.delay_bars` made; the task picked stands in session state under "delays"."""
    _delays(key="delays", data=data, on_picked_change=on_picked)


def forest(data: dict[str, Any]) -> None:
    """Shows what `iomt_core.charts.forest.forest` made."""
    _forest(key="forest", data=data)


def bar_panels(data: dict[str, Any], key: str) -> None:
    """Shows what `iomt_core.charts.bars.panels` made."""
    _panels(key=key, data=data | {"file": key})


def density(data: dict[str, Any], key: str) -> None:
    """Shows what `iomt_core.charts.fading.fading` made."""
    _density(key=key, data=data)


def episode_pairs(data: dict[str, Any]) -> None:
    """Shows what `iomt_core.charts.forest.episode_pairs` made."""
    _pairs(key="episode_pairs", data=data)
