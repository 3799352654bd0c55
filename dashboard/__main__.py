"""Starts the dashboard: `python -m dashboard [streamlit options]`.

The numerical libraries are imported, every policy runs once and the networks' backend is made ready before the server opens, in
the server's own process, so that the first visitor does not wait for it.
"""

from __future__ import annotations

import gc
import os
import sys

# Every rerun is a thread of its own, and each would raise its own team of OpenMP workers for arrays far too small to
# share; read when torch loads, so it stands before the imports.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from streamlit.web.cli import main as streamlit

# For the first visitor's sake; the drawings register with the running server and must wait for it.
import iomt_core.charts.devices
import iomt_core.charts.fading
import iomt_core.charts.tasks
import iomt_core.charts.ward_map  # noqa: F401
from iomt_core.nets.backend import backend_name
from iomt_core.paths import APP
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import play


def main() -> None:
    """Warms up, then hands over to Streamlit; options are Streamlit's own, `--server.port 8502` for one."""
    # Each tensor operation lets go of the interpreter; a short turn keeps the server's own thread from holding it long.
    sys.setswitchinterval(2e-4)
    backend_name()  # makes it ready: a compiled one takes some seconds the first time
    for policy in POLICIES:
        play(PRESETS["paper"], policy, 0).table()
    # Streamlit collects garbage in full after every run, and holds back what is not sent yet while it does. What the
    # imports left behind is here to stay; looking through it again each time took 120 ms a run.
    gc.collect()
    gc.freeze()
    sys.argv = ["streamlit", "run", str(APP / "app.py"), *sys.argv[1:]]
    streamlit()


if __name__ == "__main__":
    main()
