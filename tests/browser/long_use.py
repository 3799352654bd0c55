"""Uses every control of every page during a training run and measures memory: `python -m tests.browser.long_use --minutes 30`.

A run on `paper` trains in the background all the time. Each control is used in turn as a person would, in Chromium, and
timed from the key or click to the page at rest; controls that start, delete or take away something are left alone. Between
rounds the memory of the server and the live JavaScript objects of the page are read.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

import psutil
from playwright.sync_api import CDPSession, Error, Locator, Page

from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings
from tests.browser.lab_server import browser, server, settle

TARGET_MEDIAN, TARGET_WORST, TARGET_GROWTH = 500, 1500, 0.20
WARM_UP = 2  # rounds, before memory is compared: pages and solvers keep what was asked for lately
GOLDEN = 0.618
NO_ANSWER = 700  # milliseconds after which a control that made no rerun is taken for one that the browser answers alone
LINKS = {
    "explore": "?page=explore&preset=paper&policy=optimum",
    "inspect": "?page=inspect&preset=paper&policy=sae-mt-qmix&task=1.1.1",
    "compare": "?page=compare&preset=paper&policy=price-response",
    "train": "?page=train&preset=paper",
    "sweep": "?page=sweep&preset=paper",
    "answers": "?page=answers&preset=paper",
    "twin": "?page=twin&preset=paper",
    "start": "?page=start",
}
KINDS = {
    "slider": "input[type=range]:not([disabled])",
    "number": "[data-testid=stNumberInputStepUp]:not([disabled])",
    "choice": "[data-testid=stSelectbox] input:not([disabled])",
    "tab": "[data-testid=stTab]",
    "check": "[data-testid=stCheckbox] label",
    "group": "[data-testid=stExpander] summary",
    "segment": "[data-testid^=stBaseButton-segmented_control], [data-testid^=stBaseButton-pills]",
    "button": "[data-testid=stBaseButton-secondary]:not([disabled]), .ward button",
}
LEFT_ALONE = (
    "start",
    "delete",
    "download",
    "stop",
    "pause",
    "resume",
    "run",
    "sweep",
    "share",
    "remove",
    "tour",
    "cancel",
    "find out",
)
WATCH = """(limit) => { window.answer = new Promise((resolve) => {
  const app = document.querySelector("[data-testid=stApp]");
  let start = null, busy = false;
  const begin = () => { if (!busy) start = performance.now(); };
  for (const kind of ["keydown", "click"]) document.addEventListener(kind, begin, { capture: true });
  const end = (value) => {
    observer.disconnect(); clearInterval(timer);
    for (const kind of ["keydown", "click"]) document.removeEventListener(kind, begin, { capture: true });
    resolve(value);
  };
  const observer = new MutationObserver(() => {
    if (start === null) return;
    if (app.dataset.testScriptState !== "notRunning") busy = true;
    else if (busy) requestAnimationFrame(() => end(performance.now() - start));
  });
  observer.observe(app, { attributes: true, attributeFilter: ["data-test-script-state"] });
  const timer = setInterval(() => {
    if (start !== null && !busy && performance.now() - start > limit) end(null);
    if (start !== null && performance.now() - start > 20000) end(20000);
  }, 50);
}); }"""


def controls(page: Page) -> Iterator[tuple[str, int]]:
    """Kind and place of every control that is in sight now."""
    for kind, selector in KINDS.items():
        for number in range(page.locator(selector).count()):
            yield kind, number


def use(page: Page, kind: str, control: Locator, turn: int) -> None:
    """One use; `turn` lets sliders and choices go elsewhere each time."""
    if kind == "slider":
        control.focus()
        page.keyboard.press("ArrowRight" if turn % 2 == 0 else "ArrowLeft")
    elif kind == "choice":
        control.click()
        options = page.get_by_role("option")
        count = options.count()
        # Spread over all of a long list from the first rounds on: of 25 policies the first seven are the quick ones.
        options.nth(int((turn + 1) * GOLDEN * count) % max(1, count)).click()
    else:
        control.click()


def name_of(control: Locator) -> str:
    """The visible name of a control."""
    text = (
        control.get_attribute("aria-label")
        or control.inner_text()
        or control.evaluate(
            "e => e.closest('[data-testid=stNumberInput]')?.querySelector('label')?.innerText ?? e.title ?? ''"
        )
    )
    return " ".join(str(text).split())[:40]


def a_round(page: Page, address: str, where: str, turn: int, pause: float) -> list[tuple[str, float | None]]:
    """Each control of a page once; its name and milliseconds, `None` where the browser answered alone."""
    page.goto(address + LINKS[where])
    settle(page)
    page.wait_for_timeout(800)
    found = []
    for kind, number in list(controls(page)):
        control = page.locator(KINDS[kind]).nth(number)
        with suppress(Error):
            name = name_of(control)
            if kind == "button" and (not name or any(word in name.lower() for word in LEFT_ALONE)):
                continue
            page.evaluate(WATCH, NO_ANSWER)
            use(page, kind, control, turn)
            found.append((f"{kind} {name}", page.evaluate("window.answer")))
        page.keyboard.press("Escape")
        page.wait_for_timeout(pause * 1000)
    return found


def memory(session: CDPSession) -> tuple[float, float]:
    """MB of the server with its children but the training worker, and of the page's live objects."""
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    (mine,) = [p for p in psutil.Process().children() if "dashboard" in p.cmdline()]
    return mine.memory_info().rss / 1e6, heap / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two uses")
    parser.add_argument("--pages", nargs="+", choices=tuple(LINKS), default=tuple(LINKS), help="default: all")
    parser.add_argument("--alone", action="store_true", help="without the training run")
    options = parser.parse_args()
    times: dict[str, list[float]] = defaultdict(list)
    kept: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"IOMT_RUNS": f"{place}/runs", "IOMT_SWEEPS": f"{place}/sweeps"}  # not a person's own
        with server() as address, browser() as chromium:
            if not options.alone:
                spec = RunSpec("sae-mt-qmix", PRESETS["paper"], default_settings("sae-mt-qmix", episodes=1_000_000), 0)
                TRAINING.create("background", spec)
            page = chromium.new_page(viewport={"width": 1366, "height": 768})
            page.set_default_timeout(3000)
            page.set_default_navigation_timeout(60_000)
            session = page.context.new_cdp_session(page)
            end, turn = time.monotonic() + options.minutes * 60, 0
            while time.monotonic() < end:
                for where in options.pages:
                    for name, milliseconds in a_round(page, address, where, turn, options.pause):
                        if milliseconds is not None:
                            times[f"{where}: {name}"].append(milliseconds)
                turn += 1
                page.goto(address + LINKS["explore"])
                settle(page)
                kept.append(memory(session))
                print(f"round {turn}: server {kept[-1][0]:.0f} MB, page {kept[-1][1]:.1f} MB", flush=True)
            if not options.alone:
                TRAINING.stop("background")
                while TRAINING.run("background").active:
                    time.sleep(0.5)
    report(times, kept)


