"""Text that came from a person, made fit for Streamlit's Markdown, so that it is shown as it stands and does nothing."""

from __future__ import annotations

import re

# Every ASCII punctuation mark may stand behind a backslash in CommonMark; then it is itself and nothing more.
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:^&=@\"'/?])")
# A bare address would become a link all the same; a word joiner, which nobody sees, keeps it text.
_ADDRESS = re.compile(r"(?i)(://|\bwww\.|@)")
# Streamlit looks for icons, emoji and arrows in text that has been parsed already, where no backslash is left.
_CODES = re.compile(r"(:(?=[\w+/-]+:)|<(?=-)|-(?=[->])|[<>~](?==))")


def plain(text: str) -> str:
    """Markdown that shows `text` literally: no markup, no HTML, links, pictures, formulas, icons or emoji; one paragraph."""
    return _MARKS.sub(r"\\\1", _CODES.sub("\\1\u2060", _ADDRESS.sub("\\1\u2060", " ".join(text.split()))))
