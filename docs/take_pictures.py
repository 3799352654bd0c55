"""Takes the pictures of README and guide from a real browser: `make pictures`, or some: `python -m docs.take_pictures NAME …`.

A picture shows a page from its top down to an element that its function returns, so that nothing is cut off.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page

from iomt_core.runs.training_run import TRAINING
from iomt_core.scenario import PRESETS
from iomt_core.training.run_spec import RunSpec, settings_for
from iomt_core.training.start import Start
from tests.browser.lab_server import browser, pin, server, settle, slider

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1400, 2600  # of the browser: a page fits without scrolling
NARROW = 1200  # width of most pages without the sidebar
MARGIN = 16  # below the last element, pixels
COLOURS = 256  # of a picture: enough for charts, and a third of the size
LARGEST, LARGEST_ANIMATION = 250_000, 1_500_000  # bytes
# Of the animation: steps of the episode, then moves of the slider of servers, and milliseconds of a frame.
STEPS, SERVERS, FRAME = 4, ("ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight", "ArrowRight"), 1000
PICTURES: Mapping[str, Path] = MappingProxyType(
    {
        "explore": HERE / "explore.gif",  # the README's, which moves
        **{
            name: HERE / "pictures" / f"{name}.png"
            for name in ("start", "inspect", "compare", "train", "sweep", "answers", "twin", "paper")
        },
    }
)
RUNS = {"from-scratch": (None, 960), "fine-tuned": (Start.general("sae-mt-qmix"), 480)}  # start and episodes
DRAWN = "[...document.querySelectorAll('.chart-plot')].every((plot) => plot.querySelector('svg'))"
SLOW = 900_000  # milliseconds that a run or a sweep may take on a busy machine


def main(names: Sequence[str] = ()) -> None:
    """Takes these pages, or all; Train shows a run that was just finished, Sweep and Answers what is computed for the picture."""
    chosen = {name: TAKE[name] for name in names or TAKE}
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {
            "IOMT_RUNS": f"{place}/runs",
            "IOMT_SWEEPS": f"{place}/sweeps",
            "IOMT_ANSWERS": f"{place}/answers",
            "IOMT_WAREHOUSES": f"{place}/warehouses",
            "IOMT_KEYS": f"{place}/keys",
            "IOMT_NICE": "0",  # nobody uses these pages; at the usual low priority a busy machine would not end the runs
        }  # not a person's own
        if "train" in chosen:
            train_a_little()
        with server() as address, browser() as chromium:
            for name, take in chosen.items():
                page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.set_default_timeout(60_000)
                last = take(page, address)
                settle(page)
                page.wait_for_function(DRAWN)
                if PICTURES[name].suffix == ".gif":
                    animate(page, PICTURES[name], last)
                else:
                    save(page.screenshot(clip=down_to(last)), PICTURES[name])
                page.close()


def down_to(last: Locator) -> FloatRect:
    """The part of the page from its top to the end of an element. Raises `RuntimeError` where the browser is not high enough."""
    box, view = last.bounding_box(), last.page.viewport_size
    if box is None or view is None or box["y"] + box["height"] + MARGIN > HEIGHT:
        raise RuntimeError(f"the last element of the picture ends below {HEIGHT} pixels: {box}")
    return {
        "x": 0,
        "y": 0,
        "width": view["width"],
        "height": round(box["y"] + box["height"]) + MARGIN,
    }


def animate(page: Page, to: Path, last: Locator) -> None:
    """Plays some steps, pins, and moves the slider of servers; writes a frame for each."""
    pictures: list[Image.Image] = []
    heights: list[int] = []

    def frame(settling: int = 700) -> None:
        settle(page)
        page.wait_for_timeout(settling)  # the charts follow
        page.wait_for_function(DRAWN)
        pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        heights.append(int(down_to(last)["height"]))

    frame()
    for _ in range(STEPS):
        page.locator(".ward").get_by_label("one step on").click()
        frame()
    pin(page)
    frame()
    for key in SERVERS:
        slider(page, "Edge servers").press(key)
        frame(3000)  # curves over the parameter too
    pictures = [picture.crop((0, 0, WIDTH, max(heights))) for picture in pictures]
    # One palette for all frames: what does not change from frame to frame then takes no space.
    several = Image.new("RGB", (WIDTH, 2 * max(heights)))
    several.paste(pictures[0], (0, 0))
    several.paste(pictures[-1], (0, max(heights)))
    palette = several.quantize(COLOURS)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    frames[0].save(to, save_all=True, append_images=frames[1:], duration=FRAME, loop=0, optimize=True)
    check(to, LARGEST_ANIMATION)


def save(picture: bytes, to: Path) -> None:
    """Writes the picture. Raises `RuntimeError` where it is too large."""
    to.parent.mkdir(exist_ok=True)
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(to, optimize=True)
    check(to, LARGEST)


def check(to: Path, largest: int) -> None:
    """Raises `RuntimeError` where a file is too large."""
    if to.stat().st_size > largest:
        raise RuntimeError(f"{to.name} has {to.stat().st_size} bytes: allowed is {largest}")
    print(to.relative_to(HERE.parent), to.stat().st_size, "bytes")


def train_a_little() -> None:
    """Two finished runs to look at: from scratch, and from the general network."""
    for name, (start_from, episodes) in RUNS.items():
        every = episodes // 10
        changes = {"episodes": episodes, "evaluate_every": every, "checkpoint_every": every}
        settings = settings_for("sae-mt-qmix", start_from, changes)
        TRAINING.create(name, RunSpec("sae-mt-qmix", PRESETS["lecture"], settings, 0, start_from))
    end = time.monotonic() + SLOW / 1000
    while any((run := TRAINING.run(name)).state != "finished" for name in RUNS):
        if run.state == "failed" or time.monotonic() > end:
            raise RuntimeError(f"the run has not finished: it is {run.state} {run.reason}")
        time.sleep(1)


def go(page: Page, address: str, link: str, alone: int | None = None) -> None:
    """Opens a link of the lab. alone: width of the browser without the sidebar; None: with the sidebar."""
    page.goto(f"{address}/?{link}")
    settle(page)
    if alone is not None:
        page.set_viewport_size({"width": alone, "height": HEIGHT})
        page.locator("[data-testid=stSidebar]").hover()
        page.locator("[data-testid=stSidebarCollapseButton] button").click()
        page.mouse.move(alone - 1, HEIGHT - 1)  # away from what it would highlight


def start(page: Page, address: str) -> Locator:
    """The ward moving, and the tour."""
    page.emulate_media(reduced_motion="reduce")
    go(page, address, "page=start&preset=paper")
    page.locator(".ward svg .task").first.wait_for()
    return page.locator(".st-key-cards_questions")


def explore(page: Page, address: str) -> Locator:
    """The ward, the live curves, all policies, and the range of one parameter."""
    go(page, address, "page=explore&preset=paper&episode_seed=0&step=1")
    page.locator(".ward svg .task").first.wait_for()
    page.wait_for_timeout(6000)  # the curves over the parameter are computed in the background
    return page.locator(".st-key-hero")


def inspect(page: Page, address: str) -> Locator:
    """A decision of SAE-MT-QMIX, and what would have been better."""
    go(page, address, "page=inspect&preset=lecture&step=1&task=1.1.1&v_tab=regret", alone=WIDTH)
    page.locator(".chart-plot .heatmaplayer").first.wait_for()
    return page.locator(".st-key-wide_regret")


def compare(page: Page, address: str) -> Locator:
    """Four servers beside three."""
    link = "page=compare&preset=paper&servers_off=4&v_a=ward%3Dpaper%26policy%3Dsae-mt-qmix&v_episodes=10"
    go(page, address, link, alone=WIDTH)
    page.locator(".ward svg .task").first.wait_for(timeout=SLOW)
    page.get_by_text("10 episodes)").wait_for(timeout=SLOW)  # all of them
    return page.locator(".ward")


def train(page: Page, address: str) -> Locator:
    """Two finished runs' curves."""
    go(page, address, f"page=train&preset=lecture&v_runs={','.join(RUNS)}", alone=NARROW)
    page.locator(".chart-plot .scatterlayer").first.wait_for()
    return page.locator(".chart-plot").first


