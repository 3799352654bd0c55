"""What is said of the paper's claim follows from the runs, whichever way they went."""

from __future__ import annotations

from typing import Any

import pytest

from iomt_core.experiments.paper.reproduction import OURS, claim_table, comparison_table


def manifest(ours: list[float], other: list[float]) -> dict[str, Any]:
    def entry(label: str, values: list[float]) -> dict[str, Any]:
        seeds = {
            str(n): dict.fromkeys(("gap", "cost", "mean_delay_s", "mean_energy_j"), v) for n, v in enumerate(values)
        }
        return {"kind": "paper", "label": label, "seeds": seeds}

    return {"policies": {OURS: entry("Ours", ours), "paper-qmix": entry("Other", other)}, "beside": {}}


@pytest.mark.parametrize(
    ("ours", "other", "rank", "verdict"),
    [
        ([1.0, 1.01, 1.02], [2.0, 2.01, 2.02], "1 of 2", "better"),
        ([2.0, 2.01, 2.02], [1.0, 1.01, 1.02], "2 of 2", "worse"),
        ([1.0, 3.0], [1.1, 3.1], "1 of 2", "not distinguishable"),
        ([1.0], [1.1, 3.1], "1 of 2", "one seed: no verdict"),
    ],
)
def test_the_verdict_follows_from_the_seeds(ours: list[float], other: list[float], rank: str, verdict: str) -> None:
    table = claim_table(manifest(ours, other))
    assert table["metric"].tolist() == ["weighted cost", "delay", "energy"]
    assert set(table["best baseline"]) == {"Other"}
    assert set(table["SAE-MT-QMIX's rank"]) == {rank}
    assert set(table["verdict"]) == {verdict}


def test_without_baselines_nothing_is_claimed() -> None:
    assert claim_table({"policies": {}}).empty


def test_the_table_is_sorted_by_gap() -> None:
    table = comparison_table(manifest([2.0, 2.2], [1.0, 1.2]))
    assert table["policy"].tolist() == ["Other", "Ours"]
