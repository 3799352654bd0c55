"""What all figures share: colours, dashes, symbols, and the plain layout."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

# Okabe and Ito (2008), told apart by most colour-blind readers, and two more of their kind.
LOCAL_COLOUR = "#8a8f98"
SERVER_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7a5195", "#8c6d31")
KIND_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#edc948", "#76b7b2")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star")
BOUND_COLOUR = "#d62728"
PINNED_COLOUR = "#9467bd"


def device_colour(choice: int) -> str:
    """Colour of a choice: 0 local, k server k."""
    return LOCAL_COLOUR if choice == 0 else SERVER_COLOURS[(choice - 1) % len(SERVER_COLOURS)]


def device_name(choice: int) -> str:
    """Name of a choice: 0 local, k server k."""
    return "own device" if choice == 0 else f"server {choice}"


def literal(text: str) -> str:
    """Text of a person's for a Plotly label, which else takes a few HTML tags and links for what they are."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def figure(data: list[dict[str, Any]], layout: dict[str, Any], frames: list[dict[str, Any]] | None = None) -> go.Figure:
    """A figure from plain dictionaries, not validated property by property: that would cost more than the drawing."""
    base = {
        "margin": {"l": 56, "r": 12, "t": 36, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"namelength": -1},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        "uirevision": "keep",
    }
    content: dict[str, Any] = {"data": data, "layout": {**base, **layout}}
    if frames:
        content["frames"] = frames
    return go.Figure(content, _validate=False)
