"""Figures from plain dictionaries, with the one template of all charts, light and dark.

A chart function returns `figure(data, layout, title, alt)`. Plotly's own checks of every property take longer than the drawing,
so they are left out. Sizes and colours that all charts share are in the template and nowhere else.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go

from iomt_core.charts.style import SERVER_COLOURS

# Arial, Helvetica and Liberation Sans have the same widths, so that an exported drawing looks the same everywhere.
FONT = "Arial, Helvetica, 'Liberation Sans', sans-serif"
HEIGHT = 300  # px
BLUES = ("#eaf2fa", "#2171b5")  # a heat map's smallest and largest value


def template(dark: bool = False) -> dict[str, Any]:
    """The template of all charts for a light or dark page."""
    text, paper, line = ("#e8ebf0", "#0e1117", "#59606e") if dark else ("#10141a", "#ffffff", "#b9bec8")
    axis = {
        "automargin": True, "gridcolor": "rgba(128,134,146,0.22)", "linecolor": line, "zerolinecolor": line, "zerolinewidth": 1.5,
        "title": {"font": {"size": 13}, "standoff": 8}, "tickfont": {"size": 12}, "separatethousands": True,
    }  # fmt: skip
    layout = {
        "height": HEIGHT,
        "font": {"family": FONT, "size": 13, "color": text},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(SERVER_COLOURS),
        "colorscale": {"sequential": [[0.0, BLUES[0]], [1.0, BLUES[1]]]},
        "margin": {"l": 56, "r": 12, "t": 28, "b": 44},
        "hoverlabel": {"namelength": -1, "bgcolor": paper, "font": {"color": text, "size": 13}},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": text, "activecolor": SERVER_COLOURS[0]},
        "xaxis": axis,
        "yaxis": axis,
        "barcornerradius": 2,
    }
    return {"layout": layout}


TEMPLATES = MappingProxyType({"light": template(), "dark": template(dark=True)})


def figure(
    data: Sequence[Mapping[str, Any]],
    layout: Mapping[str, Any],
    title: str,
    alt: str,
    subtitle: str = "",
    step: bool = False,
) -> go.Figure:
    """A figure of plain traces and layout.

    title: what is shown; subtitle: whose result it is and of what (policy with its network, ward, scope); both plain text.
    alt: the content in words, for screen readers. With `step` the first shape is a vertical line that follows the ward's
    player, and a click on a point makes the player jump to its x. Zoom and hidden traces are kept while `layout["uirevision"]`
    stays equal.
    """
    heading = {"text": html.escape(title, quote=False), "subtitle": {"text": html.escape(subtitle, quote=False)}}
    base = {"template": TEMPLATES["light"], "uirevision": "keep", "title": heading, "meta": {"alt": alt, "step": step}}
    return go.Figure({"data": list(data), "layout": {**base, **layout}}, _validate=False)


def step_line(step: float) -> dict[str, Any]:
    """The shape that marks the present step, see `figure`; full height of the plot."""
    return {
        "type": "line", "x0": step, "x1": step, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": "#8a8f98", "width": 2},
    }  # fmt: skip
