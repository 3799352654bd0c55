"""Every page at the width of a phone, a tablet, a laptop and a wide screen, light and dark: nothing is cut off, no labels
overlap and nothing scrolls sideways. axe finds nothing, at the width of a phone, with the sidebar closed, and of a laptop;
in dark it looks for what depends on colours, as all else is the same in both schemes.

A page is loaded once in each scheme: in a wide window that gets narrower, and in a narrow one that gets wider.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from dashboard.navigation import TITLES
from tests.browser.lab_server import settle
from tests.browser.test_accessibility import OF_COLOURS, grave

pytestmark = pytest.mark.browser

WIDTHS = (390, 800, 1280, 1920)
SCANNED = (390, 1280)
HEIGHT = 900
MEASURE = Path(__file__).with_name("layout.js").read_text(encoding="utf-8")
# All charts are drawn as wide as their place, and for a while nothing has been replaced or has moved.
AT_REST = """
(milliseconds) => {
  const charts = [...document.querySelectorAll(".chart-plot")].every((plot) => {
    const drawn = plot.querySelector("svg");
    return drawn && Math.abs(drawn.clientWidth - plot.clientWidth) <= 1;
  });
  const elements = [...document.querySelectorAll("[data-testid=stElementContainer], [data-testid=stSidebar]")];
  const places = JSON.stringify(elements.map((one) => [one.dataset.stale, one.getBoundingClientRect()]));
  if (!charts || places !== window.lastPlaces) {
    window.lastPlaces = places;
    window.lastMoved = performance.now();
  }
  return performance.now() - window.lastMoved > milliseconds;
}
"""


def rest(page: Page) -> None:
    """Waits until a page that was loaded or resized has taken its place."""
    settle(page)
    page.wait_for_function(AT_REST, arg=250, polling=50)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", TITLES)
def test_nothing_is_cut_off_or_overlaps_at_any_width(page: Page, lab: str, name: str, scheme: str) -> None:
    widths = sorted(WIDTHS, reverse=scheme == "light")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": widths[0], "height": HEIGHT})
    page.goto(f"{lab}/?page={name}&task=1.3.2")
    settle(page)
    page.wait_for_selector("[data-testid=stMain] [data-testid=stHeading]")
    found, rules = [], OF_COLOURS if scheme == "dark" else None
    for width in widths:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        rest(page)
        problems = [*page.evaluate(MEASURE), *(grave(page, rules) if width in SCANNED else ())]
        # A narrow screen may scroll a row of tabs or a table; a laptop's may not.
        found += [f"{width}: {one}" for one in problems if width >= 1280 or not one.startswith("behind a scroll bar")]
    assert found == []
