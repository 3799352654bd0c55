"""The study of coupled steps: a plan that can be stopped anywhere; intervals contain the chance of seeds and of episodes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iomt_core.experiments.coupled.runs import Run, compute, planned, read_results
from iomt_core.experiments.coupled.table import comparisons, crossed_interval, gap_table
from iomt_core.experiments.coupled.wards import ARMS, FORMULAS, REFERENCES, WARDS
from iomt_core.experiments.run_files import REFERENCE, AbandonedError, compute_all, pending
from iomt_core.experiments.statistics import mean_interval
from iomt_core.runs.directory import STOP
from iomt_core.training.general_wards import outside_range

EPISODES = 20


def result(run: Run, gap: float = 0.05, noise: float = 0.01) -> dict[str, Any]:
    generator = np.random.default_rng([run.seed, sum(map(ord, run.ward + run.arm))])

    def figures(mean: float) -> dict[str, list[float]]:
        return {name: list(mean + noise * generator.standard_normal(EPISODES)) for name in ("gap", "return_gap")}

    found = (
        {"policies": {name: figures(0.08 if name in FORMULAS else 0.02) for name in REFERENCES}}
        if run.arm == REFERENCE
        else {"figures": figures(gap)}
    )
    return {**vars(run), "recipe": run.recipe, "battery_price": 1.0, "core_seconds": 10.0, **found}


def test_the_plan_has_every_algorithm_on_every_ward_and_ends_early_at_a_whole_seed() -> None:
    runs = planned(5)
    assert len({run.file for run in runs}) == len(runs)
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    for ward in WARDS:
        for arm in ("sae-mt-qmix", "qmix", "vdn", "separate"):
            assert {run.seed for run in runs if (run.arm, run.ward) == (arm, ward)} == set(range(5))
    assert {run.ward for run in runs if run.arm == "unheard"} == {"background", "moving", "bursts"}
    assert all(run.seconds({}) <= 150 for run in runs)


@pytest.mark.parametrize("ward", WARDS.values(), ids=list(WARDS))
def test_the_wards_are_in_the_range_of_the_networks_but_for_speed_and_the_smallest_battery(ward: Any) -> None:
    never_drawn = {"moving": "speed = 1.5 m/s", "drained-20": "Cap = 0.3 mJ"}
    words = outside_range(ward.scenario)
    assert words.partition("this ward has ")[2] == never_drawn.get(ward.name, "")


def test_only_what_is_missing_or_differs_is_computed(tmp_path: Path) -> None:
    runs = planned(1)
    with ThreadPoolExecutor(2) as pool:
        list(compute_all(runs[:5], tmp_path, pool, 2, lambda run, _: result(run), {}))
    old = runs[5]
    (tmp_path / old.file).write_text(json.dumps({**result(old), "recipe": "another"}))
    (tmp_path / "notes.json").write_text("[]")
    assert pending(runs, read_results(tmp_path)) == runs[5:]


def test_a_run_is_abandoned_when_it_should_stop(tmp_path: Path) -> None:
    (tmp_path / STOP).touch()
    with pytest.raises(AbandonedError):
        compute(Run("start", "background", 0), tmp_path / STOP)


def test_a_clear_difference_is_found_and_none_is_not(tmp_path: Path) -> None:
    for run in planned(5):
        gap = {"sae-mt-qmix": 0.05, "qmix": 0.05}.get(run.arm, 0.07)
        (tmp_path / run.file).write_text(json.dumps(result(run, gap)))
    found = {(one.ward, one.b): one.verdict for one in comparisons(read_results(tmp_path))}
    assert {verdict for (_, rival), verdict in found.items() if rival in ("vdn", "start", *FORMULAS)} == {"better"}
    assert [verdict for (_, rival), verdict in found.items() if rival == "qmix"].count("not distinguishable") >= 4
    assert list(gap_table(read_results(tmp_path))["policy"]) == [*REFERENCES, *(arm.label for arm in ARMS.values())]


def test_the_interval_holds_the_chance_of_seeds_and_of_episodes() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        rows = 0.5 * generator.standard_normal((5, 1)) + generator.standard_normal((1, 20))
        rows = rows + 0.3 * generator.standard_normal((5, 20))
        low, high = crossed_interval(rows.tolist()) or (0.0, 0.0)
        hits += low <= 0 <= high
    assert hits >= 0.93 * 400
    assert crossed_interval([[1.0, 2.0, 4.0]]) == mean_interval([1.0, 2.0, 4.0])
    assert crossed_interval([[1.0]]) is None
