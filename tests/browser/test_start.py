"""Start and the tour in a real browser: the ward moves, each question sets the lab and is answered, and all can be undone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from dashboard.navigation import TITLES
from dashboard.start.questions import QUESTIONS
from iomt_core.metrics import METRICS
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import play
from tests.browser.lab_server import open_page, settle

pytestmark = pytest.mark.browser


def open_start(page: Page, address: str) -> None:
    page.goto(address)
    settle(page)
    page.wait_for_selector(".ward svg .task")


def test_the_ward_moves_by_itself_and_can_be_stopped(page: Page, lab: str) -> None:
    open_start(page, lab)
    now = page.locator(".ward .now")
    expect(now).to_have_text(re.compile("step [3-9] of 20"))
    page.locator(".ward").get_by_label("play or pause").click()
    expect(page.locator(".ward").get_by_label("play or pause")).to_have_text("▶ play")
    stopped = now.inner_text()
    settle(page)
    assert now.inner_text() == stopped


def test_the_ward_stands_still_for_who_asks_for_less_motion(page: Page, lab: str) -> None:
    page.emulate_media(reduced_motion="reduce")
    open_start(page, lab)
    expect(page.locator(".ward").get_by_label("play or pause")).to_have_text("▶ play")
    expect(page.locator(".ward .now")).to_have_text("step 1 of 20")


def test_start_shows_what_the_ward_computes_and_leads_to_every_page(page: Page, lab: str) -> None:
    open_start(page, lab)
    table = play(PRESETS["paper"], "sae-mt-qmix", 0).table()
    text = page.locator("[data-testid=stMain]").inner_text()
    assert METRICS["mean_delay_s"].brief(table["delay_s"].mean()) in text
    assert METRICS["local_share"].brief((table["choice"] == 0).mean()) in text
    plot = page.locator(".st-key-start_curves .chart-plot")
    expect(plot).to_contain_text("SAE-MT-QMIX, general network")
    page.wait_for_function(
        "document.querySelector('.st-key-start_curves .chart-plot').layout?.shapes[0].x0 === Number(document.body.dataset.step)"
    )
    links = page.locator("[data-testid=stMain] [data-testid=stPageLink]")
    assert links.count() == len(TITLES) - 1
    page.locator(".ward .task[data-task]").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("Why is task 1 of user 1 on"))).to_be_visible()


def test_the_tour_sets_the_lab_answers_and_gives_everything_back(page: Page, lab: str) -> None:
    page.goto(f"{lab}/?page=start&preset=lecture&policy=price-response")
    settle(page)
    page.get_by_role("button", name=QUESTIONS[0].title).click()
    banner = page.locator(".st-key-tour_banner")
    for n, question in enumerate(QUESTIONS, 1):
        expect(banner).to_contain_text(f"Question {n} of {len(QUESTIONS)}: {question.title}")
        expect(banner).to_contain_text(question.words("price-response"))
        if question.page == "explore":
            s = question.after
            expect(page.locator("[data-testid=stHeading]").first).to_contain_text(
                f"Policy: Price response · Ward: {s.size_words}"
            )
            if question.pick is not None:
                point = question.pick(question.setups("price-response")[1])
                assert point is not None
                _, user, task = point
                expect(page.get_by_text(f"Why is task {task} of user {user} on own device")).to_be_visible()
            elif question.before != question.after:
                expect(page.get_by_text("Against the pinned scenario")).to_be_visible()
        else:
            for side, policy in (("A", "Optimum"), ("B", "Price response")):
                expect(page.get_by_text(f"{side}: Policy: {policy} · Ward: 8 users")).to_be_visible()
        settle(page)
        if n < len(QUESTIONS):
            page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="End tour").click()
    expect(banner).to_have_count(0)
    page.get_by_role("link", name="Start").first.click()
    page.get_by_role("button", name=re.compile("Back to “lecture”")).click()
    expect(page.locator("[data-testid=stMain]")).to_contain_text("A ward of 3 users")
    settle(page)
    page.get_by_role("link", name="Explore").first.click()
    expect(page.locator("[data-testid=stHeading]").first).to_contain_text(
        "Policy: Price response · Ward: 3 users × 4 tasks, 2 servers"
    )


def test_a_change_in_the_middle_of_a_question_is_said_and_can_be_taken_back(page: Page, lab: str) -> None:
    open_start(page, lab)
    page.get_by_role("button", name=QUESTIONS[0].title).click()
    banner = page.locator(".st-key-tour_banner")
    expect(banner).to_be_visible()
    settle(page)
    page.locator("[data-testid=stSidebar] input[type=range][aria-label^='Edge servers']").first.press("ArrowLeft")
    expect(banner).to_contain_text("You have changed the scenario")
    page.get_by_role("button", name="Restore the question").click()
    expect(page.locator("[data-testid=stHeading]").first).to_contain_text(QUESTIONS[0].after.size_words)
    expect(banner).not_to_contain_text("You have changed the scenario")


def test_a_link_to_start_restores_it(page: Page, lab: str) -> None:
    open_page(page, f"{lab}/?page=start&preset=hospital&step=4")
    expect(page.locator("[data-testid=stHeading]").first).to_contain_text("IoMT Twin Lab")
    page.wait_for_url(re.compile("page=start.*preset=hospital.*step=4"))


def test_a_city_shows_its_figures_and_the_gap_follows(page: Page, lab: str) -> None:
    page.goto(f"{lab}/?page=start&preset=city&policy=nearest")
    expect(page.locator(".st-key-start_city .chart-plot .main-svg").first).to_be_visible(timeout=30_000)
    record = play(PRESETS["city"], "nearest", 0, certify=False)
    shown = METRICS["mean_delay_s"].brief(float(record.outcome.delay[record.snapshot.active].mean()))
    expect(page.locator(".st-key-figures")).to_contain_text(shown)
    expect(page.locator(".st-key-figures")).to_contain_text(re.compile(r"Gap to the bound\s*[\d.]+ ?%"), timeout=30_000)
    expect(page.locator("[data-testid=stMain]")).to_contain_text("with all tasks on the wearables")
