"""Links in a real browser: the address holds the session, so a reload, Back, another server and a translation lose nothing."""

from __future__ import annotations

import random
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.lab_server import choose, import_tables, metric, open_page, pin, server, settle, slider, title

pytestmark = pytest.mark.browser
FIGURES = ("Mean delay", "Mean energy", "Cost", "Gap to the bound")


def figures(page: Page) -> list[str]:
    settle(page)
    return [metric(page, label) for label in FIGURES]


def go(page: Page, direction: str) -> None:
    page.evaluate(f"history.{direction}()")


def shared_link(page: Page) -> str:
    page.get_by_role("button", name="Share", exact=True).click()
    return page.locator("[data-testid=stCode]").inner_text().strip()


def test_a_link_with_a_tag_and_a_bad_value_keeps_the_rest_and_stays_in_the_address(page: Page, lab: str) -> None:
    link = f"{lab}/?page=explore&preset=lecture&servers=3&utm_source=course&step=99"
    open_page(page, link)
    expect(title(page)).to_contain_text("3 users × 4 tasks, 3 servers")
    expect(page.locator("[data-testid=stAlert]").first).to_contain_text("step = 99 in the link is out of range")
    expect(page.get_by_text("Not known in the link, and ignored: 'utm_source'")).to_be_visible()
    assert page.url == link
    slider(page, "Edge servers").press("ArrowRight")
    expect(page).to_have_url(re.compile(r"servers=4(?!.*utm_source)"))


def test_back_and_forward_go_through_what_a_person_did(page: Page, lab: str) -> None:
    page.goto(lab)
    settle(page)
    page.get_by_role("link", name="Explore").first.click()
    steps = ["4 servers", "3 servers", "2 servers"]
    for words in steps:
        expect(title(page)).to_contain_text(words)
        settle(page)
        slider(page, "Edge servers").press("ArrowLeft")
    expect(title(page)).to_contain_text("1 server")
    settle(page)
    page.get_by_role("link", name="Inspect").first.click()
    expect(page).to_have_url(re.compile("page=inspect"))
    settle(page)
    go(page, "back")
    expect(page).to_have_url(re.compile("page=explore"))
    expect(title(page)).to_contain_text("1 server")
    for words in reversed(steps):
        settle(page)
        go(page, "back")
        expect(title(page)).to_contain_text(words)
        expect(slider(page, "Edge servers")).to_have_value(words[0])
    settle(page)
    go(page, "back")
    expect(title(page)).to_contain_text("IoMT Twin Lab")
    for words in steps:
        settle(page)
        go(page, "forward")
        expect(title(page)).to_contain_text(words)


def test_pin_and_own_data_survive_a_reload_and_an_upload_is_not_shown_as_in_use(
    page: Page, lab: str, tmp_path: Path
) -> None:
    generator, large = random.Random(0), tmp_path / "large.csv"
    rows = (
        f"{step},{user},{generator.uniform(20, 50):.3f},{generator.randint(100_000, 200_000)},1"
        for step in range(1, 21) for user in range(1, 9) for _ in range(8)
    )  # fmt: skip
    large.write_text("\n".join(["step,user,data_kb,cycles,priority", *rows]))
    open_page(page, lab)
    page.locator("[data-testid=stSidebar] summary", has_text="Files and own data").click()
    import_tables(page, large)
    page.get_by_role("button", name="Use this scenario").click()
    expect(page.get_by_text("In use: own workload, 1280 tasks of 8 users in 20 steps.")).to_be_visible()
    expect(page.locator("[data-testid=stFileUploaderFile]")).to_have_count(0)
    settle(page)
    pin(page)
    slider(page, "Edge servers").press("ArrowLeft")
    compared = page.get_by_text("Edge servers 4 → 3")
    expect(compared).to_be_visible()
    before = figures(page)
    page.reload()
    expect(compared).to_be_visible()
    assert figures(page) == before
    shared_link(page)
    expect(page.get_by_text("This server keeps it for everybody who has the link, at least until")).to_be_visible()
    page.keyboard.press("Escape")
    choose(page, "Preset", "lecture")
    expect(title(page)).to_contain_text("3 users × 4 tasks")
    expect(page.get_by_text("In use: own workload")).to_have_count(0)


