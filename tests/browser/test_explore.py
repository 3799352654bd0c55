"""Explore in a real browser: change, see, play, ask why, share."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from iomt_core.charts.batteries import FULL, end_words, scarcest
from iomt_core.experiments.evaluation import battery_charges
from iomt_core.metrics import three_digits
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import PRESETS, scenario
from iomt_core.training.catalogue import DEFAULT as POLICY
from iomt_core.twin.northbound import play, why
from tests.browser.lab_server import downloaded, import_tables, metric, open_page, pin, settle, slider, title

pytestmark = pytest.mark.browser


def chart(page: Page, key: str) -> Locator:
    return page.locator(f".st-key-{key} .chart-plot")


def click_in(page: Page, key: str, right: float, down: float = 0.5) -> None:
    """Clicks at a place in the plot of a chart, given as shares of its width and height."""
    plot = chart(page, key).locator(".nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + right * box["width"], box["y"] + down * box["height"])


def test_a_slider_changes_numbers_and_figures(page: Page, lab: str) -> None:
    open_page(page, lab)
    expect(title(page)).to_contain_text("8 users × 8 tasks, 4 servers")
    record = play(PRESETS["paper"], POLICY, 0)
    cost = float(record.totals.sum() / record.snapshot.weight.sum())
    assert float(metric(page, "Cost")) == pytest.approx(cost, rel=5e-3)
    bars = chart(page, "policy_bars").text_content()
    slider(page, "Edge servers").press("ArrowLeft")
    expect(title(page)).to_contain_text("3 servers")
    settle(page)
    fewer = play(PRESETS["paper"].changed(servers=3), POLICY, 0)
    expected = float(fewer.totals.sum() / fewer.snapshot.weight.sum())
    assert float(metric(page, "Cost")) == pytest.approx(expected, rel=5e-3)
    expect(chart(page, "policy_bars")).not_to_have_text(bars or "")
    expect(page.locator(".ward svg text", has_text=re.compile(r"^S\d"))).to_have_count(3)


def test_a_logarithmic_slider_and_a_pinned_scenario(page: Page, lab: str) -> None:
    open_page(page, lab)
    pin(page)
    slider(page, "Server CPU", "Computing").press("ArrowRight")
    expect(page.get_by_text(re.compile("Server CPU 1 GHz → 1.1 GHz"))).to_be_visible()
    settle(page)
    delta = page.locator("[data-testid=stMetric]", has_text="Cost").locator("[data-testid=stMetricDelta]").inner_text()
    a, b = play(PRESETS["paper"], POLICY, 0), play(PRESETS["paper"].changed(F_k=1.1e9), POLICY, 0)
    change = float(b.totals.sum() / b.snapshot.weight.sum() - a.totals.sum() / a.snapshot.weight.sum())
    assert float(re.sub(r"[^\d.e+-]", "", delta)) == pytest.approx(change, abs=6e-5)
    expect(chart(page, "policy_bars")).to_contain_text("pinned")
    expect(chart(page, "episode_curves")).to_contain_text("pinned: ")
    slider(page, "Users").press("ArrowLeft")
    expect(
        page.get_by_text("Not comparable: the pinned ward has 8 × 8 tasks in a step, this one 7 × 8")
    ).to_be_visible()
    expect(page.locator("[data-testid=stMetric] [data-testid=stMetricDelta]").first).to_contain_text("pinned: ")


def test_the_episode_plays_pauses_and_steps(page: Page, lab: str) -> None:
    open_page(page, lab)
    now, ward = page.locator(".ward .now"), page.locator(".ward")
    expect(now).to_have_text("step 1 of 20")
    before = [t.get_attribute("fill") for t in page.locator(".ward .task").all()]
    ward.get_by_label("speed").select_option("fast")
    ward.get_by_label("play or pause").click()
    expect(now).to_have_text(re.compile(r"step ([5-9]|1\d) of 20"))
    ward.get_by_label("play or pause").click()
    expect(ward.get_by_label("play or pause")).to_have_text("▶ play")
    stopped = now.inner_text()
    settle(page)
    assert now.inner_text() == stopped
    assert [t.get_attribute("fill") for t in page.locator(".ward .task").all()] != before
    ward.get_by_label("one step back").click()
    expect(now).not_to_have_text(stopped)
    settle(page)
    step = int(re.findall(r"\d+", now.inner_text())[0])
    expect(page.locator("[data-task]").first).to_have_attribute("data-task", re.compile(rf"^{step}\."))


def test_a_clicked_task_tells_its_alternatives(page: Page, lab: str) -> None:
    open_page(page, lab)
    page.locator(".ward .task[data-task='1.3.2']").click()
    expect(page.get_by_text("Why is task 2 of user 3 on")).to_be_visible()
    settle(page)
    answer = why(play(PRESETS["paper"], POLICY, 0), POLICY, "own", 1, 3, 2)
    cost = answer.alternatives.loc[answer.chosen, "cost"]
    expect(page.get_by_text(f"It costs {cost:.3f} there")).to_be_visible()
    page.locator("summary", has_text="All numbers of the task on every device").click()
    expect(page.locator("[data-testid=stDataFrame]").first).to_be_visible()
    shown = page.locator(".st-key-beside_alternatives .barlayer text")
    expect(shown).to_have_text(
        [three_digits(value * 1e3) for value in answer.alternatives["delay_s"]]
        + [three_digits(value * 1e6) for value in answer.alternatives["energy_j"]]
    )
    slowest = play(PRESETS["paper"], POLICY, 0).table().query("step == 1").sort_values("delay_s").iloc[-1]
    click_in(page, "delays", 0.5 / 64, 0.9)
    expect(page.get_by_text(f"Why is task {slowest.task} of user {slowest.user} on")).to_be_visible()


def test_a_click_on_a_curve_makes_the_map_jump_and_the_line_follows_the_map(page: Page, lab: str) -> None:
    open_page(page, lab)
    chart(page, "episode_curves").locator(".main-svg").first.wait_for()
    click_in(page, "episode_curves", 9.5 / 20)
    expect(page.locator(".ward .now")).to_have_text("step 10 of 20")
    settle(page)
    page.locator(".ward").get_by_label("one step on").click()
    page.wait_for_function("document.querySelector('.st-key-episode_curves .chart-plot').layout.shapes[0].x0 === 11")


def test_a_click_on_a_policy_shows_it_and_one_on_a_value_sets_the_parameter(page: Page, lab: str) -> None:
    open_page(page, lab)
    chart(page, "policy_bars").locator(".main-svg").first.wait_for()
    expect(chart(page, "policy_bars")).not_to_contain_text("…")  # all bars are there
    click_in(page, "policy_bars", 0.05, 1.5 / (1 + len(POLICIES)))
    expect(title(page)).to_contain_text("Price response")
    expect(page.get_by_role("combobox", name="Policy")).to_have_value("Price response")
    page.wait_for_function("document.querySelector('.st-key-around .chart-plot').data?.[0].x.length === 8")
    click_in(page, "around", 1.14 / 7.28)
    expect(title(page)).to_contain_text("2 servers")
    expect(slider(page, "Edge servers")).to_have_value("2")


def test_a_row_of_the_table_is_a_task_too(page: Page, lab: str) -> None:
    open_page(page, lab)
    page.get_by_role("tab", name="All tasks").click()
    table = page.locator("[data-testid=stDataFrame]").last
    table.wait_for()
    settle(page)
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 12, box["y"] + 35 * 2 + 17)
    expect(page.get_by_text(re.compile("Why is task 2 of user 1 on"))).to_be_visible()


def test_every_tab_shows_something(page: Page, lab: str) -> None:
    open_page(page, lab)
    for name, drawn in (("Devices", "utilisation"), ("What more would save", "prices"), ("Fading", "fading")):
        page.get_by_role("tab", name=name).click()
        expect(page.locator(f"[class*=st-key-{drawn}] .chart-plot svg").first).to_be_visible()
        settle(page)
    page.get_by_role("tab", name="All tasks").click()
    lines = downloaded(page, page.get_by_role("button", name="Download the whole episode")).read_text().splitlines()
    assert len(lines) == 1 + 8 * 8 * 20


BAD_LINKS = [
    ({"users": "9999"}, "users = 9999"),
    ({"N0": "nan"}, "N0"),
    ({"policy": "<script>alert(1)</script>"}, "policy = '<script>alert(1)</script>'"),
    ({"workload": "eJwrSS0uAQAEXQHB"}, "workload"),
]


@pytest.mark.parametrize(("query", "words"), BAD_LINKS)
def test_a_bad_link_is_explained_and_the_lab_still_works(
    page: Page, lab: str, query: dict[str, str], words: str
) -> None:
    open_page(page, f"{lab}/?{urlencode(query)}")
    expect(page.locator("[data-testid=stAlert]").first).to_contain_text(words)
    assert "Traceback" not in page.content()
    assert metric(page, "Cost")


def test_own_files_are_taken_and_bad_ones_named_by_line(page: Page, lab: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(
        "step,user,data_kb,cycles,priority\n1,1,30,150000,2\n1,2,40,120000,3\n2,1,20,110000,1\n2,2,20,110000,1\n"
    )
    bad.write_text("step,user,data_kb,cycles,priority\n1,1,30,150000,2\n1,2,lots,120000,3\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text("users: [1,\n")
    open_page(page, lab)
    page.locator("[data-testid=stSidebar] summary", has_text="Files and own data").click()
    uploads = page.locator("[data-testid=stSidebar] input[type=file]")
    uploads.set_input_files(broken)
    expect(page.locator("[data-testid=stAlert]").first).to_contain_text("broken.yaml")
    import_tables(page, bad)
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("[data-testid=stAlert]").first).to_contain_text("line 3, column data_kb: 'lots'")
    expect(title(page)).to_contain_text("8 users × 8 tasks")
    dialog.get_by_role("button", name="Remove bad.csv").click()
    expect(dialog.locator("[data-testid=stAlert]")).to_have_count(0)
    settle(page)
    dialog.locator("input[type=file]").set_input_files(good)
    dialog.get_by_role("button", name="Use this scenario").click()
    expect(title(page)).to_contain_text("2 users × 1 task")
    settle(page)
    expect(page.locator(".ward .now")).to_have_text("step 1 of 2")
    assert "workload:" in downloaded(page, page.get_by_role("button", name="Download scenario")).read_text()


def test_an_empty_battery_is_said_and_its_charge_runs_along_with_the_map_beside_the_plan(page: Page, lab: str) -> None:
    s, policy = PRESETS["drained"], "optimum-step"
    open_page(page, f"{lab}/?{urlencode({'preset': 'drained', 'policy': policy, 'step': 3})}")
    record, plan = play(s, policy, 0), play(s, "optimum", 0)
    user, last = scarcest(record), len(record)
    words = end_words(record)[1:]
    expect(page.locator("[data-testid=stAlert]", has_text=words)).to_be_visible()
    plot = "document.querySelector('.st-key-batteries .chart-plot')"
    page.wait_for_function(f"{plot}?.data?.some((trace) => trace.name === 'plan: user {user}')")
    page.wait_for_function(f"{plot}.layout.shapes[0].x0 === 3")
    settle(page)
    drawn = page.evaluate(f"Object.fromEntries({plot}.data.map((trace) => [trace.name, trace.y]))")
    i = s.user_numbers.index(user)
    for name, one in ((f"user {user}", record), (f"plan: user {user}", plan)):
        assert drawn[name] == pytest.approx((battery_charges(one)[:, i] * 1e3).tolist(), rel=1e-4)
    assert f"User {user} spends" in (page.locator(".st-key-wide_batteries").text_content() or "")
    charge = float(battery_charges(record)[10, i])
    click_in(page, "batteries", 10.5 / (s.T + 1), 1 - charge / (FULL * s.Cap))
    expect(page.locator(".ward .now")).to_have_text(f"step 10 of {last}")
    settle(page)
    page.locator(".ward").get_by_label("one step on").click()
    page.wait_for_function(f"{plot}.layout.shapes[0].x0 === 11")
    expect(chart(page, "policy_bars")).to_contain_text("no policy can be right of this bound")
    expect(page.locator("[data-testid=stMetric]", has_text="Return").first).to_be_visible()


def test_where_no_battery_runs_short_their_charge_is_folded(page: Page, lab: str) -> None:
    open_page(page, f"{lab}/?{urlencode({'preset': 'lecture', 'policy': 'price-response'})}")
    assert chart(page, "batteries").count() == 0
    page.locator("summary", has_text="Batteries: none runs short here").click()
    expect(page.locator("details", has_text="Batteries: none runs short here")).to_have_attribute("open", "")
    expect(chart(page, "batteries").locator(".main-svg").first).to_be_visible()
    expect(page.get_by_text("All 20 steps are played.")).to_be_visible()


def test_extreme_wards_show_numbers_and_no_error(page: Page, lab: str) -> None:
    for values in (
        {"users": 1, "tasks": 1, "servers": 1, "T": 1},
        {"users": 16, "tasks": 16, "servers": 8},
        {"N0": 1e-12, "B_k": 1e11, "channel": "log-distance", "PL0": 120.0},
        {"background": 0.9, "speed": 20.0, "burst": 0.99, "F_k": 1e7},
    ):
        s = scenario(values)
        open_page(
            page, f"{lab}/?{urlencode({k: json.dumps(v) if not isinstance(v, str) else v for k, v in values.items()})}"
        )
        expect(title(page)).to_contain_text(f"{s.users} user")
        assert page.locator("[data-testid=stException]").count() == 0
        assert re.search(r"\d", metric(page, "Mean delay"))
        expect(page.locator("[data-testid=stMetric]", has_text=re.compile("Gap to the (return )?bound"))).to_have_count(
            1
        )


def test_a_server_that_is_switched_off_leaves_the_others_in_place(page: Page, lab: str) -> None:
    open_page(page, f"{lab}/?{urlencode({'page': 'explore', 'preset': 'paper', 'policy': 'price-response'})}")

    def servers() -> dict[str, tuple[str | None, str | None]]:
        """Middle of the mark and colour of each server on the map, by its name."""
        found = {}
        for mark in page.locator(".ward rect.server").all():
            words, corner, width = (
                mark.locator("..").text_content(),
                mark.get_attribute("x"),
                mark.get_attribute("width"),
            )
            middle = float(corner or 0) + float(width or 0) / 2
            found[(words or "").partition(":")[0]] = (
                f"{middle:.0f} {mark.get_attribute('y')}",
                mark.get_attribute("fill"),
            )
        return found

    before = servers()
    page.locator(".st-key-servers_in_operation").get_by_role("button", name="3", exact=True).click()
    expect(title(page)).to_contain_text("8 users × 8 tasks, 3 of 4 servers")
    settle(page)
    part = PRESETS["paper"].changed(servers_off=3)
    assert servers() == {name: look for name, look in before.items() if name != "server 3"}
    figures = play(part, "price-response", 0)
    cost = float(figures.totals.sum() / figures.snapshot.weight.sum())
    assert float(metric(page, "Cost")) == pytest.approx(cost, rel=5e-3)
    assert "servers_off=3" in page.url
    slider(page, "Edge servers").press("ArrowRight")
    expect(title(page)).to_contain_text("8 users × 8 tasks, 5 servers")


def test_a_city_shows_figures_first_and_the_bound_follows_without_a_click(page: Page, lab: str) -> None:
    page.goto(f"{lab}/?page=explore&preset=city&T=60&policy=sae-mt-qmix&step=2")
    expect(page.get_by_text("general network decides, and its figures follow")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Show price response instead").click()
    expect(page.get_by_role("combobox", name="Policy")).to_have_value("Price response")
    gap = page.locator("[data-testid=stMetric]", has_text="Gap to the bound").locator("[data-testid=stMetricValue]")
    expect(gap).to_be_visible(timeout=30_000)
    record = play(PRESETS["city"].changed(T=60), "price-response", 0, certify=False)
    cost = float(record.totals.sum() / record.snapshot.weight.sum())
    assert float(metric(page, "Cost")) == pytest.approx(cost, rel=5e-3)
    page.get_by_role("combobox", name="Site").click()  # the page is usable while the bound is computed
    page.get_by_role("option", name="server 7", exact=True).click()
    tasks = int(((record.action.choice[1] == 7) & record.snapshot.active[1]).sum())
    expect(page.get_by_text(re.compile(rf"{tasks} tasks of \d+ users on server 7"))).to_be_visible()
    expect(page.locator(".st-key-city .chart-title")).to_have_text("Server 7 and the users that send it tasks")
    expect(page).to_have_url(re.compile("v_site=7"))
    expect(gap).to_have_text(re.compile(r"^\d.*%$"), timeout=60_000)
    expect(chart(page, "policy_bars")).to_have_attribute("aria-label", re.compile("certified bound 0"))


def test_a_click_at_the_moment_when_a_chart_asks_for_more_is_drawn(page: Page, lab: str) -> None:
    page.add_init_script(
        "const every = setInterval; setInterval = (f, ms) => { if (ms === 250) window.ask = f; return every(f, ms); };"
    )
    open_page(page, f"{lab}/?page=explore&preset=hospital&episode_seed={random.randrange(10**6)}")  # not yet computed
    page.wait_for_function("() => window.ask !== undefined")
    unpin = page.get_by_role("button", name="Unpin", exact=True)
    for name, count in (("Pin", 1), ("Unpin", 0)):
        page.get_by_role("button", name=name, exact=True).evaluate("button => { window.ask(); button.click(); }")
        expect(unpin).to_have_count(count)
        settle(page)
