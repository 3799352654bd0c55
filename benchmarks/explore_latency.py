"""Waiting time on the Explore page: `python -m benchmarks.explore_latency`.

Measured in Chromium from the key press on a slider to new numbers in the headline, to all new figures (map, curves of the
episode, policies and bound, delays), and to the end of all changes; the trained SAE-MT-QMIX is shown. Every press makes a new
scenario, so no result comes from a cache. The curves over a parameter are drawn later, as their points are computed.
"""

from __future__ import annotations

import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = "1"  # the dashboard's own default, not that of the other benchmarks

from playwright.sync_api import Page

from tests.browser.lab_server import browser, open_page, server, settle

PRESSES = 20
WATCH = """(label) => {
  const text = (selector) => [...document.querySelectorAll(selector)].map((e) => e.textContent).join("|");
  const numbers = () => text("[data-testid=stMetricValue]");
  const map = () => document.querySelector(".st-key-ward [data-testid=stBidiComponentIsolated]").shadowRoot.textContent;
  const charts = ["episode_curves", "policy_bars", "delays"].map((key) => `.st-key-${key} .chart-plot`);
  const figures = () => [map(), ...charts.map((chart) => document.querySelector(chart)?.innerHTML)];
  const atRest = () => document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning";
  window.answer = new Promise((resolve) => {
    const before = [numbers(), figures()];
    let start = null, seenNumbers = null, seenFigure = null;
    document.addEventListener("keydown", () => { start = performance.now(); }, { once: true, capture: true });
    const look = () => {
      if (start !== null) {
        if (seenNumbers === null && numbers() !== before[0]) seenNumbers = performance.now() - start;
        if (seenFigure === null && figures().every((text, n) => text !== before[1][n])) seenFigure = performance.now() - start;
        if (seenNumbers !== null && seenFigure !== null && atRest()) {
          resolve([seenNumbers, seenFigure, performance.now() - start]);
          return;
        }
        if (performance.now() - start > 8000) { resolve(null); return; }
      }
      requestAnimationFrame(look);
    };
    look();
  });
}"""


def slider(page: Page, group: str, label: str) -> None:
    """Opens the group and puts the focus on the slider."""
    page.locator("[data-testid=stSidebar] summary", has_text=group).first.click()
    handle = page.locator(f"[data-testid=stSidebar] input[type=range][aria-label^='{label}']").first
    handle.wait_for()
    handle.focus()


def presses(page: Page, key: str, count: int = PRESSES) -> list[list[float]]:
    """Milliseconds to new numbers, to the new figure, and to rest, for each press."""
    times = []
    for _ in range(count):
        page.evaluate(WATCH)
        page.keyboard.press(key)
        found = page.evaluate("window.answer")
        if found is not None:
            times.append(found)
        time.sleep(0.25)
    return times


def report(name: str, times: list[list[float]], target: float) -> None:
    """One line a place."""
    middle = [statistics.median(t[i] for t in times) for i in range(3)]
    worst = max(t[2] for t in times)
    print(f"{name:32s} numbers {middle[0]:4.0f} ms, figures {middle[1]:4.0f} ms, at rest {middle[2]:4.0f} ms "
          f"(worst {worst:4.0f} ms, n = {len(times)}; target {target:.0f} ms)")  # fmt: skip


def main() -> None:
    with server() as address, browser() as chromium:
        firsts = []
        for _ in range(3):
            context = chromium.new_context(viewport={"width": 1366, "height": 768})
            page = context.new_page()
            start = time.perf_counter()
            open_page(page, address)
            firsts.append(time.perf_counter() - start)
            context.close()
        print(f"first page, fresh browser profile: {', '.join(f'{t:.2f}' for t in firsts)} s (target 3 s)")
        page = chromium.new_page(viewport={"width": 1366, "height": 768})
        open_page(page, address)
        slider(page, "Computing", "Server CPU")
        presses(page, "ArrowRight", 2)
        report("paper, server CPU", presses(page, "ArrowRight"), 300)
        open_page(page, f"{address}/?preset=paper&users=16&tasks=16&servers=8")
        slider(page, "Computing", "Server CPU")
        report("16 x 16 x 8, server CPU", presses(page, "ArrowRight", 8), 1000)
        settle(page)


if __name__ == "__main__":
    main()
