"""One server and one Chromium for all browser tests of a worker; in CI a missing Chromium is a failure, elsewhere a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from iomt_core.paths import KEYS, USER_FOLDERS
from tests.browser.lab_server import FLAGS, NO_CHROMIUM, OPERATOR_TOKEN, chromium_path, server

expect.set_options(timeout=15_000)  # other tests may run beside


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if chromium_path() is None:
        if os.environ.get("CI"):
            pytest.fail(NO_CHROMIUM)
        pytest.skip(NO_CHROMIUM)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """For tests with several people: each context is a browser of its own."""
    with playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS) as started:
        yield started


@pytest.fixture(scope="session")
def profile(playwright: Playwright) -> Iterator[BrowserContext]:
    """One person's browser, which keeps Streamlit's compiled scripts: a page opens in two thirds of the time.

    All tabs share one process, which an empty tab keeps alive between tests: that is another third.
    """
    with playwright.chromium.launch_persistent_context(
        "",
        executable_path=chromium_path(),
        args=[*FLAGS, "--process-per-site"],
        viewport={"width": 1500, "height": 1200},
    ) as started:
        empty = started.new_page()
        empty.route("**", lambda route: route.fulfill(body="", content_type="text/html"))
        empty.goto("http://localhost/")  # all ports of a host are one site
        yield started


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in (*USER_FOLDERS, KEYS):  # nothing of a person's own is touched, and no file is left behind
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        patch.setenv("IOMT_CLASS", "1")  # each browser context is another person
        patch.setenv("IOMT_OPERATOR_TOKEN", OPERATOR_TOKEN)
        with server() as address:
            yield address


@pytest.fixture
def page(profile: BrowserContext) -> Iterator[Page]:
    """A tab without cookies and storage of an earlier test; at the end of the test nothing may have failed in it."""
    fresh = profile.new_page()
    fresh.set_default_timeout(20_000)
    errors: list[str] = []
    fresh.on("pageerror", lambda error: errors.append(str(error)))
    yield fresh
    broken = fresh.locator("[data-testid=stException]").all_inner_texts()
    if fresh.url.startswith("http"):
        fresh.evaluate("localStorage.clear()")
    fresh.close()
    profile.clear_cookies()
    assert not errors
    assert not broken
