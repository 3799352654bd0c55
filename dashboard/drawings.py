"""Components of a style sheet and a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).parent


def component(name: str, root: str, css: Path, js: Path) -> Any:
    """A component of a style sheet and a script, with an empty element of class `root`; svg.js comes before the script."""
    script, style = ((path.read_text(encoding="utf-8")) for path in (js, css))
    script = f"{(_FOLDER / 'svg.js').read_text(encoding='utf-8')}\n{script}"
    return st.components.v2.component(name, html=f'<div class="{root}"></div>', css=style, js=script)
