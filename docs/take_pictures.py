"""Takes the README's pictures from a real browser: `make pictures`."""

from __future__ import annotations

from pathlib import Path

from tests.browser.lab_server import browser, open_page, server, settle

HERE = Path(__file__).parent


def main() -> None:
    """Opens the hospital ward, asks why of one task, and takes the page."""
    with server() as address, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1500, "height": 1130})
        open_page(page, f"{address}/?preset=hospital&policy=price-response&episode_seed=0&step=1")
        page.locator(".ward .task[data-task='1.6.2']").click()
        page.locator("[data-testid=stDataFrame]").first.wait_for()
        page.locator(".js-plotly-plot .bars").first.wait_for()
        settle(page)
        page.wait_for_timeout(1000)
        page.screenshot(path=HERE / "explore.png")


if __name__ == "__main__":
    main()
