"""The results of the shipped policies as Markdown, from the manifest that `make pretrained` writes."""

from __future__ import annotations

from pathlib import Path

from iomt_core.experiments.paper.reproduction import claim_table, median, read_manifest
from iomt_core.places import PRETRAINED
from iomt_core.scenario import ScenarioError

HEAD = "| policy | gap to the bound | gap of each training seed | cost | delay | energy |\n|---|---|---|---|---|---|"


def results_table(place: Path = PRETRAINED) -> str:
    """Every policy on the paper's ward, the smallest gap first. Figures of trained policies are medians over their seeds.

    Raises `ScenarioError` if there is no manifest.
    """
    manifest = read_manifest(place)
    if manifest is None:
        path = place / "manifest.json"
        raise ScenarioError(f"manifest = {str(path)!r} cannot be read: allowed is what `make pretrained` writes.")
    policies = [(name, [figures]) for name, figures in manifest["beside"].items()]
    for entry in manifest["policies"].values():
        label = entry["label"] if entry["kind"] == "paper" else f"{entry['label']}, general network"
        policies.append((f"**{label}**", list(entry["seeds"].values())))
    rows = []
    for name, seeds in sorted(policies, key=lambda policy: median(policy[1], "gap")):
        each = ", ".join(f"{gap * 100:.1f}" for gap in sorted(seed["gap"] for seed in seeds)) if "**" in name else ""
        cells = (
            name, f"{median(seeds, 'gap') * 100:.2f} %", each, f"{median(seeds, 'cost'):.4f}",
            f"{median(seeds, 'mean_delay_s') * 1e3:.2f} ms", f"{median(seeds, 'mean_energy_j') * 1e6:.2f} µJ",
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([HEAD, *rows])


def claims_as_markdown(place: Path = PRETRAINED) -> str:
    """The table of `claim_table` as Markdown."""
    manifest = read_manifest(place)
    table = claim_table(manifest or {"policies": {}})
    lines = [table.columns, ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
