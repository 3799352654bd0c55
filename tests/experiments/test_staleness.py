"""What a stale twin costs: nothing where nothing changes, more with age where it does, and the chart and files say the same."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from iomt_core.charts.staleness import cost_table, staleness_curve
from iomt_core.cli.commands import application
from iomt_core.experiments.comparison.sides import Side, compare
from iomt_core.experiments.staleness import (
    StalenessCost,
    play_on_twin,
    settings_grid,
    staleness_costs,
    staleness_notes,
    staleness_table,
)
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.twin.mapping.synchronisation import FRESH, Synchronisation

STILL = PRESETS["lecture"].changed(T=8)
MOVING = STILL.changed(speed=3.0, background=0.4, channel="log-distance", step_time=2.0)


@pytest.fixture(scope="module")
def costs() -> list[StalenessCost]:
    return list(staleness_costs(MOVING, "optimum-step", settings_grid(delays=(0, 1, 6)), 8))


def costs_of(s: Scenario, policy: str) -> list[StalenessCost]:
    return list(staleness_costs(s, policy, settings_grid(delays=(0, 3)), 4))


def test_a_stale_twin_costs_the_optimum_more_the_older_it_is(costs: list[StalenessCost]) -> None:
    fresh, young, old = costs
    assert (fresh.verdict, old.verdict) == ("the same", "worse")
    assert 0 < young.pairs["cost"].difference < old.pairs["cost"].difference
    assert old.pairs["return"].difference < 0
    assert 0 < young.staleness["capacity_error"] < old.staleness["capacity_error"]
    assert staleness_notes(MOVING, "optimum-step", costs) == []


def test_where_nothing_changes_it_costs_nothing_and_the_reason_is_said() -> None:
    costs = costs_of(STILL, "price-response")
    assert [cost.verdict for cost in costs] == ["the same", "the same"]
    words = " ".join(staleness_notes(STILL, "price-response", costs))
    assert "costs nothing here" in words
    assert "set background" in words
    assert "set speed" in words
    unused = staleness_notes(MOVING, "all-local", costs_of(MOVING, "all-local"))
    assert "although it is wrong (capacity error up to" in unused[0]
    close = MOVING.changed(channel="paper", background=0.0)
    assert "distance hardly changes a rate" in staleness_notes(close, "greedy", costs_of(close, "greedy"))[-1]


def test_a_stale_charge_ends_episodes_and_the_return_is_compared() -> None:
    empty = PRESETS["drained"].changed(T=10, Cap=5e-4)
    costs = costs_of(empty, "price-response")
    assert (costs[1].by, costs[1].verdict) == ("return", "worse")
    assert "compare the return" in staleness_notes(empty, "price-response", costs)[0]


def test_the_fresh_twin_is_the_policy_that_compare_plays() -> None:
    fresh = play_on_twin(MOVING, "greedy", FRESH, 4)
    plain = compare(Side(MOVING, "greedy"), Side(MOVING, "greedy"), 0, 4)
    assert fresh.sums["cost"] == pytest.approx(
        [x * w for x, w in zip(plain.pair("cost").a, fresh.sums["weight"], strict=True)]
    )


def test_the_chart_and_its_table_show_the_differences(costs: list[StalenessCost]) -> None:
    figure, table = staleness_curve(costs, "delay", Synchronisation(delay=1)), staleness_table(costs)
    cost = figure.data[0]
    assert list(cost.x) == [0, 1, 6]
    relative = 100 * table["cost_difference"] / table["cost_fresh"]
    assert list(cost.y) == pytest.approx(relative.tolist(), rel=1e-4)
    upper = [y + e for y, e in zip(cost.y, cost.error_y.array, strict=True)]
    assert upper == pytest.approx((100 * table["cost_high"] / table["cost_fresh"]).tolist(), rel=1e-4)
    assert "6 steps late" in figure.layout.meta["alt"]
    assert cost_table(costs)["verdict"].tolist()[::2] == ["the same (cost)", "worse (cost)"]


def test_the_command_writes_what_it_shows(tmp_path: Path) -> None:
    out = tmp_path / "costs.csv"
    words = ["twin", "staleness", "--scenario", "lecture", "--policy", "greedy", "--episodes", "2"]
    done = CliRunner().invoke(application(["twin"]), [*words, "--delay", "0,2", "--noise", "0,0.1", "--csv", str(out)])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out)
    assert table[["delay", "noise"]].to_numpy().tolist() == [[0, 0], [0, 0.1], [2, 0], [2, 0.1]]
    assert table["cost"].tolist() == pytest.approx(table["cost_fresh"] + table["cost_difference"])
    for option, value, problem in (
        ("--delay", "1,x", "allowed are whole numbers"),
        ("--noise", "x", "allowed are numbers"),
        ("--groups", "x", "groups = 'x' is not known"),
        ("--policy", "optimum", "plans the whole episode"),
        ("--interval", ",".join(map(str, range(1, 102))), "combinations are out of range"),
        ("--episodes", "0", "episodes = 0 is out of range: allowed is 1 to 1000"),
    ):
        with pytest.raises(ScenarioError, match=problem):
            CliRunner().invoke(application(["twin"]), [*words, option, value], catch_exceptions=False)
