"""Figures can be taken away: a file shows what the page shows, without the page's styles, and one of numbers has the numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from iomt_core.scenario.presets import EARLIER_PRESETS
from iomt_core.twin.northbound import play
from tests.browser.lab_server import downloaded, open_page

pytestmark = pytest.mark.browser

SVG = "{http://www.w3.org/2000/svg}"
LINK = "?page=explore&preset=hospital-assumed&policy=price-response&task=1.2.3"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_figure_has_all_that_is_drawn_and_its_title(page: Page, lab: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_page(page, f"{lab}/{LINK}")
    for key in ("ward", "policy_bars", "episode_curves", "delays", "alternatives_1"):
        place = page.locator(f".st-key-{key}")
        place.locator("svg text").first.wait_for()
        text = downloaded(page, place.get_by_role("button", name=re.compile("SVG"))).read_text(encoding="utf-8")
        file = ElementTree.fromstring(text)
        assert file.tag == f"{SVG}svg"
        assert "var(" not in text, key
        assert not re.search(r"<style", text), key
        written = {"".join(element.itertext()) for element in file.iter(f"{SVG}text")}
        shown = place.locator("svg :is(.legendtext, .xtitle, .ytitle, .annotation-text)").all_text_contents()
        assert set(shown) <= written, key
        if key != "ward":
            assert place.locator(".chart-title").inner_text() in " ".join(written), key


def test_the_numbers_of_a_figure_are_those_of_the_policy(page: Page, lab: str) -> None:
    open_page(page, f"{lab}/{LINK}")
    place = page.locator(".st-key-delays")
    expect(place.locator(".chart-plot svg").first).to_be_visible()
    rows = pd.read_csv(downloaded(page, place.get_by_role("button", name=re.compile("CSV"))))
    table = play(EARLIER_PRESETS["hospital-assumed"], "price-response", 0).table().query("step == 1")
    assert rows.iloc[:, 2].sum() == pytest.approx(table["delay_s"].sum() * 1e3, rel=1e-4)


def test_paper_shows_figures_and_no_controls_and_a_large_font_shows_whole_numbers(page: Page, lab: str) -> None:
    open_page(page, f"{lab}/{LINK}")
    page.locator(".st-key-delays .chart-plot svg").first.wait_for()
    page.emulate_media(media="print")
    expect(page.locator("[data-testid=stSidebar]")).not_to_be_visible()
    expect(page.locator("[data-testid=stMain] button:visible")).to_have_count(0)
    expect(page.locator(".st-key-delays .chart-plot")).to_be_visible()
    page.emulate_media(media="screen")
    page.add_style_tag(content="html { font-size: 32px !important; }")
    cards = page.locator(".st-key-headline [data-testid=stMetric]")
    assert cards.count() == 5
    inside = (
        "all => all.map((card) => [...card.querySelectorAll('p')].every((text) => "
        "text.getBoundingClientRect().right <= card.getBoundingClientRect().right))"
    )
    assert all(cards.evaluate_all(inside))
