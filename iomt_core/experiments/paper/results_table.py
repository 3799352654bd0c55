"""The results of the shipped policies as Markdown, from the manifest that `make pretrained` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iomt_core.experiments.paper.reproduction import read_manifest
from iomt_core.scenario import ScenarioError
from iomt_core.training.catalogue import PRETRAINED

HEAD = "| policy | seeds | gap to the bound | cost | delay | energy |\n|---|---|---|---|---|---|"


def results_table(place: Path = PRETRAINED) -> str:
    """Every policy on the paper's ward, the closest to the bound first. Raises `ScenarioError` without a manifest."""
    manifest = read_manifest(place)
    if manifest is None:
        path = place / "manifest.json"
        raise ScenarioError(f"manifest = {str(path)!r} cannot be read: allowed is what `make pretrained` writes.")
    rows = [_trained(entry) for entry in manifest["policies"].values() if entry["kind"] == "paper"]
    rows += [_general(entry) for entry in manifest["policies"].values() if entry["kind"] == "general"]
    rows += [_heuristic(name, figures) for name, figures in manifest["beside"].items()]
    return "\n".join([HEAD, *(text for _, text in sorted(rows))])


def _trained(entry: Mapping[str, Any]) -> tuple[float, str]:
    mean = {name: _interval(figure) for name, figure in entry["mean"].items()}
    words = (
        f"**{entry['label']}**", str(len(entry["seeds"])), _words(mean["gap"], 100, 2, " %"), _words(mean["cost"], 1, 4, ""),
        _words(mean["mean_delay_s"], 1e3, 2, " ms"), _words(mean["mean_energy_j"], 1e6, 2, " µJ"),
    )  # fmt: skip
    return mean["gap"][0], _row(*words)


def _general(entry: Mapping[str, Any]) -> tuple[float, str]:
    gap, row = _trained(entry)
    return gap, row.replace(entry["label"], f"{entry['label']}, one network for any ward")


def _heuristic(name: str, figures: Mapping[str, float]) -> tuple[float, str]:
    words = (f"{figures['gap'] * 100:.2f} %", f"{figures['cost']:.4f}", f"{figures['mean_delay_s'] * 1e3:.2f} ms",
             f"{figures['mean_energy_j'] * 1e6:.2f} µJ")  # fmt: skip
    return figures["gap"], _row(name, "", *words)


def _interval(figure: Mapping[str, Any]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95 % interval where there are several seeds."""
    ends = figure["ci95"]
    return figure["mean"], None if ends is None else (ends[1] - ends[0]) / 2


def _words(figure: tuple[float, float | None], factor: float, digits: int, unit: str) -> str:
    middle, half = figure
    text = f"{middle * factor:.{digits}f}"
    return f"{text}{unit}" if half is None else f"{text} ± {half * factor:.{digits}f}{unit}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