def report(times: dict[str, list[float]], kept: list[tuple[float, float]]) -> None:
    """Each page's median and worst, the slowest controls, and how memory went."""
    for where in LINKS:
        mine = {name: values for name, values in times.items() if name.startswith(f"{where}:")}
        every = [x for values in mine.values() for x in values]
        if every:
            worst = max(statistics.median(values) for values in mine.values())
            print(
                f"{where:8s} {len(mine):3d} controls, {len(every):4d} uses: median {statistics.median(every):4.0f} ms, the "
                f"slowest control's median {worst:4.0f} (wanted {TARGET_MEDIAN}), "
                f"worst use {max(every):5.0f} (wanted {TARGET_WORST})"
            )
    print("slowest controls, by median:")
    for name, values in sorted(times.items(), key=lambda one: -statistics.median(one[1]))[:15]:
        print(f"  {statistics.median(values):5.0f} ms, worst {max(values):5.0f}, n = {len(values)}: {name}")
    late = [(max(values), name) for name, values in times.items() if max(values) > TARGET_WORST]
    print(
        f"controls ever above {TARGET_WORST} ms: {len(late)}",
        *(f"  {x:5.0f} ms: {n}" for x, n in sorted(late)[::-1]),
        sep="\n",
    )
    if len(kept) > WARM_UP:
        for what, before, after in zip(("server", "page"), kept[WARM_UP - 1], kept[-1], strict=True):
            growth = f"{after / before - 1:+.1%} (allowed {TARGET_GROWTH:.0%})"
            print(f"{what}: {before:.1f} MB after {WARM_UP} rounds, {after:.1f} at the end: {growth}")


if __name__ == "__main__":
    main()
