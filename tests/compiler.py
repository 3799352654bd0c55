"""What is compiled needs a compiler; in CI there has to be one."""

from __future__ import annotations

import os
import shlex
import shutil

import pytest

COMPILERS = [*shlex.split(os.environ.get("CXX", "g++"))[:1], "clang++"]

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in COMPILERS) and not os.environ.get("CI"), reason="no C++ compiler"
)
