"""Train in a real browser: start, watch, stop, resume, take away, use; by whom."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from iomt_core.runs.directory import read_json
from iomt_core.runs.training_run import TRAINING
from iomt_core.runs.worker import WORKER, Worker
from tests.browser.lab_server import OPERATOR_TOKEN, downloaded, run_state, settle

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


def select(page: Page, name: str) -> None:
    """Selects a run by the keyboard: arrow keys to its row, Shift and Space."""
    table = page.locator(".st-key-run_list")
    names = table.locator("td[id^=glide-cell-1-]").all_inner_texts()
    table.locator("canvas").first.focus()
    for _ in range(1 + names.index(name)):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Space")
    expect(page.get_by_text(re.compile(f"Selected: .*{name}"))).to_be_visible()


def press(page: Page, action: str) -> None:
    page.get_by_role("button", name=action, exact=True).click()


def points(page: Page, chart: str) -> list[float]:
    """The episodes of the evaluations that a chart shows."""
    plot = page.locator(f".st-key-train_{chart} .js-plotly-plot")
    plot.wait_for(timeout=SLOW)
    return list(
        plot.evaluate("plot => plot.data.filter(trace => trace.mode === 'lines+markers').flatMap(trace => trace.x)")
    )


def test_a_run_learns_finishes_and_is_a_policy(page: Page, lab: str) -> None:
    open_train(page, lab)
    expect(
        page.get_by_text(re.compile("From scratch only: no general network of .mt-pdqn. is included"))
    ).to_be_visible()
    fill(page, "Episodes", 0)
    expect(page.get_by_text("episodes = 0 cannot be used: allowed is 1 to 10,000,000.")).to_be_visible()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    fill(page, "Episodes", 64)
    fill(page, "Name of the run", "../up")
    expect(page.get_by_text("name = '../up' cannot be used")).to_be_visible()
    fill(page, "Name of the run", "brief")
    fill(page, "Your name", "Anna")
    press(page, "Start")
    expect(run_state(page, "brief")).to_have_text(re.compile("^finished"), timeout=SLOW)
    settle(page)
    assert points(page, "gap") == [0, 32, 64]
    expect(page.locator(".st-key-train_gap").get_by_text("optimum", exact=True)).to_have_count(1)

    page.get_by_role("tab", name="Configuration and files").click()
    got = {}
    for label in ("Configuration (JSON)", "Metrics (CSV)", "Checkpoint (zip)"):
        got[label] = downloaded(page, page.get_by_role("button", name=label)).read_bytes()
    config = json.loads(got["Configuration (JSON)"])
    assert (config["algorithm"], config["settings"]["episodes"], config["scenario"]["users"]) == ("mt-pdqn", 64, 2)
    assert got["Metrics (CSV)"].count(b"\n") == 1 + 2
    names = zipfile.ZipFile(io.BytesIO(got["Checkpoint (zip)"])).namelist()
    assert "brief/00000064/policy.safetensors" in names

    press(page, "Explore")
    page.wait_for_selector(".ward svg .task")
    settle(page)
    expect(page.locator("[data-testid=stHeading]").first).to_contain_text("brief (MT-PDQN (VDN))")


def test_a_run_is_watched_by_all_and_changed_by_its_owner_and_the_operator(
    page: Page, chromium: Browser, lab: str
) -> None:
    open_train(page, lab)
    fill(page, "Episodes", 1_000_000)
    fill(page, "Name of the run", "long")
    press(page, "Start")
    expect(run_state(page, "long")).to_contain_text("starting: ", timeout=SLOW)
    expect(run_state(page, "long")).to_have_text(re.compile("^running"), timeout=SLOW)
    # From here on it looks anew each second; on a busy machine the page may never be at rest.
    count = page.get_by_text(re.compile(r"[\d,]+ of 1,000,000 episodes"))
    expect(count).not_to_contain_text(" 0 of 1,000,000", timeout=SLOW)
    assert points(page, "gap") == [0]
    plot = page.locator(".st-key-train_return .js-plotly-plot")
    plot.scroll_into_view_if_needed()
    box = plot.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 10 + box["width"] / 4, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()  # shows the first quarter
    plot.evaluate("plot => { window.drawn = plot; }")
    zoomed = "plot => plot === window.drawn && plot.layout.xaxis.range[1] < 400000"
    assert plot.evaluate(zoomed)
    for _ in range(2):  # the second news comes after the first has been drawn
        before = count.inner_text()
        expect(count).not_to_have_text(before, timeout=SLOW)
    assert plot.evaluate(zoomed), "zoom is kept"

    other = chromium.new_context().new_page()
    other.goto(f"{lab}/?page=train&preset=hospital&v_runs=long")
    expect(run_state(other, "long")).to_have_text(re.compile("^running"), timeout=SLOW)
    expect(other.get_by_role("combobox", name="Scenario")).to_have_value("as in the sidebar (hospital)", timeout=SLOW)
    for action in ("Stop", "Delete"):
        expect(other.get_by_role("button", name=action, exact=True)).to_be_disabled()
    other.goto(f"{lab}/?page=train&preset=hospital&v_runs=long&operator=a-guess")
    expect(run_state(other, "long")).to_have_text(re.compile("^running"), timeout=SLOW)
    expect(other.get_by_role("button", name="Stop", exact=True)).to_be_disabled()
    other.goto(f"{lab}/?page=train&preset=hospital&v_runs=long&operator={OPERATOR_TOKEN}")
    expect(run_state(other, "long")).to_have_text(re.compile("^running"), timeout=SLOW)
    assert OPERATOR_TOKEN not in other.url
    # Both press Stop: the second finds a run that stops already. An element that is gone meanwhile takes no harm.
    both = [tab.get_by_role("button", name="Stop", exact=True).element_handle() for tab in (page, other)]
    for button in both:
        button.evaluate("button => button.click()")
    for each in (page, other):
        expect(run_state(each, "long")).to_have_text(re.compile("^stopped"), timeout=SLOW)

    press(other, "Resume")
    expect(run_state(page, "long")).to_have_text(re.compile("^running"), timeout=SLOW)
    process = process_of("long")
    assert process is not None
    process.kill()
    expect(run_state(page, "long")).to_have_text("interrupted: can be resumed", timeout=SLOW)
    expect(page.get_by_text(re.compile("was interrupted.*Resume continues it from episode"))).to_be_visible(
        timeout=SLOW
    )

    page.reload()  # the browser still knows its token
    expect(run_state(page, "long")).to_have_text("interrupted: can be resumed", timeout=SLOW)
    press(page, "Delete")
    press(page, "Delete for ever")
    expect(page.get_by_role("gridcell", name="long", exact=True, include_hidden=True)).to_have_count(0, timeout=SLOW)
    expect(other.get_by_text("run = 'long' does not exist any more")).to_be_visible(timeout=SLOW)
    other.context.close()
    assert "long" not in os.listdir(os.environ["IOMT_RUNS"])
