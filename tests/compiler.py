"""What is compiled needs a compiler; in CI there has to be one."""

from __future__ import annotations

import os
import shutil

import pytest

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")) and not os.environ.get("CI"),
    reason="no C++ compiler",
)
