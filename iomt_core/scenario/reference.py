"""Tables of parameters for README and docs, generated from the scenario's metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from iomt_core.scenario import ASSUMED, PRESETS, Meta, metadata
from iomt_core.scenario.presets import SIGNALS


def markdown(headings: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table as Markdown."""
    cells = ([cell.replace("|", "\\|") for cell in row] for row in (headings, *rows))
    head, *lines = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([head, f"|{'---|' * len(headings)}", *lines])


def parameter_table() -> str:
    """Write all parameters as a Markdown table: field, symbol, default, allowed range, meaning, source."""
    rows = (
        (f"`{name}`", meta.symbol, _default(name, meta), _allowed(meta), meta.meaning, meta.source)
        for name, meta in metadata().items()
        if meta.group != "file"
    )
    return markdown(("field", "symbol", "default", "allowed", "meaning", "source"), rows)


def assumption_table() -> str:
    """Write the parameters that the paper leaves open as a Markdown table: field, symbol, assumed value, meaning."""
    rows = (
        (f"`{name}`", meta.symbol, _default(name, meta), meta.meaning)
        for name, meta in metadata().items()
        if meta.source == ASSUMED and meta.group != "file"
    )
    return markdown(("field", "symbol", "value", "meaning"), rows)


def signal_table() -> str:
    """Write the task kinds of the preset `hospital` as a Markdown table: window, bits, cycles, and the source of each."""
    rows = []
    for s in SIGNALS:
        bits = " to ".join(f"{end:,.0f}" for end in dict.fromkeys(s.bits))
        sources = (s.data_source, s.cycles_source)
        rows.append(
            (
                s.name,
                s.window,
                bits,
                sources[0],
                f"{s.cycles:.3g}",
                sources[1],
                f"{s.deadline * 1e3:g} ms",
                str(s.priority),
            )
        )
    heads = ("kind", "window", "bits", "source", "cycles", "source", "deadline (assumed)", "priority (assumed)")
    return markdown(heads, rows)


def _allowed(meta: Meta) -> str:
    if meta.low is None or meta.high is None:
        return "paper, log-distance"
    return f"{meta.show(meta.low)} to {meta.show(meta.high)}"


def _default(name: str, meta: Meta) -> str:
    value = getattr(PRESETS["paper"], name)
    if isinstance(value, tuple):
        return " to ".join(meta.show(x) for x in value)
    if isinstance(value, (int, float)):
        return meta.show(value)
    return "automatic" if value is None else str(value)
