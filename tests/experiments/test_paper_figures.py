"""The paper's figures: a plan that can be stopped anywhere, results that are what was planned, verdicts that follow from them."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iomt_core.experiments.paper.claims import CLAIMS, level_from, run_table, verdict, verdict_table, verdicts
from iomt_core.experiments.paper.figure_runs import (
    Plan,
    Run,
    compute,
    progress,
    read_results,
    read_table_iii,
    write_table_iii,
)
from iomt_core.experiments.paper.figures import ARMS, CENTRE, FIGURES, TABLE_III, Ward
from iomt_core.experiments.run_files import REFERENCE, AbandonedError, compute_all
from iomt_core.paths import PAPER_FIGURES
from iomt_core.runs.directory import STOP
from iomt_core.scenario import ScenarioError
from tests.paper_results import all_runs, noise, result, results

SIZES = read_table_iii(PAPER_FIGURES)


def write(folder: Path, runs: Sequence[Run]) -> None:
    for run in runs:
        (folder / run.file).write_text(json.dumps(result(run)))


def test_the_plan_fits_its_budget_and_has_every_algorithm_at_every_point() -> None:
    runs = all_runs()
    assert len(set(runs)) == len(runs)
    seconds = [run.seconds({}) for run in runs]
    assert max(seconds) <= 180
    assert sum(seconds) <= 12 * 3600
    for figure in FIGURES.values():
        for arm in figure.arms:
            for ward in figure.wards_of(ARMS[arm]):
                assert {run.seed for run in runs if (run.arm, run.ward) == (arm, ward)} == {0, 1, 2}
    assert {len(figure.wards) for figure in FIGURES.values() if figure.parameter} == {5}


def test_every_figure_has_its_first_seed_before_any_second_one() -> None:
    runs = all_runs()
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds)
    ends = [n for n, run in enumerate(runs) if run.seed == 0 and run.ward in (CENTRE, Ward(tasks=4), Ward(users=12))]
    between = [n for n, run in enumerate(runs) if run.seed == 0 and run.ward in (Ward(tasks=6), Ward(users=10))]
    assert max(ends) < min(n for n in between if runs[n].arm != REFERENCE)


@pytest.fixture(scope="module")
def twice() -> tuple[dict[str, Any], dict[str, Any]]:
    run = Run("mt-pdqn", Ward(4, 4, 2), 1, 64)
    return compute(run), compute(run)


def test_a_run_is_determined_by_its_plan(twice: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, other = ({name: value for name, value in found.items() if "seconds" not in name} for found in twice)
    assert one == other
    assert one["figures"]["gap"] > 0
    assert one["held_out"]["episodes"][0] == 0
    assert one["held_out"]["episodes"][-1] == one["training"]["episodes"][-1] == 64
    assert len(json.dumps(one)) < 3000


def test_a_run_is_abandoned_when_it_should_stop(tmp_path: Path) -> None:
    (tmp_path / STOP).touch()
    with pytest.raises(AbandonedError):
        compute(Run("mt-pdqn", Ward(tasks=4, servers=2), 1, 64), tmp_path / STOP)


def quick(run: Run, stop: Path | None = None) -> dict[str, Any]:
    if run.arm == "qmix":
        raise ValueError("this one fails")
    return result(run)


def test_a_stopped_plan_continues_and_a_failure_stops_nothing(tmp_path: Path) -> None:
    runs = Plan(seeds=1).runs([FIGURES["figure-12"]])
    with ThreadPoolExecutor(2) as pool:
        first = [event.run for event, _ in zip(compute_all(runs, tmp_path, pool, 2, quick, {}), range(5), strict=False)]
        known = progress(runs, read_results(tmp_path))
        assert set(first) - {run for run in runs if run.arm == "qmix"} <= set(known.done)
        rest = [run for run in runs if run not in known.done]
        events = list(compute_all(rest, tmp_path, pool, 2, quick, {}))
    assert {event.run for event in events} == set(rest)
    assert {event.run.arm for event in events if event.error} == {"qmix"}
    left = progress(runs, read_results(tmp_path))
    assert {run.arm for run in left.missing} == {"qmix"}
    assert not (tmp_path / STOP).exists()


def test_no_run_begins_that_would_not_end_in_time(tmp_path: Path) -> None:
    long, short = Run("sae-mt-qmix", Ward(users=12), 0, 1600), Run("pa-ddpg", Ward(tasks=4), 0, 1600)
    between = (long.seconds({}) + short.seconds({})) / 2
    with ThreadPoolExecutor(1) as pool:
        first = next(event.run for event in compute_all([long, short], tmp_path, pool, 1, quick, {}, seconds=between))
        assert first == short
        assert list(compute_all([long, short], tmp_path, pool, 1, quick, {}, seconds=1.0)) == []


def test_runs_under_way_end_when_the_plan_is_stopped(tmp_path: Path) -> None:
    stopped = threading.Event()

    def waits(run: Run, stop: Path | None = None) -> dict[str, Any]:
        assert stop is not None
        stopped.set()
        while not stop.exists():
            threading.Event().wait(0.01)
        raise AbandonedError

    with ThreadPoolExecutor(2) as pool:
        assert list(compute_all(all_runs(1), tmp_path, pool, 2, waits, {}, stop=stopped.is_set)) == []
    assert read_results(tmp_path) == {}


def test_other_settings_are_noticed_and_other_files_are_left_out(tmp_path: Path) -> None:
    runs = Plan(seeds=1).runs([FIGURES["figure-8"]])
    write(tmp_path, runs[:4])
    (tmp_path / runs[4].file).write_text(json.dumps(result(replace(runs[4], seed=7))))
    (tmp_path / runs[5].file).write_text('{"arm": ')
    (tmp_path / runs[6].file).write_text(json.dumps({**result(runs[6]), "users": "8"}))
    (tmp_path / runs[0].file).write_text(json.dumps({**result(runs[0]), "recipe": "another"}))
    now = progress(runs, read_results(tmp_path))
    assert list(now.done) == runs[1:4] == list(now.other_code)
    assert (list(now.outdated), len(now.missing)) == (runs[:1], len(runs) - 4)


def test_a_folder_has_runs_of_one_length(tmp_path: Path) -> None:
    Plan(64, 1).save(tmp_path)
    Plan(96, 2).save(tmp_path)
    write(tmp_path, Plan(96, 1).runs([FIGURES["figure-5"]]))
    with pytest.raises(ScenarioError, match="episodes = 64 cannot be used"):
        Plan(64, 1).save(tmp_path)
    Plan(96, 1).save(tmp_path)
    assert Plan.of(tmp_path) == Plan(96, 2)
    with pytest.raises(ScenarioError, match="seeds = 21 is out of range: allowed is 1 to 20"):
        Plan(seeds=21)


def factor(run: Run, name: str) -> float:
    """What the paper claims: its algorithms are ahead, more resources help, more users cost."""
    ahead = {"mpmt-dqn": 0.8, "mpmt-dqn-paper": 0.85, "pa-ddpg": 0.9, "sae-mt-qmix": 0.6, "qmix": 0.7}.get(run.arm, 1.0)
    behind = 1.3 if run.arm == "sae-mt-qmix-paper" else 1.0
    ward = run.ward
    return ahead * behind * (ward.users / 8) ** 0.5 * (4 / ward.servers) ** 0.5 * noise(run)


def test_verdicts_follow_from_the_results_and_turn_with_them() -> None:
    runs = all_runs()
    found = {one.words: one.verdict for one in verdicts(results(runs, factor), SIZES, 3, "figure-12")}
    assert found["SAE-MT-QMIX has a lower mean delay than QMIX."] == "holds"
    assert found["With more servers the mean delay of SAE-MT-QMIX falls."] == "holds"
    assert found["SAE-MT-QMIX as printed has a lower mean delay than QMIX."] == "does not hold"
    turned = verdicts(results(runs, lambda run, name: 1 / factor(run, name)), SIZES, 3, "figure-12")
    swap = {"holds": "does not hold", "does not hold": "holds"}
    assert {one.words: one.verdict for one in turned} == {words: swap[verdict] for words, verdict in found.items()}
    same = verdicts(results(runs), SIZES, 3, "figure-13")
    assert {one.verdict for one in same} == {"cannot be told"}


def test_without_runs_nothing_is_claimed_and_one_seed_tells_nothing() -> None:
    assert {one.verdict for one in verdicts({}, {}, 3)} == {"not yet run"}
    one_seed = [one for one in verdicts(results(all_runs(1), factor), SIZES, 1) if one.figure != TABLE_III]
    assert {one.verdict for one in one_seed} == {"cannot be told"}
    assert all(one.runs == one.needed and one.interval is None and one.estimate_words for one in one_seed)
    table = verdict_table(verdicts({}, {}, 3))
    assert set(table["figure"]) == {figure.label for figure in FIGURES.values()}


def test_a_claim_compares_what_both_have() -> None:
    claim = next(one for one in CLAIMS if one.words.startswith("MPMT-DQN as printed"))
    runs = [run for run in all_runs() if (run.arm, run.ward) in set(claim.needed)]
    known = results(runs, factor)
    assert verdict(claim, known, 3).runs == len(runs)
    lost = {key: value for key, value in known.items() if key[2] != 1}
    assert len(verdict(claim, lost, 3).seeds) == 2


def test_a_curve_is_level_from_where_it_stays_near_its_end() -> None:
    x = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    assert level_from({"episodes": x, "return": [0, 50, 99, 100, 101, 100]}) == 20
    assert level_from({"episodes": x, "return": [0, 99, 50, 100, 100, 100]}) == 30
    assert level_from({"episodes": x, "return": [7, 7, 7, 7, 7, 7]}) == 0


def test_all_runs_are_in_the_table() -> None:
    runs = all_runs(1)
    table = run_table(results(runs))
    assert len(table) == sum(5 if run.arm == REFERENCE else 1 for run in runs)
    assert {"policy", "users", "tasks", "servers", "seed", "mean_delay_s", "recipe"} <= set(table)


def test_the_shipped_results_are_complete_json_and_table_iii_is_counted_anew(tmp_path: Path) -> None:
    write_table_iii(tmp_path)
    assert read_table_iii(tmp_path) == SIZES
    files = [path for path in PAPER_FIGURES.glob("*.json") if path.name not in ("plan.json", "table-3.json")]
    assert len(read_results(PAPER_FIGURES)) == len(files)
    assert sum(path.stat().st_size for path in PAPER_FIGURES.glob("*.json")) < 1_000_000


def test_a_run_that_is_too_short_bears_no_number_of_iterations_out() -> None:
    for episodes, expected in ((1500, "cannot be told"), (2400, "holds")):
        runs = Plan(episodes).runs([FIGURES["figure-5"]])
        found = verdicts(results(runs), SIZES, 3, "figure-5")
        assert next(one.verdict for one in found if "2,000" in one.words) == expected
