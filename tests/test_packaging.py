"""What the wheel needs and ships agrees with the checkout."""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(file: str) -> dict[str, str]:
    """Version by package."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith(("#", "-r")):
            one = Requirement(line)
            (pin,) = one.specifier
            assert pin.operator == "=="
            assert one.name not in found
            found[one.name] = pin.version
    return found


def test_every_dependency_is_pinned_within_its_range_and_none_is_forgotten() -> None:
    needed, more = pins("requirements.txt"), pins("requirements-dev.txt")
    project = PYPROJECT["project"]
    ranges = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    wanted = {one.name: one.specifier for one in map(Requirement, ranges)}
    assert needed.keys() <= wanted.keys() <= needed.keys() | more.keys()
    assert [name for name, allowed in wanted.items() if (needed | more)[name] not in allowed] == []


def test_what_the_wheel_takes_from_the_root_is_there() -> None:
    taken = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {"app.py", "pages", ".streamlit", "pretrained"} <= taken.keys()
    for source, place in taken.items():
        assert (ROOT / source).exists()
        assert place == f"iomt_twin_lab/{source}"
