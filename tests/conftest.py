"""Two workers share two cores: one thread each, for threads that wait for a core spin and starve the other worker."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def folder_of_keys(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys of data warehouses go to a folder of the tests, not to the person's own."""
    os.environ["IOMT_KEYS"] = str(tmp_path_factory.mktemp("keys"))
