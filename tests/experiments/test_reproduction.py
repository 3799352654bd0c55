"""What is said of the paper's claim follows from the runs, whichever way they went."""

from __future__ import annotations

from typing import Any

from iomt_core.experiments.paper.reproduction import OURS, comparison_table, findings


def manifest(ours: list[float], other: list[float]) -> dict[str, Any]:
    def entry(label: str, values: list[float]) -> dict[str, Any]:
        seeds = {
            str(n): dict.fromkeys(("gap", "cost", "mean_delay_s", "mean_energy_j"), v) for n, v in enumerate(values)
        }
        mean = sum(values) / len(values)
        return {
            "kind": "paper", "label": label, "seeds": seeds,
            "mean": {name: {"mean": mean, "ci95": None} for name in ("gap", "cost", "mean_delay_s", "mean_energy_j")},
        }  # fmt: skip

    return {"policies": {OURS: entry("Ours", ours), "paper-qmix": entry("Other", other)}, "beside": {}}


def test_a_clear_win_is_said() -> None:
    for sentence in findings(manifest([1.0, 1.01, 1.02], [2.0, 2.01, 2.02])):
        assert sentence.endswith("of all learned policies: yes.")


def test_a_loss_is_said() -> None:
    for sentence in findings(manifest([2.0, 2.01, 2.02], [1.0, 1.01, 1.02])):
        assert "no, ahead are Other." in sentence


def test_what_chance_can_do_is_said() -> None:
    for seeds in ([1.0, 3.0], [1.0]):
        assert all("chance" in sentence and "Other" in sentence for sentence in findings(manifest(seeds, [1.1, 3.1])))


def test_the_table_is_sorted_by_gap() -> None:
    table = comparison_table(manifest([2.0, 2.2], [1.0, 1.2]))
    assert table["policy"].tolist() == ["Other", "Ours"]
