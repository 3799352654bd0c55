"""One server and one Chromium for all browser tests of a worker; in CI a missing Chromium is a failure, elsewhere a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.lab_server import OPERATOR_TOKEN, browser, chromium_path, server

expect.set_options(timeout=15_000)  # other tests may run beside


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if chromium_path() is None:
        message = "no chromium on this machine: install Debian's package 'chromium'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with browser() as started:
        yield started


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IOMT_RUNS", "IOMT_ANSWERS", "IOMT_OWN_DATA"):  # not a person's own
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        patch.setenv("IOMT_CLASS", "1")  # each browser context is another person
        patch.setenv("IOMT_OPERATOR_TOKEN", OPERATOR_TOKEN)
        with server() as address:
            yield address


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1500, "height": 1200}, accept_downloads=True)
    fresh = context.new_page()
    fresh.set_default_timeout(20_000)
    errors: list[str] = []
    fresh.on("pageerror", lambda error: errors.append(str(error)))
    yield fresh
    broken = fresh.locator("[data-testid=stException]").all_inner_texts()
    context.close()
    assert not errors
    assert not broken
