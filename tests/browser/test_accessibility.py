"""What axe finds in a page, and what it cannot see: keyboard, tables and texts for charts. `test_layout` scans every page."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import play
from tests.browser.lab_server import downloaded, open_page, settle

pytestmark = pytest.mark.browser

GRAVE = ("serious", "critical")
# Violations inside Streamlit's own chrome that its users cannot mend: rule, a part of the selector or element, why. There are
# none of this weight in 1.67; what axe calls minor or moderate is not held against anyone.
STREAMLITS_OWN: tuple[tuple[str, str, str], ...] = ()


# The rules that depend on colours, of those that axe applies by default.
OF_COLOURS = ("color-contrast", "link-in-text-block")


def grave(page: Page, rules: Sequence[str] | None = None) -> list[str]:
    """Serious and critical violations on the page as it is, of these rules or all, less those listed as Streamlit's own."""
    # Text that is half faded in, for example a slider's ends as the pointer passes, has no contrast of its own: it is checked as
    # it will stay. While a page or fragment runs again, Streamlit fades elements, and also the heads of expanders and tabs, which
    # carry no mark; after half a second, or at once without transitions.
    page.add_style_tag(
        content="*, *::before, *::after { transition: none !important; animation: none !important; }"
        ":is([data-stale=true], summary, summary *, [role=tablist], [role=tab]) { opacity: 1 !important; }"
    )
    found = []
    options = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else None
    for violation in Axe().run(page, options=options).response["violations"]:
        for node in violation["nodes"]:
            where = f"{node['target']} {node['html']}"
            own = any(rule == violation["id"] and part in where for rule, part, _ in STREAMLITS_OWN)
            if violation["impact"] in GRAVE and not own:
                found.append(f"{violation['id']}: {where[:400]} {node['failureSummary']}")
    return found


def test_axe_finds_nothing_serious_in_open_groups_twins_and_the_tour(page: Page, lab: str) -> None:
    page.goto(lab)
    settle(page)
    page.get_by_role("button", name="Why is this task local?").click()
    page.wait_for_selector(".st-key-tour_banner")
    page.wait_for_selector(".st-key-beside_alternatives .chart-plot svg")
    for group in ("Tasks", "Channel", "Files and own data"):
        page.locator("[data-testid=stSidebar] summary", has_text=group).click()
        settle(page)
    page.locator("[data-testid=stMain] summary", has_text="As a table").first.click()
    settle(page)
    assert grave(page) == []


def test_a_task_is_reached_and_asked_by_keyboard_alone(page: Page, lab: str) -> None:
    open_page(page, lab)
    assert page.locator(".ward .task[tabindex='0']").count() == 1
    page.locator(".ward .task[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ward .task:focus")).to_have_attribute("data-task", "1.2.2")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Why is task 2 of user 2 on")).to_be_visible()
    settle(page)
    expect(page.locator(".ward .task:focus")).to_have_attribute("data-task", "1.2.2")


def test_every_chart_has_a_table_twin_and_text(page: Page, lab: str) -> None:
    open_page(page, lab)
    for tab in ("Where time goes", "Devices", "What more would save", "Fading"):
        page.get_by_role("tab", name=tab).click()
        panel = page.get_by_role("tabpanel").filter(visible=True)
        panel.locator("summary", has_text="As a table").first.click()
        expect(panel.locator("[data-testid=stDataFrame] canvas").first).to_be_visible()
        settle(page)
        expect(panel.locator(".chart-plot").first).to_have_attribute(
            "aria-label", re.compile("(user|task|server|S)[ \\d]")
        )
        twin = pd.read_csv(downloaded(page, panel.get_by_role("button", name="Download (CSV)")))
        assert len(twin) >= PRESETS["paper"].servers
        if tab == "Where time goes":
            table = play(PRESETS["paper"], "sae-mt-qmix", 0).table()
            expected = (table[table["step"] == 1]["delay_s"] * 1e3).sort_values(ascending=False)
            assert twin["delay (ms)"].tolist() == pytest.approx(expected.tolist(), abs=2e-4)
