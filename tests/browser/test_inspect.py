"""Inspect in a real browser: step, pick another task, see why; link restores it."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.inspect.state import TABS
from iomt_core.scenario import PRESETS, WorkloadTask
from iomt_core.scenario.links import to_query
from iomt_core.scenario.tables import with_workload
from iomt_core.twin.northbound import play
from iomt_core.twin.regret import regrets
from tests.browser.lab_server import settle

pytestmark = pytest.mark.browser

LINK = "?page=inspect&preset=lecture&policy=greedy&episode_seed=3"


def open_inspect(page: Page, address: str) -> None:
    page.goto(address)
    settle(page)
    page.wait_for_selector(".ward svg .task")
    settle(page)


def delay(page: Page) -> float:
    metric = page.locator("[data-testid=stMetric]", has=page.get_by_text("Delay", exact=True))
    return float(metric.locator("[data-testid=stMetricValue]").inner_text().removesuffix(" ms"))


def test_stepping_and_picking_change_the_decision_shown(page: Page, lab: str) -> None:
    open_inspect(page, f"{lab}/{LINK}")
    record = play(PRESETS["lecture"], "greedy", 3)
    expect(page.get_by_text(re.compile("Step 1, user 1, task 1: Greedy chose"))).to_be_visible()
    assert delay(page) == pytest.approx(float(record.outcome.delay[0, 0, 0]) * 1e3, rel=1e-3)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text(re.compile("Step 2, user 1, task 1: Greedy chose"))).to_be_visible()
    settle(page)
    assert delay(page) == pytest.approx(float(record.outcome.delay[1, 0, 0]) * 1e3, rel=1e-3)
    page.locator("[data-task='2.2.3']").click()
    expect(page.get_by_text(re.compile("Step 2, user 2, task 3: Greedy chose"))).to_be_visible()
    settle(page)
    assert delay(page) == pytest.approx(float(record.outcome.delay[1, 1, 2]) * 1e3, rel=1e-3)
    page.get_by_role("button", name="Last").click()
    expect(page.get_by_text(re.compile("Step 20, user 2, task 3"))).to_be_visible()
    expect(page.get_by_role("button", name="Next")).to_be_disabled()


def test_a_policy_without_networks_says_what_it_has_instead(page: Page, lab: str) -> None:
    open_inspect(page, f"{lab}/{LINK}")
    expect(page.get_by_text(re.compile("no Q-value", re.IGNORECASE)).first).to_be_visible()
    page.get_by_role("tab", name="How agents are combined").click()
    expect(page.get_by_text(re.compile("has no mixer: it is not learned"))).to_be_visible()
    assert page.get_by_test_id("stException").count() == 0


def test_a_trained_policy_opens_from_a_link_with_all_its_tabs(chromium: Browser, lab: str) -> None:
    context = chromium.new_context(viewport={"width": 1500, "height": 1200})
    page = context.new_page()
    page.set_default_timeout(60_000)
    open_inspect(page, f"{lab}/?page=inspect&preset=paper&step=2&task=2.3.4&v_tab=mixer")
    expect(page.get_by_text(re.compile("Step 2, user 3, task 4: SAE-MT-QMIX"))).to_be_visible()
    expect(page.get_by_role("tab", name="How agents are combined")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".st-key-inspect_mixer_1 .hm")).to_be_visible()
    for tab in ("Shares", "What the agent observes", "Regret", "Formulas", "Expected values"):
        page.get_by_role("tab", name=tab).click()
        # Each click counts: the tab, its content, and the link.
        name = next(name for name, label in TABS.items() if label == tab)
        expect(page).to_have_url(re.compile(f"v_tab={name}"))
        settle(page)
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        assert page.get_by_test_id("stException").count() == 0
    # A click on a cell of the second task's column selects that task.
    cells = page.locator(".st-key-inspect_values_2 .nsewdrag")
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    assert box
    cells.click(position={"x": box["width"] * 1.5 / 8, "y": box["height"] / 2})
    expect(page.get_by_text(re.compile("Step 2, user 3, task 2: SAE-MT-QMIX"))).to_be_visible()
    context.close()
    # An invalid entry is reported, and the rest of the link still opens.
    fresh = chromium.new_page()
    open_inspect(fresh, f"{lab}/{LINK}&v_tab=nonsense")
    expect(fresh.get_by_text("v_tab = 'nonsense' in the link is not known")).to_be_visible()
    fresh.close()


def test_a_step_in_which_nobody_has_a_task_says_so_and_leads_on(page: Page, lab: str) -> None:
    tasks = tuple(WorkloadTask(step=step, user=1, D=4e5, C=1e5, P=1) for step in (1, 3))
    query = to_query(with_workload(PRESETS["lecture"].changed(T=3), tasks))
    page.goto(f"{lab}/?{urlencode({'page': 'inspect', 'policy': 'greedy', **query})}")
    expect(page.get_by_text(re.compile("Step 1, user 1, task 1: Greedy chose"))).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("No user has a task in this step. Choose another step.")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text(re.compile("Step 3, user 1, task 1: Greedy chose"))).to_be_visible()


def test_a_city_is_inspected_while_the_rest_is_computed(page: Page, lab: str) -> None:
    s = PRESETS["city"]
    page.goto(f"{lab}/?page=inspect&preset=city&policy=nearest&step=2&task=2.7.1")
    expect(page.get_by_text(re.compile("Step 2, user 7, task 1: Nearest server chose"))).to_be_visible(timeout=30_000)
    record = play(s, "nearest", 0, certify=False)
    assert delay(page) == pytest.approx(float(record.outcome.delay[1, 6, 0]) * 1e3, rel=1e-3)
    page.get_by_role("button", name="Next").click()  # the page is usable while bound and optimum are computed
    expect(page.get_by_text(re.compile("Step 3, user 7, task 1: Nearest server chose"))).to_be_visible()
    frame = regrets(record, 2, "equal", None, user=7)
    regret = page.locator("[data-testid=stMetric]", has=page.get_by_text("Regret", exact=True))
    expect(regret.locator("[data-testid=stMetricValue]")).to_have_text(f"{frame['regret_best'].iloc[0]:.4f}")
    page.get_by_role("tab", name="Regret").click()
    expect(page.locator(".st-key-inspect_regret .hm")).to_be_visible()
    expect(page.locator(".st-key-city .chart-title")).to_be_visible()
    expect(page.get_by_text("The optimum's device for it is")).to_be_visible(
        timeout=60_000
    )  # it follows without a click
