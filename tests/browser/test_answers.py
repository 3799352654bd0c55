"""Answers in a real browser: ask, watch, read the answer, take it home, and find it again by its link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from iomt_core.experiments.answers.run import ANSWERS
from iomt_core.experiments.evaluation import evaluate
from iomt_core.scenario import PRESETS
from tests.browser.lab_server import downloaded, settle

pytestmark = pytest.mark.browser
WARD = PRESETS["lecture"].changed(T=4)
PATIENCE = 180_000  # milliseconds; an answer is computed with a low priority


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left(lab: str) -> Iterator[None]:
    """Other tests find no answer."""
    yield
    for answer in ANSWERS.runs():
        ANSWERS.kill(answer.name)
        ANSWERS.delete(answer.name)


def test_a_question_is_asked_answered_taken_home_and_found_again(page: Page, lab: str) -> None:
    delays = {n: evaluate(WARD.changed(servers=n), "greedy", 3, 0)["mean_delay_s"] for n in range(1, 5)}
    target = 1e3 * (delays[2] + delays[3]) / 2
    form = f"v_question=goal-seek&v_over=servers=1:4&v_metric=mean_delay_s&v_target={target:.6g}&v_episodes=3"
    page.goto(f"{lab}/?page=answers&preset=lecture&T=4&policy=greedy&{form}")
    settle(page, 60_000)
    expect(page.get_by_text("Decides: Greedy")).to_be_visible()
    page.get_by_role("button", name="Find out").click()
    answer = page.get_by_role("heading", name="Edge servers: at least 3.")
    expect(answer).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text(re.compile(r"4 of 4 points"))).to_be_visible()
    settle(page)
    expect(page.locator(".chart-plot .scatterlayer .points path")).to_have_count(
        5
    )  # four values, and a ring at the answer
    table = pd.read_csv(downloaded(page, page.get_by_role("button", name="CSV", exact=True).last))
    assert table["servers"].tolist() == [1, 2, 3, 4]
    assert table["mean_delay_s"].tolist() == pytest.approx([delays[n] for n in range(1, 5)], rel=1e-9)
    assert table["holds"].tolist() == [False, False, True, True]
    report = Path(downloaded(page, page.get_by_role("button", name="Report"))).read_text(encoding="utf-8")
    assert "Edge servers: at least 3." in report
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    settle(page)
    expect(answer).to_be_visible()
    page.get_by_role("radio", name="What is the trade-off?").click()
    expect(page.get_by_text("At most 33 wards")).to_be_visible()
    expect(answer).to_have_count(0)


def test_an_entry_of_a_link_that_cannot_be_is_said_and_the_page_works(page: Page, lab: str) -> None:
    page.goto(f"{lab}/?page=answers&preset=lecture&v_question=goal-seek&v_over=users=1:9999&v_metric=gap&v_answer=../x")
    settle(page, 60_000)
    for words in ("users = 9999 is out of range", "metric = 'gap' is not known", "answer = '../x' is not there"):
        expect(page.get_by_text(re.compile(re.escape(words)))).to_be_visible()
    expect(page.get_by_role("button", name="Find out")).to_be_enabled()