def sweep(page: Page, address: str) -> Locator:
    """A sweep over the servers, finished."""
    link = (
        "page=sweep&preset=lecture&v_over=servers%3D1:6:6&v_policies=nearest,greedy,price-response,optimum&v_episodes=3"
    )
    go(page, address, link, alone=NARROW)
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator("[data-testid=stMain]").get_by_text("finished").first.wait_for(timeout=SLOW)
    page.locator(".chart-plot .scatterlayer").first.wait_for()
    return page.locator(".chart-plot").first


def answers(page: Page, address: str) -> Locator:
    """What matters most in the ward of the lecture."""
    go(page, address, "page=answers&preset=lecture&v_question=sensitivity", alone=NARROW)
    page.get_by_role("button", name="Find out").click()
    page.get_by_role("heading", name="most for the cost").wait_for(timeout=SLOW)
    page.locator("[data-testid=stMain]").get_by_text("finished").first.wait_for(timeout=SLOW)
    page.locator(".chart-plot svg").first.wait_for()
    return page.locator(".chart-plot").first


def twin(page: Page, address: str) -> Locator:
    """A recorded episode, and what would have happened without a server."""
    go(page, address, "page=twin&preset=lecture&policy=greedy&v_tab=fork&v_at=8&v_set=servers_off%3D2", alone=NARROW)
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_text("Missing records").wait_for(timeout=SLOW)
    page.get_by_role("tab", name="What would have happened").click()
    page.get_by_text("From step 8 on: servers_off = 2").wait_for()
    page.locator(".chart-plot .scatterlayer").first.wait_for()
    return page.locator(".chart-plot").first


def paper(page: Page, address: str) -> Locator:
    """A figure of the paper from the shipped results."""
    go(page, address, "page=paper&v_figure=figure-8")
    page.locator(".chart-plot svg").first.wait_for()
    return page.get_by_role("button", name="Open this ward in Explore")


TAKE: Mapping[str, Callable[[Page, str], Locator]] = MappingProxyType(
    {
        "start": start, "explore": explore, "inspect": inspect, "compare": compare, "train": train, "sweep": sweep,
        "answers": answers, "twin": twin, "paper": paper,
    }
)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
