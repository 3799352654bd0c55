"""Text that came from a person, escaped for Streamlit's Markdown so that it is shown literally and does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

import streamlit as st

# Every ASCII punctuation mark may stand behind a backslash in CommonMark; then it is itself and nothing more.
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:^&=@\"'/?])")
# A bare address would become a link all the same; a word joiner, which nobody sees, keeps it text.
_ADDRESS = re.compile(r"(?i)(://|\bwww\.|@)")
# Streamlit looks for icons, emoji and arrows in text that has been parsed already, where no backslash is left.
_CODES = re.compile(r"(:(?=[\w+/-]+:)|<(?=-)|-(?=[->])|[<>~](?==))")


def plain(text: str) -> str:
    """Markdown that shows `text` literally: no markup, no HTML, links, pictures, formulas, icons or emoji; one paragraph."""
    return _MARKS.sub(r"\\\1", _CODES.sub("\\1\u2060", _ADDRESS.sub("\\1\u2060", " ".join(text.split()))))


def show_errors(problems: Iterable[str], note: str = "") -> None:
    """Shows each problem literally, with `note` behind it; a problem may quote a link, a file or a name."""
    for problem in problems:
        st.error(f"{plain(problem)} {note}".strip(), icon=":material/error:")
