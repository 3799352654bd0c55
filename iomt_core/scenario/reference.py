"""Tables of parameters for README and docs, generated from the scenario's metadata."""

from __future__ import annotations

from iomt_core.scenario import ASSUMED, PRESETS, Meta, metadata


def parameter_table() -> str:
    """Write all parameters as a Markdown table: field, symbol, default, allowed range, meaning, source."""
    lines = ["| field | symbol | default | allowed | meaning | source |", "|---|---|---|---|---|---|"]
    paper = PRESETS["paper"]
    for name, meta in metadata().items():
        if meta.group == "file":
            continue
        value = getattr(paper, name)
        low, high = meta.low, meta.high
        allowed = (
            f"{meta.show(low)} to {meta.show(high)}" if low is not None and high is not None else "paper, log-distance"
        )
        cells = (f"`{name}`", meta.symbol, _default(value, meta), allowed, meta.meaning, meta.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def assumption_table() -> str:
    """Write the parameters that the paper leaves open as a Markdown table: field, symbol, assumed value, meaning."""
    lines = ["| field | symbol | value | meaning |", "|---|---|---|---|"]
    paper = PRESETS["paper"]
    for name, meta in metadata().items():
        if meta.source == ASSUMED and meta.group != "file":
            cells = (f"`{name}`", meta.symbol, _default(getattr(paper, name), meta), meta.meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _default(value: object, meta: Meta) -> str:
    if isinstance(value, tuple):
        return " to ".join(meta.show(x) for x in value)
    if isinstance(value, (int, float)):
        return meta.show(value)
    return "automatic" if value is None else str(value)
