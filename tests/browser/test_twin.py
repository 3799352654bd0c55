"""The Twin page in a real browser: record, check, ask, fork; nothing is cut off, and axe finds nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab_server import server, settle
from tests.browser.test_accessibility import grave
from tests.browser.test_layout import MEASURE, rest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard on the operator's machine, with its own warehouses and keys."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IOMT_WAREHOUSES", "IOMT_KEYS", "IOMT_MODELS"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        patch.delenv("IOMT_CLASS", raising=False)  # the other tests' server is one for many people
        with server() as address:
            yield address


def problems(page: Page) -> list[str]:
    """What is cut off, and what axe finds in the main part; `test_layout` scans the sidebar and the page as a whole."""
    found = []
    page.mouse.move(0, 0)  # no tooltip over what is measured
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        rest(page)
        measured = [*page.evaluate(MEASURE), *grave(page, part="[data-testid=stMain]")]
        found += [f"{width}: {one}" for one in measured if width > 390 or not one.startswith("behind a scroll bar")]
    return found


def open_tab(page: Page, name: str) -> None:
    """Opens a tab once nothing is drawn any more: a click on a page that is being drawn can be lost."""
    settle(page)
    page.get_by_role("tab", name=name).click()
    expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def test_a_ward_is_recorded_checked_asked_and_forked(page: Page, own_lab: str) -> None:
    page.goto(f"{own_lab}/?page=twin&preset=lecture&T=6&policy=greedy&v_at=3&v_set=servers_off%3D2")
    settle(page, 60_000)
    expect(page.get_by_text("There is no data warehouse yet")).to_be_visible()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("[data-testid=stMetric]", has_text="Recordings")).to_contain_text("1", timeout=60_000)
    page.locator(".chart-plot svg").first.wait_for()
    page.get_by_role("button", name="Verify all data").click()
    expect(page.get_by_text("Intact:")).to_be_visible()
    assert problems(page) == []
    open_tab(page, "Private query")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("[data-testid=stMetric]", has_text="Paid")).to_contain_text("ε = 1")
    assert problems(page) == []
    open_tab(page, "Who asked what")
    page.get_by_role("button", name="Verify the audit log").click()
    expect(page.get_by_text("Valid:")).to_be_visible()
    assert problems(page) == []
    open_tab(page, "What would have happened")
    expect(page.get_by_text("From step 3 on: servers_off = 2")).to_be_visible()
    page.locator(".chart-plot .scatterlayer").first.wait_for()
    assert problems(page) == []
    open_tab(page, "Stale twin")
    expect(page.get_by_text("Not measured yet")).to_be_visible()
    page.get_by_role("button", name="Measure the cost").click()
    page.locator(".chart-plot .scatterlayer").first.wait_for()
    assert problems(page) == []
    open_tab(page, "Coordination")
    expect(page.get_by_text("Bytes across borders in this step")).to_be_visible()
    assert problems(page) == []
    open_tab(page, "Models")
    page.get_by_label("Reason").fill("lowest gap")
    page.get_by_label("Reason").press("Enter")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("now means version")).to_be_visible()
    assert problems(page) == []
    open_tab(page, "What would have happened")
    expect(page.get_by_text("From step 3 on: servers_off = 2")).to_be_visible()
    settle(page)
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    settle(page)
    expect(page.get_by_text("From step 3 on: servers_off = 2")).to_be_visible()
