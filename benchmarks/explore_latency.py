"""Waiting time on the Explore page: `python -m benchmarks.explore_latency`; with `--city` only of wards of a city's size.

Measured in Chromium from the key press on a slider to new numbers in the headline, to all new figures (map, curves of the
episode, policies and bound, delays), and to the end of all changes; and from the click on a tab to its figures. The trained
SAE-MT-QMIX is shown; in a city it is price response, whose numbers come first, while the bound and the optimum follow from the
process in the background. Every press makes a new scenario, so no result comes from a cache. The curves over a parameter are
drawn later, as their points are computed.

Each line is printed as soon as it is measured, with the load of the machine: where more processes want to run than it has
cores, all times are longer, and those of the background process, which steps back behind all others, most of all.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"  # the dashboard's own default, not that of the other benchmarks

import psutil
from playwright.sync_api import Browser, Page, ViewportSize

from tests.browser.lab_server import browser, open_page, server, settle

VIEW: ViewportSize = {"width": 1366, "height": 768}
SLIDER = ("numbers", "figures", "at rest")
TABS = {"Devices": "utilisation", "What more would save": "prices", "Fading": "fading", "Where time goes": "delays"}
PRESSES = 20
PATIENCE = 8  # seconds without an answer, after which a press or a click counts as unanswered
LONGEST = 45  # seconds that a line may take; it then has fewer presses
# An exception would end `look`, and the benchmark would wait for ever: parts of the page may be missing for a moment.
WATCH = """(patience) => {
  const text = (selector) => [...document.querySelectorAll(selector)].map((e) => e.textContent).join("|");
  const numbers = () => text("[data-testid=stMetricValue]");
  const map = () => document.querySelector(".st-key-ward [data-testid=stBidiComponentIsolated]")?.shadowRoot?.textContent;
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
        if (performance.now() - start > 1000 * patience) { resolve(null); return; }
      }
      requestAnimationFrame(look);
    };
    look();
  });
}"""
WATCH_TAB = """([chart, patience]) => {
  window.answer = new Promise((resolve) => {
    let start = null;
    document.addEventListener("pointerdown", () => { start = performance.now(); }, { once: true, capture: true });
    const look = () => {
      const seen = document.querySelector(`[class*=st-key-${chart}] .chart-plot .main-svg`);
      if (start !== null && seen?.checkVisibility()) { resolve(performance.now() - start); return; }
      if (start !== null && performance.now() - start > 1000 * patience) { resolve(null); return; }
      requestAnimationFrame(look);
    };
    look();
  });
}"""

CITY = "/?page=explore&preset=paper&policy=price-response&channel=log-distance&E_ref=0.001&Cap=0.1"
SIZES = {"100 x 8 x 20": "&users=100&servers=20&area=1000", "816 x 8 x 125": "&users=816&servers=125&area=2500"}
# Milliseconds from a key press or click to each of several states, in this order, and the longest task of the browser meanwhile.
WATCH_STATES = """([names, patience]) => {
  const figures = () => [...document.querySelectorAll("[data-testid=stMetricValue]")].map((e) => e.textContent);
  const states = {
    step: () => document.querySelector(".st-key-city .chart-subtitle")?.textContent,
    site: () => document.querySelector(".st-key-city .chart-title")?.textContent,
    numbers: () => figures().slice(0, 3).join() || "none",
    bound: () => figures().at(-1),
    optimum: () => document.querySelector(".st-key-policy_bars .chart-plot")?.getAttribute("aria-label"),
  };
  const open = { bound: "…", optimum: "Optimum being computed" };
  window.answer = new Promise((resolve) => {
    const before = names.map((name) => states[name]()), seen = [];
    let start = null, longest = 0;
    const tasks = new PerformanceObserver((list) => {
      if (start !== null) longest = Math.max(longest, ...list.getEntries().map((one) => one.duration));
    });
    tasks.observe({ entryTypes: ["longtask"] });
    const begin = () => { start ??= performance.now(); };
    ["keydown", "pointerdown"].forEach((event) => document.addEventListener(event, begin, { once: true, capture: true }));
    const look = () => {
      const now = start === null ? 0 : performance.now() - start, n = seen.length;
      if (start !== null) {
        const text = states[names[n]]();
        if (text !== undefined && text !== before[n] && !text.includes(open[names[n]] ?? "nothing")) seen.push(now);
        if (seen.length === names.length || now > 1000 * patience) {
          tasks.disconnect();
          resolve(seen.length === names.length ? [...seen, longest] : null);
          return;
        }
      }
      requestAnimationFrame(look);
    };
    look();
  });
}"""


def states(page: Page, names: Sequence[str], act: Callable[[], None], patience: float = PATIENCE) -> list[float] | None:
    """What `WATCH_STATES` measures of one action; None if not all states came."""
    page.evaluate(WATCH_STATES, [list(names), patience])
    act()
    found = page.evaluate("window.answer")
    return None if found is None else [float(x) for x in found]


def background_seconds() -> float:
    """Processor time of the process in the background."""
    found = [one for one in psutil.Process().children(recursive=True) if "LokyProcess" in " ".join(one.cmdline())]
    return sum(one.cpu_times().user + one.cpu_times().system for one in found)


def cities(chromium: Browser, address: str) -> None:
    """Wards of a city's size: figures first, then the bound and the optimum; and how long the page is busy at the largest."""
    for size, link in SIZES.items():
        page = chromium.new_page(viewport=VIEW)
        start = time.perf_counter()
        page.goto(address + CITY + link)
        page.wait_for_selector(".st-key-city .chart-plot .main-svg", timeout=60_000)
        first = time.perf_counter() - start
        page.wait_for_selector("[data-testid=stMetricValue]", timeout=120_000)
        print(f"{size}, new page: map {first:.2f} s, figures {time.perf_counter() - start:.2f} s, {load()}", flush=True)
        small = size == "100 x 8 x 20"
        slider(page, "Computing", "Server CPU")
        if small:
            wanted = ("numbers", "bound", "optimum")
            press = partial(page.keyboard.press, "ArrowRight")
            states(page, wanted, press, 20)
            before = background_seconds()
            settled = [states(page, wanted, press, 20) for _ in range(6)]
            mean = (background_seconds() - before) / len(settled)
            print(f"{size}: {mean:.2f} s of processor time in the background for each press", flush=True)
            report(f"{size}, slider", settled, ("numbers", "bound", "optimum", "longest task of the browser"), 1000)
        steps = page.locator(".st-key-city_step input[type=range]")
        steps.focus()
        times = [states(page, ("step",), partial(page.keyboard.press, "ArrowRight")) for _ in range(6)]
        report(f"{size}, step", times, ("map", "longest task of the browser"), 1000)
        times = []
        for number in (3, 7, 11):
            page.get_by_role("combobox", name="Site").click()
            option = page.get_by_role("option", name=f"server {number}", exact=True)
            times.append(states(page, ("site",), option.click))
        report(f"{size}, zoom to a site", times, ("map", "longest task of the browser"), 1000)
        if not small:
            page.locator("[data-testid=stSidebar] input[type=range][aria-label^='Server CPU']").first.focus()
            times = [states(page, ("numbers",), partial(page.keyboard.press, "ArrowRight"))]
            report(
                f"{size}, slider to the page that says what is computed",
                times,
                ("page", "longest task of the browser"),
                1000,
            )
        page.close()


