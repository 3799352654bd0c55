"""Several people at once: each has a ward of their own, and all have the same runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from iomt_core.runs.training_run import TrainingRun
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.training.run_spec import RunSpec, default_settings
from iomt_core.twin.northbound import play
from tests.browser.lab_server import metric, open_page, run_state, settle, slider

pytestmark = pytest.mark.browser

SESSIONS = (("paper", "optimum", "1.2.3"), ("lecture", "greedy", "2.1.1"), ("hospital", "price-response", "3.4.5"))


def cost(s: Scenario, policy: str) -> float:
    record = play(s, policy, 0)
    return float(record.totals.sum() / record.snapshot.weight.sum())


def test_three_at_once_see_their_own_ward_and_the_same_runs(chromium: Browser, lab: str) -> None:
    spec = RunSpec("mt-pdqn", PRESETS["lecture"], default_settings("mt-pdqn", episodes=4, num_envs=4, warm_up=8), 0)
    TrainingRun.create(Path(os.environ["IOMT_RUNS"]) / "shared-by-all", spec).train()
    contexts = [chromium.new_context(viewport={"width": 1500, "height": 1200}) for _ in SESSIONS]
    pages = [context.new_page() for context in contexts]
    for page, (preset, policy, task) in zip(pages, SESSIONS, strict=True):
        open_page(
            page, f"{lab}/?page=explore&preset={preset}&policy={policy}&episode_seed=0&step={task[0]}&task={task}"
        )
    for page in pages:  # all before anybody has an answer
        slider(page, "Edge servers").press("ArrowLeft")
    for page, (preset, policy, task) in zip(pages, SESSIONS, strict=True):
        ward = PRESETS[preset].changed(servers=PRESETS[preset].servers - 1)
        expect(page.locator("[data-testid=stHeading]").first).to_contain_text(f"{ward.servers} server")
        settle(page)
        assert float(metric(page, "Cost")) == pytest.approx(cost(ward, policy), rel=5e-3)
        _, user, number = task.split(".")
        expect(page.get_by_text(f"Why is task {number} of user {user} on")).to_be_visible()
    for page in pages:
        page.get_by_role("link", name="Train").click()
        expect(run_state(page, "shared-by-all")).to_have_text("finished", timeout=60_000)
    for context in contexts:
        context.close()
