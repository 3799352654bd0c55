"""Where the lab's files are, in a checkout and when installed from a wheel.

In a checkout everything stands at its root. A wheel puts the app, its pages and the trained policies into the folder
`iomt_twin_lab` beside the packages, and runs and sweeps then go to the current directory.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent  # of a checkout, or site-packages
IN_CHECKOUT = (ROOT / "app.py").is_file()
APP = ROOT if IN_CHECKOUT else ROOT / "iomt_twin_lab"  # app.py, pages/, .streamlit/ and pretrained/
PRETRAINED = APP / "pretrained"
USER_FOLDERS = {"IOMT_RUNS": "runs", "IOMT_SWEEPS": "sweeps"}  # names by environment variable


def user_folder(variable: str) -> Path:
    """The absolute path of a folder for a user's own files.

    It is the value of the environment variable if that is set, else the folder of `USER_FOLDERS` at the root of a checkout,
    else that folder in the current directory.
    """
    return Path(os.environ.get(variable) or (ROOT if IN_CHECKOUT else Path()) / USER_FOLDERS[variable]).absolute()


def user_folder_variables() -> dict[str, str]:
    """The environment that makes a process with another current directory use the same folders."""
    return {variable: os.fspath(user_folder(variable)) for variable in USER_FOLDERS}