def slider(page: Page, group: str, label: str) -> None:
    """Opens the group and puts the focus on the slider."""
    page.locator("[data-testid=stSidebar] summary", has_text=group).first.click()
    handle = page.locator(f"[data-testid=stSidebar] input[type=range][aria-label^='{label}']").first
    handle.wait_for()
    handle.focus()


def presses(page: Page, key: str, count: int = PRESSES) -> list[list[float] | None]:
    """Milliseconds to new numbers, to the new figures, and to rest, for each press; None for a press without an answer."""
    times, end = [], time.monotonic() + LONGEST
    while len(times) < count and time.monotonic() < end:
        page.evaluate(WATCH, PATIENCE)
        page.keyboard.press(key)
        times.append(page.evaluate("window.answer"))
        time.sleep(0.25)
    return times


def clicks(page: Page, tabs: Mapping[str, str]) -> list[list[float] | None]:
    """Milliseconds to the first figure of each tab; `tabs` has a part of the figure's key by the name of the tab."""
    times = []
    for name, chart in tabs.items():
        tab = page.get_by_role("tab", name=name)
        tab.scroll_into_view_if_needed()
        settle(page)
        page.evaluate(WATCH_TAB, [chart, PATIENCE])
        tab.click()
        found = page.evaluate("window.answer")
        times.append(None if found is None else [found])
        settle(page)
    return times


def report(name: str, times: list[list[float] | None], parts: Sequence[str], target: float) -> None:
    """Prints one line."""
    answered = [t for t in times if t is not None]
    middle = [f"{part} {statistics.median(t[n] for t in answered):.0f} ms" for n, part in enumerate(parts) if answered]
    worst = [f"longest {max(t[-1] for t in answered):.0f} ms"] if answered else []
    lost = len(times) - len(answered)
    unanswered = [f"{lost} without an answer in {PATIENCE} s"] if lost else []
    print(
        f"{name}: {', '.join(middle + worst + unanswered)}; n = {len(times)}, target {target:.0f} ms, {load()}",
        flush=True,
    )


def load() -> str:
    """The load of the machine in the last minute."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def main() -> None:
    with server() as address, browser() as chromium:
        cities(chromium, address)
        if "--city" in sys.argv:
            return
        firsts = []
        for _ in range(3):
            context = chromium.new_context(viewport=VIEW)
            page = context.new_page()
            start = time.perf_counter()
            open_page(page, address)
            firsts.append(time.perf_counter() - start)
            context.close()
        seconds = ", ".join(f"{t:.2f}" for t in firsts)
        print(f"first page, fresh browser profile: {seconds} s; target 3 s, {load()}", flush=True)
        page = chromium.new_page(viewport=VIEW)
        open_page(page, address)
        slider(page, "Computing", "Server CPU")
        presses(page, "ArrowRight", 2)
        report("paper, slider of server CPU", presses(page, "ArrowRight"), SLIDER, 300)
        clicks(page, TABS)
        report("paper, tab", [*clicks(page, TABS), *clicks(page, TABS)], ("figure",), 300)
        open_page(page, f"{address}/?preset=paper&users=16&tasks=16&servers=8")
        slider(page, "Computing", "Server CPU")
        report("16 x 16 x 8, slider of server CPU", presses(page, "ArrowRight", 8), SLIDER, 1000)
        settle(page)


if __name__ == "__main__":
    main()
