"""Takes the pictures of README and guide from a real browser: `make pictures`."""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from PIL import Image
from playwright.sync_api import Page

from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, default_settings
from tests.browser.lab_server import browser, server, settle

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1400, 1060
COLOURS = 256  # of a picture: enough for charts, and a third of the size
LARGEST, LARGEST_ANIMATION = 250_000, 1_500_000  # bytes
STEPS, FRAME = 10, 600  # of the animation: steps of the episode, and milliseconds of each
PICTURES: Mapping[str, Path] = MappingProxyType(
    {
        "explore": HERE / "explore.gif",  # the README's, which moves
        **{
            name: HERE / "pictures" / f"{name}.png"
            for name in ("start", "inspect", "compare", "train", "sweep", "answers", "twin", "paper")
        },
    }
)
RUN = "first-run"
DRAWN = "[...document.querySelectorAll('.chart-plot')].every((plot) => plot.querySelector('svg'))"
SLOW = 900_000  # milliseconds that a run or a sweep may take on a busy machine


def main() -> None:
    """Takes every page; the Train page shows a run that was just finished, Sweep and Answers what is computed for the picture."""
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {
            "IOMT_RUNS": f"{place}/runs",
            "IOMT_SWEEPS": f"{place}/sweeps",
            "IOMT_ANSWERS": f"{place}/answers",
            "IOMT_WAREHOUSES": f"{place}/warehouses",
            "IOMT_KEYS": f"{place}/keys",
            "IOMT_NICE": "0",  # nobody uses these pages; at the usual low priority a busy machine would not end the runs
        }  # not a person's own
        train_a_little()
        with server() as address, browser() as chromium:
            for name, take in TAKE.items():
                page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.set_default_timeout(60_000)
                take(page, address)
                settle(page)
                page.wait_for_function(DRAWN)
                if PICTURES[name].suffix == ".gif":
                    animate(page, PICTURES[name])
                else:
                    save(page.screenshot(), PICTURES[name])
                page.close()


def animate(page: Page, to: Path) -> None:
    """Steps through the episode and writes a frame for each step."""
    frames = []
    for _ in range(STEPS):
        frames.append(reduced(page.screenshot()))
        page.locator(".ward").get_by_label("one step on").click()
        settle(page)
        page.wait_for_timeout(500)  # the charts of the step
    frames[0].save(to, save_all=True, append_images=frames[1:], duration=FRAME, loop=0, optimize=True)
    check(to, LARGEST_ANIMATION)


def save(picture: bytes, to: Path) -> None:
    """Writes the picture. Raises `RuntimeError` where it is too large."""
    to.parent.mkdir(exist_ok=True)
    reduced(picture).save(to, optimize=True)
    check(to, LARGEST)


def reduced(picture: bytes) -> Image.Image:
    """The picture with few colours."""
    return Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS)


def check(to: Path, largest: int) -> None:
    """Raises `RuntimeError` where a file is too large."""
    if to.stat().st_size > largest:
        raise RuntimeError(f"{to.name} has {to.stat().st_size} bytes: allowed is {largest}")
    print(to.relative_to(HERE.parent), to.stat().st_size, "bytes")


def train_a_little() -> None:
    """A finished run to look at."""
    ward = PRESETS["lecture"]
    settings = default_settings(
        "mpmt-dqn", episodes=192, num_envs=16, warm_up=16, evaluate_every=32, checkpoint_every=96
    )
    TRAINING.create(RUN, RunSpec("mpmt-dqn", ward, settings, 0))
    end = time.monotonic() + SLOW / 1000
    while (run := TRAINING.run(RUN)).state != "finished":
        if run.state == "failed" or time.monotonic() > end:
            raise RuntimeError(f"the run has not finished: it is {run.state} {run.reason}")
        time.sleep(1)


def go(page: Page, address: str, link: str) -> None:
    """Opens a link of the lab."""
    page.goto(f"{address}/?{link}")
    settle(page)


def start(page: Page, address: str) -> None:
    """The ward moving, and the tour."""
    page.emulate_media(reduced_motion="reduce")
    go(page, address, "page=start&preset=paper")
    page.locator(".ward svg .task").first.wait_for()


def explore(page: Page, address: str) -> None:
    """The ward, the live curves, all policies, and the range of one parameter."""
    go(page, address, "page=explore&preset=paper&episode_seed=0&step=1")
    page.locator(".ward svg .task").first.wait_for()
    page.wait_for_timeout(6000)  # the curves over the parameter are computed in the background


def inspect(page: Page, address: str) -> None:
    """A decision of SAE-MT-QMIX, and what would have been better."""
    go(page, address, "page=inspect&preset=lecture&step=1&task=1.1.1&v_tab=regret")
    page.locator(".chart-plot .heatmaplayer").first.wait_for()


def compare(page: Page, address: str) -> None:
    """SAE-MT-QMIX beside price response."""
    go(
        page,
        address,
        "page=compare&preset=paper&v_a=ward%3Dsame%26policy%3Dprice-response&v_episodes=10",
    )
    page.locator(".ward svg .task").first.wait_for(timeout=SLOW)
    page.get_by_text("10 episodes)").wait_for(timeout=SLOW)  # all of them


def train(page: Page, address: str) -> None:
    """The finished run's curves."""
    go(page, address, f"page=train&preset=lecture&v_runs={RUN}")
    page.locator(".chart-plot .scatterlayer").first.wait_for()


def sweep(page: Page, address: str) -> None:
    """A sweep over the servers, finished."""
    go(
        page,
        address,
        "page=sweep&preset=lecture&v_over=servers%3D1:6:6&v_policies=sae-mt-qmix,price-response,optimum&v_episodes=3",
    )
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator("[data-testid=stMain]").get_by_text("finished").first.wait_for(timeout=SLOW)
    page.locator(".chart-plot .scatterlayer").first.wait_for()
    page.locator(".chart-plot").first.scroll_into_view_if_needed()


def answers(page: Page, address: str) -> None:
    """What matters most in the ward of the lecture."""
    go(page, address, "page=answers&preset=lecture&v_question=sensitivity")
    page.get_by_role("button", name="Find out").click()
    page.get_by_role("heading", name="most for the cost").wait_for(timeout=SLOW)
    page.locator("[data-testid=stMain]").get_by_text("finished").first.wait_for(timeout=SLOW)
    page.locator(".chart-plot svg").first.wait_for()


def twin(page: Page, address: str) -> None:
    """A recorded episode, and what would have happened without a server."""
    go(page, address, "page=twin&preset=lecture&policy=greedy&v_tab=fork&v_at=8&v_set=servers_off%3D2")
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_text("Missing records").wait_for(timeout=SLOW)
    page.get_by_role("tab", name="What would have happened").click()
    page.get_by_text("From step 8 on: servers_off = 2").wait_for()
    page.locator(".chart-plot .scatterlayer").first.wait_for()


def paper(page: Page, address: str) -> None:
    """A figure of the paper from the shipped results, beside its claims."""
    page.goto(f"{address}/?page=paper&v_figure=figure-10")
    settle(page)
    page.locator(".chart-plot svg").first.wait_for()


TAKE: Mapping[str, Callable[[Page, str], None]] = MappingProxyType(
    {
        "start": start, "explore": explore, "inspect": inspect, "compare": compare, "train": train, "sweep": sweep,
        "answers": answers, "twin": twin, "paper": paper,
    }
)  # fmt: skip


if __name__ == "__main__":
    main()
