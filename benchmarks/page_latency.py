"""How long the pages Start, Inspect and Compare block in wards of a city's size: `python -m benchmarks.page_latency [PAGE ...]`.

In Chromium, for opening a page and for each change on it: the longest time without a break in which the page computes, or in
which the browser is busy with one task. In between, a click is answered. The time goes until all figures are there, as they
come from the process in the background, or until `PATIENCE` is over. Each line is printed as soon as it is measured.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # the dashboard's own default, not that of the other benchmarks

from playwright.sync_api import Browser, Locator, Page

from benchmarks.explore_latency import SIZES, VIEW, load
from tests.browser.lab_server import browser, server

TARGET = 1000  # ms
PATIENCE = 40  # s
WARDS = {"city": "preset=city"} | {
    size: f"preset=paper&channel=log-distance&E_ref=0.001&Cap=0.1{link}" for size, link in SIZES.items()
}
PAGES = ("start", "inspect", "compare")
# Measures from the opening of a page, or from the next click or key; ends when nothing was computed for a second.
WATCH = """
window.watch = (patience, opening) => new Promise((resolve) => {
  let start = opening ? performance.now() : Infinity;
  const begin = () => { start = Math.min(start, performance.now()); };
  ["keydown", "click"].forEach((event) => document.addEventListener(event, begin, { once: true, capture: true }));
  let since = null, last = 0, longest = 0, busy = 0, answer = null;
  const tasks = new PerformanceObserver((list) => {
    busy = Math.max(busy, ...list.getEntries().filter((one) => one.startTime >= start).map((one) => one.duration));
  });
  tasks.observe({ entryTypes: ["longtask"] });
  const look = () => {
    const now = performance.now(), app = document.querySelector("[data-testid=stApp]");
    if (now < start) { setTimeout(look, 10); return; }
    const running = app !== null && app.dataset.testScriptState !== "notRunning";
    if (running) { since ??= now; longest = Math.max(longest, now - since); }
    else { if (since !== null) { last = now; answer ??= now - start; } since = null; }
    const waits = document.body?.textContent.includes("in the background") || app === null;
    if ((!running && !waits && now - Math.max(last, start) > 1000) || now - start > 1000 * patience) {
      tasks.disconnect();
      resolve([longest, busy, answer, now - start]);
    } else { setTimeout(look, 10); }
  };
  look();
});
"""


def watched(page: Page, name: str, act: Callable[[], object]) -> None:
    """Prints one line: what blocks longest after an action."""
    page.evaluate(f"() => {{ window.found = window.watch({PATIENCE}, false); }}")
    act()
    _print(name, page.evaluate("window.found"))


def opened(page: Page, name: str, address: str) -> None:
    """The same for a new page."""
    page.add_init_script(f"{WATCH} window.found = window.watch({PATIENCE}, true);")
    page.goto(address)
    _print(name, page.evaluate("window.found"))


def _print(name: str, found: list[float]) -> None:
    longest, busy, answer, whole = found
    answered = f"first answer {answer:.0f} ms" if answer is not None else f"no answer in {PATIENCE} s"
    ends = "still busy" if whole > 1000 * PATIENCE else f"all there after {whole / 1000 - 1:.1f} s"
    print(
        f"{name}: blocks for {max(longest, busy):.0f} ms at most (page {longest:.0f}, browser {busy:.0f}), {answered}, {ends}; "
        f"target {TARGET} ms, {load()}",
        flush=True,
    )


def ready(page: Page) -> None:
    """Waits until a click would be answered at once."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=240_000)


OPENED_FIRST: dict[str, Callable[[Page], Locator]] = {
    "another task": lambda page: page.get_by_role("combobox", name="Task"),
    "another policy": lambda page: page.locator("[data-testid=stSidebar]").get_by_role("combobox", name="Policy"),
}


def changes(page: Page, of: str) -> dict[str, Callable[[], object]]:
    """What a person does on a page, by name."""
    if of == "start":
        return {"to Explore and back": lambda: page.get_by_role("link", name="Explore").first.click()}
    found: dict[str, Callable[[], object]] = {}
    if of == "inspect":
        found["another step"] = page.get_by_role("button", name="Next").click
        found["another task"] = page.get_by_role("option", name="2", exact=True).click
        for tab in ("Shares", "What the agent observes", "Regret", "Formulas"):
            found[f"tab {tab}"] = page.get_by_role("tab", name=tab).click
    else:
        for tab in ("Where tasks moved", "Episode by episode"):
            found[f"tab {tab}"] = page.get_by_role("tab", name=tab).click
    found["another policy"] = page.get_by_role("option", name="Greedy", exact=True).click
    handle = page.locator("[data-testid=stSidebar] input[type=range][aria-label^='Path loss exponent']").first
    found["slider"] = lambda: handle.press("ArrowRight")
    return found


def main() -> None:
    chosen = [one for one in sys.argv[1:] if one in PAGES] or PAGES
    wards = {name: link for name, link in WARDS.items() if name in sys.argv} or WARDS
    with server() as address, browser() as chromium:
        for size, link in wards.items():
            for of in chosen:
                measure(chromium, f"{address}/?page={of}&policy=price-response&{link}", size, of)


def measure(chromium: Browser, address: str, size: str, of: str) -> None:
    """All lines of one page."""
    page = chromium.new_page(viewport=VIEW)
    page.set_default_timeout(60_000)
    opened(page, f"{size}, {of}, new page", address)
    for name, act in changes(page, of).items():
        began = time.monotonic()
        try:
            ready(page)
            if name.startswith("tab"):  # there with the first results
                page.get_by_role("tab", name=name.removeprefix("tab ")).wait_for(timeout=180_000)
            if name in OPENED_FIRST:  # the list of choices
                OPENED_FIRST[name](page).click()
            watched(page, f"{size}, {of}, {name}", act)
        except Exception as error:
            print(
                f"{size}, {of}, {name}: {str(error).splitlines()[0]} after {time.monotonic() - began:.0f} s", flush=True
            )
    page.close()


if __name__ == "__main__":
    main()
