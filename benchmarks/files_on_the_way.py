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


def main() -> None:
    """Prints the files of three ways: to the map of a ward, to all of Explore, and from `iomt train` to a checkpoint."""
    from streamlit.testing.v1 import AppTest

    from iomt_core.charts.ward_map import ward_frames
    from iomt_core.cli.commands import application
    from iomt_core.scenario import PRESETS
    from iomt_core.twin.northbound import play

    ways = {}
    play(PRESETS["lecture"], "price-response", 0)  # what happens once only is no part of the way
    with files_that_run() as ways["slider to the map"]:
        ward_frames(play(PRESETS["lecture"].changed(servers=3), "price-response", 0))
    page = AppTest.from_file(str(ROOT / "pages" / "explore" / "explore.py"), default_timeout=300).run()
    with files_that_run() as ways["slider to all of Explore, with every policy"]:
        page.slider(key="p_servers").set_value(3).run()
    if page.exception:
        raise RuntimeError(page.exception[0].message)
    words = (
        "train --algorithm sae-mt-qmix --scenario lecture --set episodes=64 --set num_envs=32 --set warm_up=32 --out"
    )
    with tempfile.TemporaryDirectory() as place, files_that_run() as ways["`iomt train` to a checkpoint"]:
        application()([*words.split(), f"{place}/run"], standalone_mode=False)
    for way, files in ways.items():
        print(f"\n{way}: {len(files)} files", *(f"  {file}" for file in files), sep="\n")


if __name__ == "__main__":
    main()
