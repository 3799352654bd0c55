"""Escapes text from outside for Streamlit's Markdown, so that it is shown literally and has no effect."""

from __future__ import annotations

import re
from collections.abc import Iterable

import streamlit as st

# In CommonMark any ASCII punctuation mark after a backslash is literal.
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:^&=@\"'/?])")
# A bare address would still become a link; an invisible word joiner prevents that.
_ADDRESS = re.compile(r"(?i)(://|\bwww\.|@)")
# Streamlit replaces icons, emoji and arrows after parsing, when the backslashes are gone.
_CODES = re.compile(r"(:(?=[\w+/-]+:)|<(?=-)|-(?=[->])|[<>~](?==))")


def plain(text: str) -> str:
    """Markdown that shows `text` literally: no markup, no HTML, links, pictures, formulas, icons or emoji; one paragraph."""
    return _MARKS.sub(r"\\\1", _CODES.sub("\\1\u2060", _ADDRESS.sub("\\1\u2060", " ".join(text.split()))))


def show_errors(problems: Iterable[str]) -> None:
    """Shows each problem literally; it may quote a link, a file or a name."""
    for problem in problems:
        st.error(plain(problem), icon=":material/error:")
