"""Compare in a real browser: pin, change, see what differs and which decisions changed; stop; share."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from iomt_core.experiments.comparison.decisions import changed_decisions
from iomt_core.experiments.comparison.sides import Side, compare, episode
from iomt_core.scenario import PRESETS
from tests.browser.lab_server import choose, downloaded, settle, slider

pytestmark = pytest.mark.browser

CHANGED = ".task[aria-label*='decided differently']"
PAPER, FEWER = PRESETS["paper"], PRESETS["paper"].changed(servers=3)


def open_compare(page: Page, address: str, **query: str) -> None:
    page.goto(f"{address}/?{urlencode({'page': 'compare', **query})}")
    settle(page)
    page.wait_for_selector(".ward .map:nth-child(2) svg .task", timeout=30_000)
    settle(page)


def answer(page: Page) -> Locator:
    return page.get_by_text(re.compile(r"^B (costs|returns)|^A and B (cost|return) the same")).first


def changes(page: Page) -> Locator:
    """The forest plot, whose description has the change of every metric."""
    return page.locator(".st-key-compare_forest [role=figure]")


def test_pin_change_servers_and_see_what_differs_and_changed(page: Page, lab: str) -> None:
    open_compare(page, lab)
    page.get_by_role("button", name="Pin as A").click()
    expect(page.get_by_text("Nothing: A and B are the same.")).to_be_visible()
    expect(answer(page)).to_contain_text("A and B cost the same")
    expect(changes(page)).to_have_attribute("aria-label", re.compile(r"Mean delay ±0;"))
    assert page.locator(f".ward {CHANGED}").count() == 0
    slider(page, "Edge servers").press("ArrowLeft")
    differs = page.locator("[data-testid=stTable]")
    expect(differs).to_contain_text("Edge servers")
    settle(page)
    assert differs.locator("tbody tr").count() == 1
    assert differs.locator("tbody tr").inner_text().split() == ["Edge", "servers", "Nᵐ", "4", "3"]
    a, b = Side(PAPER, "sae-mt-qmix"), Side(FEWER, "sae-mt-qmix")
    found = compare(a, b, 0, 10)
    cost = found.pair("cost")
    assert cost.relative is not None
    expect(answer(page)).to_contain_text(f"B costs {100 * cost.relative:.3g} % more than A")
    expect(page.get_by_text(f"({found.changed} of {found.compared})")).to_be_visible()
    expect(changes(page)).to_have_attribute("aria-label", re.compile(re.escape(f"Cost {100 * cost.relative:+.3g} % (")))
    records = episode(a, 0, 1), episode(b, 0, 1)
    table = changed_decisions(*records)
    first = table[table["step"] == 1]
    expected = {f"1.{user}.{task}" for user, task in zip(first["user"], first["task"], strict=True)}
    for n in (1, 2):
        expect(page.locator(f".ward .map:nth-child({n}) {CHANGED}")).to_have_count(len(first))
        marked = page.locator(f".ward .map:nth-child({n}) {CHANGED}").all()
        assert {task.get_attribute("data-task") for task in marked} == expected
    expect(page.locator(".ward .map:nth-child(1) rect.server")).to_have_count(4)
    expect(page.locator(".ward .map:nth-child(2) rect.server")).to_have_count(3)
    rows = pd.read_csv(downloaded(page, page.get_by_role("button", name="Download these (CSV)")))
    keys = ["step", "user", "task", "choice_a", "choice_b"]
    assert rows[keys].to_numpy().tolist() == table[keys].to_numpy().tolist()
    page.get_by_role("button", name="Swap A and B").click()
    expect(answer(page)).to_contain_text("less than A")
    settle(page)
    assert differs.locator("tbody tr").inner_text().split() == ["Edge", "servers", "Nᵐ", "3", "4"]


def test_two_policies_on_one_ward_step_together_and_a_task_is_followed(page: Page, lab: str) -> None:
    open_compare(page, lab, preset="lecture")
    differs = page.locator("[data-testid=stTable] tbody tr")
    assert differs.inner_text().split() == ["Policy", "Optimum", "SAE-MT-QMIX,", "general", "network"]
    page.get_by_role("combobox", name="A: policy").click()
    page.get_by_role("option", name="All local", exact=True).click()
    expect(differs).to_contain_text("All local")
    settle(page)
    page.locator(".ward").get_by_label("one step on").click()
    expect(page.locator(".ward .now")).to_have_text("step 2 of 20")
    for n in (1, 2):
        task = page.locator(f".ward .map:nth-child({n}) .task").first
        expect(task).to_have_attribute("data-task", re.compile(r"^2\."))
    table = changed_decisions(
        *(episode(Side(PRESETS["lecture"], policy), 0, 1) for policy in ("all-local", "sae-mt-qmix"))
    )
    expect(page.locator(f".ward .map:nth-child(1) {CHANGED}")).to_have_count(int((table["step"] == 2).sum()))
    settle(page)
    page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    # The box of the first row; a click on the locator waits until the grid stands still.
    page.locator("[data-testid=stDataFrame]").last.click(position={"x": 12, "y": 35 + 17})
    top = table.iloc[0]
    expect(page.get_by_text(f"Task {top['task']} of user {top['user']} in step {top['step']}.")).to_be_visible()
    expect(page.locator(".ward .now")).to_have_text(f"step {top['step']} of 20")
    assert page.locator(".ward .task.picked").count() == 2
    drawn = {
        "Where tasks moved": ".st-key-compare_flow .hm",
        "Selected task": ".st-key-beside_compare_why_B .bars",
        "Episode by episode": ".st-key-compare_pairs .points",
    }
    for tab, what in drawn.items():
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(what).last).to_be_visible(timeout=40_000)
        settle(page)


def test_a_page_that_runs_again_before_the_browser_has_its_controls_keeps_their_values(page: Page, lab: str) -> None:
    held: list[Route] = []
    page.route(re.compile(r"/(Slider|NumberInput)[^/]*\.js"), lambda route: held.append(route))
    open_compare(page, lab, preset="lecture", v_episodes="50")
    expect(page.get_by_text("playing the others")).not_to_be_visible(timeout=30_000)
    assert held, "the controls' scripts have other names now"
    for route in held:
        route.continue_()
    page.unroute_all()
    expect(page.get_by_label("Users").first).to_be_visible(timeout=30_000)
    settle(page)
    choose(page, "A: policy", "All local")
    differs = page.locator("[data-testid=stTable] tbody tr")
    expect(differs).to_contain_text("All local")
    settle(page)
    assert differs.inner_text().split() == ["Policy", "All", "local", "SAE-MT-QMIX,", "general", "network"]
    expect(slider(page, "Users")).to_have_value("3")
    expect(page.get_by_role("spinbutton", name="Episodes", exact=True)).to_have_value("50")


def test_a_link_restores_both_sides_in_a_fresh_session(page: Page, lab: str, chromium: Browser) -> None:
    about = {
        "ward": "pinned",
        "preset": "paper",
        "servers": "3",
        "F_k": "2000000000.0",
        "policy": "greedy",
        "shares": "optimal",
    }
    open_compare(
        page, lab, preset="lecture", policy="price-response", episode_seed="4", v_a=urlencode(about), v_episodes="3",
        v_shown="2",
    )  # fmt: skip
    before = answer(page).inner_text()
    choose(page, "B: policy", "Nearest server")
    expect(answer(page)).not_to_have_text(before, timeout=30_000)
    page.locator(".ward .map:nth-child(1) .task[data-task='1.2.3']").click()
    expect(page.get_by_text("Task 3 of user 2 in step 1.")).to_be_visible()
    settle(page)
    page.get_by_test_id("stPopoverButton").click()
    link = page.locator("[data-testid=stCode]").inner_text().strip()
    read = [answer(page).inner_text(), page.locator("[data-testid=stTable]").inner_text()]
    assert "Policy Greedy Nearest server" in " ".join(read[1].split())
    context = chromium.new_context(viewport={"width": 1500, "height": 1200})
    fresh = context.new_page()
    fresh.goto(f"{lab}/?{link.split('?', 1)[1]}")
    settle(fresh)
    fresh.wait_for_selector(".ward .map:nth-child(2) svg .task", timeout=30_000)
    settle(fresh)
    expect(answer(fresh)).to_have_text(read[0], timeout=30_000)
    assert fresh.locator("[data-testid=stTable]").inner_text() == read[1]
    expect(fresh.get_by_text("Task 3 of user 2 in step 1.")).to_be_visible()
    expect(fresh.get_by_role("spinbutton", name="Episode shown")).to_have_value("2")
    expect(fresh.get_by_text("cannot be compared one to one").first).to_be_visible()
    context.close()


def test_a_bad_side_in_a_link_is_explained(page: Page, lab: str) -> None:
    for about, words in (("ward=pinned&servers=999", "servers = 999"), ("<b>", "v_a = '<b>'")):
        open_compare(page, lab, preset="lecture", v_a=about, v_episodes="51")
        expect(page.locator("[data-testid=stAlert]").nth(0)).to_contain_text(words)
        expect(page.locator("[data-testid=stAlert]").nth(1)).to_contain_text("v_episodes = '51'")
        assert "Traceback" not in page.content()
        expect(answer(page)).to_contain_text("B costs")


LONG = {"users": "12", "tasks": "12", "servers": "6", "T": "40"}


def rest(page: Page, episodes: int) -> Locator:
    """The text above the first episodes while the others are played."""
    words = rf"The first \d+ of {episodes} episodes are below; playing the others: \d+ %, about \d+ s left"
    return page.get_by_text(re.compile(words))


def number_in(words: Locator) -> int:
    """The first number in it."""
    found = re.search(r"\d+", words.inner_text())
    assert found
    return int(found.group())


def test_a_long_comparison_shows_its_first_episodes_stops_and_goes_on(page: Page, lab: str) -> None:
    page.goto(f"{lab}/?{urlencode({'page': 'compare', **LONG, 'policy': 'sae-mt-qmix', 'v_episodes': '50'})}")
    expect(rest(page, 50)).to_be_visible(timeout=40_000)
    expect(page.locator(".ward .map:nth-child(2) svg .task").first).to_be_visible(timeout=20_000)
    expect(answer(page)).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    stopped = page.get_by_text(re.compile(r"Stopped after \d+ of 50 episodes; the results below are of these"))
    expect(stopped).to_be_visible(timeout=20_000)
    settle(page)
    expect(rest(page, 50)).to_have_count(0)
    played = number_in(stopped)
    expect(page.get_by_text(f"{played} episodes)")).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    expect(stopped).to_have_count(0, timeout=20_000)
    expect(rest(page, 50)).to_be_visible(timeout=20_000)
    assert number_in(rest(page, 50)) >= played


def test_what_is_added_to_the_first_episodes_makes_the_whole_comparison(page: Page, lab: str) -> None:
    a, ward = Side(PAPER.changed(users=12, tasks=12, servers=6, T=40), "sae-mt-qmix"), LONG | {"preset": "paper"}
    about = urlencode({"ward": "same", "policy": a.policy})
    query = {"page": "compare", **ward, "policy": "greedy", "v_a": about, "v_episodes": "9", "v_shown": "5"}
    query["episode_seed"] = "3"  # no other test has played these
    page.goto(f"{lab}/?{urlencode(query)}")
    expect(page.get_by_text(re.compile(r"Playing 9 episodes of A and of B: \d+ %"))).to_be_visible(timeout=20_000)
    expect(rest(page, 9)).to_be_visible(timeout=40_000)
    assert number_in(rest(page, 9)) >= 5
    expect(page.get_by_text("9 episodes)")).to_be_visible(timeout=60_000)
    expect(rest(page, 9)).to_have_count(0)
    found = compare(a, Side(a.scenario, "greedy"), 3, 9)
    assert found.by == "return"  # greedy's batteries are empty before the end
    returned = found.pair("return")
    assert returned.relative is not None
    expect(answer(page)).to_contain_text(f"B returns {100 * abs(returned.relative):.3g} %")
    expect(page.get_by_text(f"B: an empty battery (C5) ended {found.ended[1]} of 9 episodes")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Episode shown")).to_have_value("5")


def test_a_choice_stays_though_a_timer_sends_what_controls_showed_before(page: Page, lab: str) -> None:
    query = {"page": "compare", **LONG, "policy": "sae-mt-qmix", "v_episodes": "15", "episode_seed": "1"}
    page.goto(f"{lab}/?{urlencode(query)}")
    expect(rest(page, 15)).to_be_visible(timeout=40_000)
    page.locator(".st-key-compare_forest .main-svg").first.wait_for()
    page.get_by_role("combobox", name="B: policy").click()
    # A browser that takes long to hear what the page has set.
    browser = page.context.new_cdp_session(page)
    browser.send("Emulation.setCPUThrottlingRate", {"rate": 6})
    page.get_by_role("option", name="Greedy", exact=True).dispatch_event("click")
    expect(page.get_by_role("combobox", name="Policy", exact=True)).to_have_value("Greedy", timeout=30_000)
    browser.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    expect(rest(page, 15)).to_have_count(0, timeout=40_000)
    page.wait_for_timeout(700)
    page.get_by_role("button", name="Pin as A").click()
    expect(page.get_by_text("Nothing: A and B are the same.")).to_be_visible(timeout=20_000)
    for control in ("A: policy", "B: policy", "Policy"):
        expect(page.get_by_role("combobox", name=control, exact=True)).to_have_value("Greedy")


def test_a_city_is_compared_beside_the_page(page: Page, lab: str) -> None:
    about = urlencode({"ward": "same", "policy": "nearest", "shares": "own"})
    query = {"page": "compare", "preset": "city", "T": "12", "policy": "all-local", "v_a": about, "v_episodes": "2"}
    page.goto(f"{lab}/?{urlencode(query)}")
    slider(page, "Path loss exponent").wait_for()  # the page is there before the episodes are
    expect(answer(page)).to_be_visible(timeout=40_000)
    city = PRESETS["city"].changed(T=12)
    found = compare(Side(city, "nearest"), Side(city, "all-local"), 0, 2)
    expect(page.get_by_text(f"({found.changed} of {found.compared})")).to_be_visible()
    expect(changes(page)).to_have_count(1, timeout=30_000)  # that of the first episode is gone
    expect(changes(page)).to_have_attribute("aria-label", re.compile("Gap to the bound"))
    maps = page.locator("[class*=st-key-compare_city] .chart-subtitle")
    expect(maps).to_have_count(2, timeout=30_000)
    expect(maps.first).to_contain_text("A: Nearest server on city")
    page.get_by_role("tab", name="Where tasks moved").click()
    expect(page.locator(".st-key-compare_flow .hm")).to_be_visible()
