"""Sweep in a real browser: start one, see its curves arrive, take its numbers home."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from iomt_core.experiments.evaluation import evaluate
from iomt_core.experiments.sweeps.run import SWEEPS
from iomt_core.scenario import PRESETS
from tests.browser.lab_server import settle

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left(lab: str) -> Iterator[None]:
    """Other tests find no sweep."""
    yield
    for sweep in SWEEPS.runs():
        SWEEPS.kill(sweep.name)
        SWEEPS.delete(sweep.name)


def open_sweep(page: Page, address: str) -> None:
    page.goto(address, timeout=60_000)
    settle(page, 60_000)


def test_a_sweep_is_started_watched_and_downloaded(page: Page, lab: str, tmp_path: Path) -> None:
    open_sweep(page, f"{lab}/?page=sweep&preset=lecture&T=4&v_over=servers=1:3:3&v_policies=greedy,random&v_episodes=3")
    page.get_by_role("textbox", name="Name").fill("mine")
    page.get_by_role("textbox", name="Name").press("Enter")
    expect(page.get_by_text(re.compile("6 points"))).to_be_visible()
    settle(page)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text(re.compile("finished$"))).to_be_visible(timeout=90_000)
    expect(page.get_by_text(re.compile("6 of 6 points"))).to_be_visible()
    settle(page)
    expect(page.locator(".js-plotly-plot .scatterlayer .trace .points path")).to_have_count(6, timeout=30_000)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "sweep.csv")
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table[["servers", "policy"]].to_numpy().tolist() == [[n, p] for n in (1, 2, 3) for p in ("greedy", "random")]
    for n in (1, 2, 3):
        cost = evaluate(PRESETS["lecture"].changed(T=4, servers=n), "greedy", 3, 0)["cost"]
        assert table[(table["servers"] == n) & (table["policy"] == "greedy")]["cost"].item() == cost


def test_a_long_sweep_shows_curves_while_it_runs_and_is_stopped_and_resumed(page: Page, lab: str) -> None:
    open_sweep(
        page,
        # 40 s of computing: it must not end before it has been watched.
        f"{lab}/?page=sweep&preset=lecture&T=4&v_over=F_k=5e8:2e9:50:log&v_policies=optimum,greedy&v_episodes=600",
    )
    page.get_by_role("button", name="Start", exact=True).click()
    # The chart of this sweep: that of the sweep before is shown until this one has begun.
    plot = page.locator(".st-key-sweep_curves_f-k-1 .js-plotly-plot")
    expect(plot).to_be_visible(timeout=90_000)
    # New points are drawn into the same chart, and a zoom stays.
    plot.evaluate("(plot) => { plot.known = true; }")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()  # its parts are replaced when points arrive
    assert box
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    page.mouse.up()
    handle = plot.element_handle()
    page.wait_for_function("(plot) => !plot.layout.yaxis.autorange", arg=handle)
    ranges = "(plot) => [plot.known, ...plot.layout.xaxis.range, ...plot.layout.yaxis.range]"
    zoomed = plot.evaluate(ranges)
    known = plot.evaluate("(plot) => plot.data[1].x.length")
    page.wait_for_function("([plot, known]) => plot.data[1].x.length > known", arg=[handle, known], timeout=60_000)
    assert plot.evaluate(ranges) == zoomed
    page.get_by_role("button", name="Stop", exact=True).click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_visible(timeout=30_000)
    words = page.get_by_text(re.compile(r"^\d+ of 100 points"))
    kept = int(words.inner_text().split()[0])
    assert 0 < kept < 100
    settle(page)
    resume.click()
    expect(page.get_by_text(re.compile(r"\d+ from the cache"))).to_be_visible(timeout=60_000)
    known = int(re.search(r"(\d+) from the cache", words.inner_text())[1])  # type: ignore[index]
    assert known == kept
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(resume).to_be_visible(timeout=30_000)


def test_a_link_that_cannot_be_is_said_and_the_page_works(page: Page, lab: str) -> None:
    open_sweep(page, f"{lab}/?page=sweep&v_over=users=1:9999:3&v_policies=best&v_episodes=0&v_sweep=../x")
    for words in (
        "users = 9999 is out of range: allowed is 1 to 2000",
        "policy = 'best'",
        "episodes = '0'",
        "sweep = '../x' is not there",
    ):
        expect(page.get_by_text(re.compile(re.escape(words)))).to_be_visible()
    page.locator(".st-key-sweep_two label").click()
    expect(page.get_by_role("combobox", name="Second parameter")).to_be_visible()
    assert page.get_by_text("Traceback").count() == 0
