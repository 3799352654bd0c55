"""Every page at the width of a phone, a tablet, a laptop and a wide screen, light and dark: nothing is cut off, no labels
overlap, nothing scrolls sideways, and axe finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from dashboard.navigation import TITLES
from tests.browser.lab_server import settle
from tests.browser.test_accessibility import grave

pytestmark = pytest.mark.browser

WIDTHS = (390, 800, 1280, 1920)
MEASURE = Path(__file__).with_name("layout.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", TITLES)
def test_nothing_is_cut_off_or_overlaps_at_any_width(chromium: Browser, lab: str, name: str, scheme: str) -> None:
    found = []
    for width in WIDTHS:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{lab}/?page={name}&task=1.3.2")
        settle(page)
        page.wait_for_selector("[data-testid=stMain] [data-testid=stHeading]")
        settle(page)
        page.wait_for_function(
            "[...document.querySelectorAll('.chart-plot')].every((plot) => plot.querySelector('svg'))"
        )
        problems = [*page.evaluate(MEASURE), *grave(page)]
        # A narrow screen may scroll a row of tabs or a table; a laptop's may not.
        found += [f"{width}: {one}" for one in problems if width >= 1280 or not one.startswith("behind a scroll bar")]
        context.close()
    assert found == []
