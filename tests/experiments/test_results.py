"""The verdict on the paper's claim follows from the results of the runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from iomt_core.experiments.paper.results import OURS, results, seeds_text, verdict_table, verdicts
from iomt_core.experiments.statistics import difference_interval, mean_interval, share_interval
from iomt_core.metrics import METRICS


def manifest(ours: list[float], other: list[float]) -> dict[str, Any]:
    def entry(label: str, values: list[float]) -> dict[str, Any]:
        seeds = {
            str(n): dict.fromkeys(("gap", "cost", "mean_delay_s", "mean_energy_j"), v) for n, v in enumerate(values)
        }
        return {"kind": "paper", "label": label, "seeds": seeds}

    return {"policies": {OURS: entry("Ours", ours), "paper-qmix": entry("Other", other)}, "references": {}}


@pytest.mark.parametrize(
    ("ours", "other", "words", "best", "rank"),
    [
        ([1.0, 1.01, 1.02], [2.0, 2.01, 2.02], "better", "Ours", 1),
        ([2.0, 2.01, 2.02], [1.0, 1.01, 1.02], "worse", "Other", 2),
        ([1.0, 3.0], [1.1, 3.1], "not distinguishable", "Ours", 1),
        ([1.0], [2.0, 2.1], "not distinguishable", "Ours", 1),
    ],
)
def test_a_verdict_is_what_the_seeds_say(
    ours: list[float], other: list[float], words: str, best: str, rank: int
) -> None:
    for found in verdicts(manifest(ours, other)):
        assert (found.words, found.best, found.rank, found.policies) == (words, best, rank, 2)
    assert set(verdict_table(manifest(ours, other))["verdict"]) == {words}


def test_the_results_are_sorted_by_gap() -> None:
    assert results(manifest([2.0, 2.2], [1.0, 1.2]))["policy"].tolist() == [
        "Other, paper network",
        "Ours, paper network",
    ]


def test_few_seeds_are_listed_and_more_have_an_interval() -> None:
    assert seeds_text(METRICS["gap"], [0.3, 0.1, 0.2]) == "10.00, 20.00, 30.00 %"
    assert seeds_text(METRICS["mean_delay_s"], [0.004] * 5) == "4.000 ms (4.000 to 4.000)"


def test_intervals_are_students_and_clopper_and_pearsons() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 7))
    expected = stats.t.interval(0.95, 6, a.mean(), stats.sem(a))
    np.testing.assert_allclose(mean_interval(a.tolist()), expected)
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(difference_interval(a.tolist(), b.tolist()), (welch.low, welch.high))
    for found in (0, 2, 7):
        exact = stats.binomtest(found, 7).proportion_ci(0.95)
        np.testing.assert_allclose(share_interval(found, 7), (exact.low, exact.high))
