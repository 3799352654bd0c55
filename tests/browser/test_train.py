"""Train in a real browser: start, watch, stop, resume, compare, take away, use."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from iomt_core.runs.directory import read_json
from iomt_core.runs.training_run import TRAINING
from iomt_core.runs.worker import WORKER, Worker
from tests.browser.lab_server import downloaded, settle

pytestmark = pytest.mark.browser

SMALL = "?page=train&preset=lecture&users=2&tasks=2&servers=1&T=5"
SLOW = 120_000  # milliseconds until a worker has loaded, on a busy machine


@pytest.fixture(autouse=True)
def nothing_trains_on(lab: str) -> Iterator[None]:
    """Ends what a failed test left in training."""
    yield
    for run in TRAINING.runs():
        if run.active:
            TRAINING.kill(run.name)


def process_of(name: str) -> psutil.Process | None:
    worker = Worker.parse(read_json(TRAINING.run(name).folder / WORKER))
    return worker.process() if worker else None


def open_train(page: Page, lab: str) -> None:
    page.goto(f"{lab}/{SMALL}")
    settle(page)
    page.get_by_role("combobox", name="Algorithm").click()
    page.get_by_role("option", name="MT-PDQN (VDN)", exact=True).click()
    settle(page)


def fill(page: Page, label: str, value: object) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(str(value))
    field.press("Enter")
    settle(page)


def run_row(page: Page, name: str) -> Locator:
    return page.locator(f"tr[data-run='{name}']")


def state(page: Page, name: str) -> Locator:
    return run_row(page, name).locator(".state")


def press(page: Page, action: str, name: str) -> None:
    page.get_by_role("button", name=f"{action} {name}", exact=True).click()


def chart(page: Page, name: str) -> Locator:
    return page.locator(f".st-key-train_{name} svg.marks")


def test_a_run_learns_finishes_and_is_a_policy(page: Page, lab: str) -> None:
    open_train(page, lab)
    fill(page, "Episodes", 0)
    expect(page.get_by_text("episodes = 0 cannot be used: allowed is 1 to 10,000,000.")).to_be_visible()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    fill(page, "Episodes", 64)
    fill(page, "Name", "../up")
    expect(page.get_by_text("name = '../up' cannot be used")).to_be_visible()
    fill(page, "Name", "brief")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(state(page, "brief")).to_have_text("finished", timeout=SLOW)
    settle(page)
    expect(chart(page, "gap").locator(".mark-symbol path")).to_have_count(2)
    expect(chart(page, "gap").get_by_text("optimum")).to_have_count(1)

    page.get_by_role("tab", name="Configuration and files").click()
    got = {}
    for label in ("Configuration (JSON)", "Metrics (CSV)", "Checkpoint (zip)"):
        got[label] = downloaded(page, page.get_by_role("button", name=label)).read_bytes()
    config = json.loads(got["Configuration (JSON)"])
    assert (config["algorithm"], config["settings"]["episodes"], config["scenario"]["users"]) == ("mt-pdqn", 64, 2)
    assert got["Metrics (CSV)"].count(b"\n") == 1 + 2
    names = zipfile.ZipFile(io.BytesIO(got["Checkpoint (zip)"])).namelist()
    assert "brief/00000064/policy.safetensors" in names

    press(page, "explore", "brief")
    page.wait_for_selector(".ward svg .task")
    settle(page)
    title = page.locator("[data-testid=stHeading]").first
    expect(title).to_have_text("brief (MT-PDQN (VDN)) on 2 users × 2 tasks, 1 server")


def test_two_tabs_watch_stop_resume_and_lose_a_run(page: Page, chromium: Browser, lab: str) -> None:
    open_train(page, lab)
    fill(page, "Episodes", 1_000_000)
    fill(page, "Name", "long")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(state(page, "long")).to_have_text("running", timeout=SLOW)
    # From here on it looks anew each second; on a busy machine the page may never be at rest.
    count = run_row(page, "long").locator(".bar + .about")
    expect(count).not_to_have_text("0 of 1,000,000 episodes", timeout=SLOW)
    expect(chart(page, "return")).to_be_visible(timeout=SLOW)
    box = chart(page, "return").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    end_of_axis = chart(page, "return").locator(".role-axis-label text", has_text="1,000,000")
    expect(end_of_axis).to_have_count(0)
    page.evaluate("window.drawn = document.querySelector('.st-key-train_return svg.marks')")
    for _ in range(2):  # the second news comes after the first has been drawn
        before = count.inner_text()
        expect(count).not_to_have_text(before, timeout=SLOW)
    assert end_of_axis.count() == 0, "new points keep the zoom"
    assert page.evaluate("window.drawn === document.querySelector('.st-key-train_return svg.marks')")

    other = chromium.new_context().new_page()
    other.goto(f"{lab}/?page=train&preset=hospital&v_runs=long")
    expect(state(other, "long")).to_have_text("running", timeout=SLOW)
    expect(other.get_by_role("combobox", name="Scenario")).to_have_value("as in the sidebar (hospital)", timeout=SLOW)
    # Both tabs press Stop: the second finds a run that stops already. An element that is gone meanwhile takes no harm.
    both = [tab.get_by_role("button", name="stop long", exact=True).element_handle() for tab in (page, other)]
    for button in both:
        button.evaluate("button => button.click()")
    for each in (page, other):
        expect(state(each, "long")).to_have_text("stopped", timeout=SLOW)

    press(other, "resume", "long")
    expect(state(page, "long")).to_have_text("running", timeout=SLOW)
    process = process_of("long")
    assert process is not None
    process.kill()
    expect(state(page, "long")).to_have_text("interrupted", timeout=SLOW)
    expect(page.get_by_text(re.compile("was interrupted.*Resume continues it from episode"))).to_be_visible(
        timeout=SLOW
    )

    press(page, "delete", "long")
    press(page, "really delete", "long")
    expect(run_row(page, "long")).to_have_count(0, timeout=SLOW)
    expect(other.get_by_text("run = 'long' does not exist any more")).to_be_visible(timeout=SLOW)
    other.context.close()
    assert "long" not in os.listdir(os.environ["IOMT_RUNS"])
