"""What holds for all tests: two workers share two cores, and a test leaves the main module as it was."""

from __future__ import annotations

import os
import sys

# One thread each: threads that wait for a core spin and starve the other worker.
os.environ["OMP_NUM_THREADS"] = "1"
# Runs that tests wait for get a share of the cores even when both are busy, and leave the browser most of them.
os.environ["IOMT_NICE"] = "5"

import pytest
import torch

torch.set_num_threads(1)

# In this order: the longest modules first and those of a second or less last, so that both workers end at the same time.
LONGEST = ("tests/training/test_learning.py", "tests/browser/", "tests/policies/", "tests/runs/", "tests/experiments/")
SHORTEST = ("tests/adapters/", "tests/charts/", "tests/environment/", "tests/model/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts modules by how long they take; tests of a module stay together. What fails in the browser is tried once more.

    On two busy cores a click is now and then lost because its part of the page is just drawn anew. What fails twice fails; the
    report counts what was tried again.
    """

    def place(item: pytest.Item) -> int:
        long = (n for n, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(long, len(LONGEST) + item.nodeid.startswith(SHORTEST))

    items.sort(key=place)
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session", autouse=True)
def folder_of_keys(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys of data warehouses go to a folder of the tests, not to the person's own."""
    os.environ["IOMT_KEYS"] = str(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the main module back: Streamlit's `AppTest` replaces it by a page, which a later test's new process would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
