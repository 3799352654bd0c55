"""Which project files run between a slider and a figure, and between `iomt train` and a checkpoint.

`python -m benchmarks.files_on_the_way` prints both lists for CONTRIBUTING.md. A file counts if one of its functions is
called; importing it does not count.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT = ("iomt_core", "dashboard", "pages")


@contextmanager
def files_that_run() -> Iterator[dict[str, None]]:
    """The project's files whose functions are called inside the `with` block, in the order of their first call."""
    found: dict[str, None] = {}
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code in seen:
            return
        seen.add(code)
        path = Path(code.co_filename)
        if code.co_name != "<module>" and any(path.is_relative_to(ROOT / place) for place in PROJECT):
            found.setdefault(path.relative_to(ROOT).as_posix())

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def slider_to_figure() -> dict[str, list[str]]:
    """The way of the policy that is shown, price response, and of its map; then everything that Explore does."""
    from iomt_core.charts.ward_map import ward_frames
    from iomt_core.scenario import PRESETS
    from iomt_core.twin.northbound import play

    play(PRESETS["lecture"], "price-response", 0)
    with files_that_run() as figure:
        s = PRESETS["lecture"].changed(servers=3)
        ward_frames(play(s, "price-response", 0))

    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "pages" / "explore" / "explore.py"), default_timeout=300).run()
    with files_that_run() as page:
        app.slider(key="p_servers").set_value(3).run()
    if app.exception:
        raise RuntimeError(app.exception[0].message)
    return {"slider to the map": list(figure), "slider to all of Explore, with every policy": list(page)}


def train_to_checkpoint() -> dict[str, list[str]]:
    """A short run of the default algorithm, with its checkpoint; evaluations on held-out episodes are a part of it."""
    from iomt_core.cli.commands import app

    words = ["train", "--algorithm", "sae-mt-qmix", "--scenario", "lecture"]
    for setting in ("episodes=64", "num_envs=32", "warm_up=32"):
        words += ["--set", setting]
    with tempfile.TemporaryDirectory() as place, files_that_run() as found:
        app([*words, "--out", f"{place}/run"], standalone_mode=False)
    return {"`iomt train` to a checkpoint": list(found)}


def main() -> None:
    """Prints every way with its files."""
    for way, files in {**slider_to_figure(), **train_to_checkpoint()}.items():
        print(f"\n{way}: {len(files)} files")
        print("\n".join(f"  {file}" for file in files))


if __name__ == "__main__":
    main()
