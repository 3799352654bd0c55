"""Starts the dashboard: `python -m dashboard [streamlit options]`.

Before the server opens, its process imports the numerical libraries, runs every policy once and prepares the backend of the
networks, so that the first visitor does not wait.
"""

from __future__ import annotations

import gc
import sys

from streamlit.runtime.pages_manager import PagesManager
from streamlit.web.cli import main as streamlit

# Imported early for the first visitor; components need a running server and cannot be.
import iomt_core.charts.around
import iomt_core.charts.comparison
import iomt_core.charts.devices
import iomt_core.charts.fading
import iomt_core.charts.live
import iomt_core.charts.tasks
import iomt_core.charts.ward_map  # noqa: F401
from iomt_core.experiments.around import curve_computer
from iomt_core.nets.backend import backend_name
from iomt_core.paths import APP
from iomt_core.policies.registry import POLICIES
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.scenario.own_data import OwnDataStore
from iomt_core.training.catalogue import default_policy
from iomt_core.twin.northbound import play


def main() -> None:
    """Warms up, then starts Streamlit with the options given, for example `--server.port 8502`."""
    try:
        OwnDataStore.from_environment()
    except ScenarioError as error:
        sys.exit(f"error: {error}")
    curve_computer().start()
    # Each tensor operation releases the interpreter; a short switch interval keeps the server's thread from holding it long.
    sys.setswitchinterval(2e-4)
    backend_name()  # prepares it; a compiled backend takes some seconds the first time
    for policy in (*POLICIES, default_policy()):
        play(PRESETS["paper"], policy, 0).table()
    # Streamlit runs a full garbage collection after every run, which delays messages. Objects from the imports stay anyway;
    # scanning them took 120 ms in every run.
    gc.collect()
    gc.freeze()
    # `st.navigation` says this too, but too late for a first visitor whose link names a page.
    PagesManager.uses_pages_directory = False
    sys.argv = ["streamlit", "run", str(APP / "app.py"), *sys.argv[1:]]
    try:
        streamlit()
    finally:
        curve_computer().close()


if __name__ == "__main__":
    main()
