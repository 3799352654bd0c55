"""Drawings fit their place, and can be taken away: an SVG file that shows what the page shows, without the page's styles."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab_server import downloaded, open_page

pytestmark = pytest.mark.browser

SVG = "{http://www.w3.org/2000/svg}"


def saved(page: Page, key: str) -> Path:
    """The file that a drawing's button gives."""
    return downloaded(page, page.locator(f".st-key-{key}").get_by_role("button", name="Download this drawing (SVG)"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_drawing_has_all_that_is_drawn_with_colours_and_words_of_its_own(
    page: Page, lab: str, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_page(page, f"{lab}/?page=explore&preset=hospital&policy=price-response&task=1.2.3")
    page.wait_for_selector(".st-key-alternatives .column")
    for key, part, least in (
        ("ward", ".task", 64),
        ("policy_bars", ".bar", 7),
        ("delays", ".exe", 64),
        ("alternatives", ".body", 10),
    ):
        drawn = page.locator(f".st-key-{key} svg {part}")
        fills = Counter(drawn.evaluate_all("all => all.map(one => getComputedStyle(one).fill)"))
        assert fills.total() >= least, key
        text = saved(page, key).read_text(encoding="utf-8")
        assert not re.search(r"rgba\(|transparent|var\(|class=|<style", text), key
        file = ElementTree.fromstring(text)
        assert file.tag == f"{SVG}svg"
        assert min(float(file.get("width", 0)), float(file.get("height", 0))) > 150
        kept = Counter(element.get("fill") for element in file.iter())
        assert all(kept[fill] >= count for fill, count in fills.items()), key
        shown = Counter(page.locator(f".st-key-{key} svg text").all_text_contents())
        assert shown <= Counter("".join(element.itertext()) for element in file.iter(f"{SVG}text")), key
        ids = [element.get("id") for element in file.iter() if element.get("id")]
        assert len(ids) == len(set(ids)), key
    legend = ["".join(e.itertext()) for e in ElementTree.parse(saved(page, "ward")).iter(f"{SVG}text")]
    assert {"own device", "ECG arrhythmia"} <= set(legend)


@pytest.mark.parametrize("width", [1100, 420])
def test_a_drawing_takes_the_room_there_is_and_nothing_is_cut_off(page: Page, lab: str, width: int) -> None:
    open_page(page, f"{lab}/?page=explore&preset=paper&policy=optimum")
    for tab, key in (("Devices", "utilisation"), ("Shadow prices", "prices"), ("Fading", "fading")):
        page.set_viewport_size({"width": 1500, "height": 1200})
        page.get_by_role("tab", name=tab).click()
        place = page.locator(f".st-key-{key} .drawing")
        place.locator("svg").first.wait_for()
        before = place.bounding_box()
        assert before is not None
        page.set_viewport_size({"width": width, "height": 900})
        inside = """([drawing, before]) => {
            const place = drawing.getBoundingClientRect(), parts = [...drawing.querySelectorAll("svg, text, .title, .note")];
            return place.width !== before && parts.every((part) => {
              const box = part.getBoundingClientRect();
              return box.left >= place.left - 1 && box.right <= place.right + 1 && box.bottom <= place.bottom + 1;
            });
        }"""
        expect(place.get_by_role("button", name="Download this drawing (SVG)")).to_have_count(1)
        page.wait_for_function(inside, arg=[place.element_handle(), before["width"]])
