"""Locations of the lab's files, in a checkout and after installation from a wheel.

In a checkout everything is at its root. A wheel puts the app, its pages and the trained policies into the folder
`iomt_twin_lab` next to the packages; runs, sweeps, answers, warehouses, own data and kept models are then in the current
directory.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent  # of a checkout, or site-packages
IN_CHECKOUT = (ROOT / "app.py").is_file()
APP = ROOT if IN_CHECKOUT else ROOT / "iomt_twin_lab"  # app.py, pages/, .streamlit/ and pretrained/
PRETRAINED = APP / "pretrained"
PAPER_FIGURES = PRETRAINED / "paper-figures"  # results behind the paper's figures
COUPLED_STEPS = PRETRAINED / "coupled-steps"  # results of the study of wards whose steps are coupled
# Names by environment variable.
USER_FOLDERS = {
    "IOMT_RUNS": "runs", "IOMT_SWEEPS": "sweeps", "IOMT_ANSWERS": "answers", "IOMT_WAREHOUSES": "warehouses",
    "IOMT_OWN_DATA": "own-data", "IOMT_MODELS": "models",
}  # fmt: skip
KEYS = "IOMT_KEYS"


def user_folder(variable: str) -> Path:
    """The absolute path of a folder for the user's own files.

    It is the value of the environment variable if that is set, otherwise the folder of `USER_FOLDERS` at the root of the
    checkout, or in the current directory if there is no checkout.
    """
    return Path(os.environ.get(variable) or (ROOT if IN_CHECKOUT else Path()) / USER_FOLDERS[variable]).absolute()


def keys_folder() -> Path:
    """The absolute path of the folder with the keys of data warehouses.

    It is the value of `IOMT_KEYS` if that is set, otherwise a folder of the person who runs the lab, never one of the lab:
    keys must not lie beside the data.
    """
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get(KEYS) or Path(data) / "iomt" / "keys").absolute()


def user_folder_variables() -> dict[str, str]:
    """Environment variables with which a process in another directory uses the same folders."""
    folders = {variable: os.fspath(user_folder(variable)) for variable in USER_FOLDERS}
    return {**folders, KEYS: os.fspath(keys_folder())}