def test_a_link_restores_everything_below_a_path_and_after_a_restart(page: Page, lab: str, chromium: Browser) -> None:
    open_page(page, lab)
    choose(page, "Preset", "lecture")
    choose(page, "Policy", "Greedy")
    slider(page, "Users").press("ArrowLeft")
    settle(page)
    page.locator(".ward").get_by_label("one step on").click()
    expect(page.locator(".ward .now")).to_have_text("step 2 of 20")
    settle(page)
    page.locator(".ward .task[data-task='2.2.3']").click()
    expect(page.get_by_text("Why is task 3 of user 2 on")).to_be_visible()
    page.get_by_role("tab", name="Devices").click()
    expect(page).to_have_url(re.compile("v_tab=devices"))
    before, query = figures(page), urlsplit(shared_link(page)).query
    context = chromium.new_context(viewport={"width": 1500, "height": 1200})
    other = context.new_page()

    def is_restored() -> None:
        expect(title(other)).to_contain_text("Policy: Greedy · Ward: 2 users × 4 tasks, 2 servers")
        expect(other.get_by_text("Why is task 3 of user 2 on")).to_be_visible()
        expect(other.locator(".ward .now")).to_have_text("step 2 of 20")
        expect(other.get_by_role("tab", name="Devices")).to_have_attribute("aria-selected", "true")
        assert figures(other) == before

    with server("lab") as address:
        other.goto(f"{address}/explore?{query}")
        is_restored()
        link = shared_link(other)
        assert link.startswith(f"{address}/?page=explore&")
        other.goto(link)
        is_restored()
    expect(other.locator("[data-testid=stApp]")).not_to_have_attribute("data-test-connection-state", "CONNECTED")
    with server("lab", urlsplit(address).port):
        settle(other, 60_000)
        is_restored()
    context.close()


# What Chrome's translation does: each text becomes font elements, at first and whenever the page changes. Here every second
# text is moved into them, the others are replaced by new ones.
TRANSLATE = """
let count = 0;
const wrap = (text) => {
  if (!text.data.trim() || !text.isConnected || text.parentNode.closest("font, svg, style, script")) return;
  const outer = document.createElement("font"), inner = document.createElement("font");
  outer.append(inner);
  text.replaceWith(outer);
  inner.append(count++ % 2 ? text : text.data);
};
const translate = (root) => {
  const texts = [], walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  if (root.nodeType === Node.TEXT_NODE) texts.push(root);
  while (walker.nextNode()) texts.push(walker.currentNode);
  texts.forEach(wrap);
};
translate(document.body);
new MutationObserver((records) => records.forEach((record) => record.addedNodes.forEach(translate)))
  .observe(document.body, { childList: true, subtree: true });
"""


def test_a_translated_page_keeps_working(page: Page, lab: str) -> None:
    open_page(page, lab)
    page.evaluate(f"() => {{ {TRANSLATE} }}")
    expect(title(page).locator("font font")).to_contain_text("4 servers")
    before = figures(page)
    for words in ("3 servers", "2 servers"):
        slider(page, "Edge servers").press("ArrowLeft")
        expect(title(page)).to_contain_text(words)
        settle(page)
    after = figures(page)
    assert all(a != b for a, b in zip(before, after, strict=True))
    pin(page)
    slider(page, "Edge servers").press("ArrowRight")
    expect(page.get_by_text("Edge servers 2 → 3")).to_be_visible()
    for name in ("Inspect", "Start", "Explore"):
        settle(page)
        page.get_by_role("link", name=name).first.click()
        expect(page).to_have_url(re.compile(f"page={name.lower()}"))
    expect(title(page)).to_contain_text("3 servers")
    page.get_by_role("button", name="Unpin").click()
    expect(page.get_by_text("Edge servers 2 → 3")).to_have_count(0)
