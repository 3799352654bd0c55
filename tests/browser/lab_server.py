"""A real server and a real Chromium, for tests and for the latency benchmark."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
READY = "[data-testid=stApp][data-test-script-state=notRunning][data-test-connection-state=CONNECTED]"
OPERATOR_TOKEN = "operator-of-the-tests"
NO_CHROMIUM = "no chromium on this machine: install Debian's package 'chromium'"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def chromium_path() -> str | None:
    """Where Chromium is, if it is anywhere."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def server(base: str = "", port: int | None = None) -> Iterator[str]:
    """A dashboard of its own, below the path `base`, on a free port or the given one; its address."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dashboard", "--server.port", str(port), "--server.baseUrlPath", base]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://localhost:{port}/{base}".rstrip("/")
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                time.sleep(0.1)
            if process.poll() is not None:
                raise RuntimeError(f"the dashboard ended with exit code {process.returncode}")
        else:
            raise RuntimeError("the dashboard did not come up within a minute")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium, Debian's."""
    path = chromium_path()
    if path is None:
        raise RuntimeError(NO_CHROMIUM)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=FLAGS) as chromium:
        yield chromium


def settle(page: Page, timeout: float = 30_000) -> None:
    """Waits until the script has run and the page is connected."""
    page.wait_for_selector(READY, timeout=timeout)


def downloaded(page: Page, button: Locator) -> Path:
    """The file that a click downloads. If the page moved during the click, it clicks again."""
    for patience in (5_000, 10_000, 20_000):
        with suppress(TimeoutError):
            with page.expect_download(timeout=patience) as waiting:
                button.click()
            return Path(waiting.value.path())
    raise AssertionError("three clicks, and no file")


def run_state(page: Page, name: str) -> Locator:
    """The state of a training run in the table of runs; a table's cells are drawn, and told to screen readers."""
    row = page.locator(
        ".st-key-run_list tr[role=row]", has=page.get_by_role("gridcell", name=name, exact=True, include_hidden=True)
    )
    return row.locator("td").nth(1)


def metric(page: Page, label: str) -> str:
    """A headline figure, as it is shown."""
    return page.locator("[data-testid=stMetric]", has_text=label).locator("[data-testid=stMetricValue]").inner_text()


def title(page: Page) -> Locator:
    """The page's title."""
    return page.locator("[data-testid=stHeading]").first


def choose(page: Page, label: str, option: str) -> None:
    """Chooses an option of a select box."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def slider(page: Page, label: str, group: str | None = None) -> Locator:
    """A slider of the sidebar, in a group that is opened first where one is named."""
    if group:
        page.locator("[data-testid=stSidebar] summary", has_text=group).first.click()
    handle = page.locator(f"[data-testid=stSidebar] input[type=range][aria-label^='{label}']").first
    handle.wait_for(state="attached")
    return handle


def pin(page: Page) -> None:
    """Pins the scenario. Without waiting for its answer a change right after it would be pinned too."""
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_role("button", name="Unpin").wait_for()
    settle(page)


def open_page(page: Page, address: str) -> None:
    """Opens the Explore page, or what a link says, and waits for the ward."""
    page.goto(address if "?" in address else f"{address}/?page=explore")
    settle(page)
    page.wait_for_selector(".ward svg .task", timeout=30_000)
    settle(page)


def import_tables(page: Page, *files: Path) -> None:
    """Opens the import dialog from the sidebar, whose files are shown, and chooses files."""
    page.locator("[data-testid=stSidebar]").get_by_role("button", name="Import tables").click()
    expect(page.get_by_role("dialog").locator("input[type=file]")).to_be_attached()
    settle(page)
    page.get_by_role("dialog").locator("input[type=file]").set_input_files(list(files))
