"""Colours, dashes and symbols of all charts."""

from __future__ import annotations

from dataclasses import dataclass

# Server colours: those of Okabe and Ito (2008), which most colour-blind readers can distinguish, and two more.
LOCAL_COLOUR = "#8a8f98"
SERVER_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7a5195", "#8c6d31")
KIND_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#edc948", "#76b7b2")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star")
BOUND_COLOUR = "#d62728"
PINNED_COLOUR = "#9467bd"
SHOWN_COLOUR = "#0072b2"


@dataclass(frozen=True)
class Look:
    """How a policy's curve is drawn: colour, dash, symbol and width, so that colour is never the only difference."""

    colour: str
    dash: str = "solid"
    symbol: str = "circle"
    width: float = 1.75


SHOWN = Look(SHOWN_COLOUR, width=3)  # the policy on the map
PINNED = Look(PINNED_COLOUR, "dash", "diamond-open", 2)
BOUND = Look(BOUND_COLOUR, "dash", width=2)


def other_policy(n: int) -> Look:
    """How the n-th other policy is drawn, from 0."""
    return Look(SERVER_COLOURS[1 + n % 7], DASHES[(n + 1) % len(DASHES)], SYMBOLS[(n + 1) % len(SYMBOLS)])


def device_colour(number: int) -> str:
    """Colour of a device by its number in the whole ward: 0 is the own device, k is server k."""
    return LOCAL_COLOUR if number == 0 else SERVER_COLOURS[(number - 1) % len(SERVER_COLOURS)]


def ink(colour: str) -> str:
    """Black or white: the one that is easier to read on a colour (contrast of WCAG 2, at least 4.5 to 1)."""
    red, green, blue = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"
