"""What more of a resource would save is what the certified bound of a ward with more of it gains."""

from __future__ import annotations

import math

import pytest

from iomt_core.charts.savings import lowest_cost, saving_bars, saving_table, savings, worthless
from iomt_core.rollout import draw_episodes
from iomt_core.scenario import PRESETS, Scenario, WorkloadTask
from iomt_core.scenario.tables import with_workload

WARDS = {
    "paper": PRESETS["paper"].changed(T=5),
    "batteries": PRESETS["drained"].changed(T=5, Cap=2.5e-4),
    "deadlines": PRESETS["paper"].changed(T=5, T_max=4e-3),
    "both": PRESETS["drained"].changed(T=5, T_max=5e-3, Cap=2.5e-4),
}
NUDGE = 5e-3


def bound(s: Scenario) -> float:
    dual = draw_episodes(s, 0).dual
    return float(dual.return_bound[0])  # type: ignore[union-attr]


@pytest.mark.parametrize("name", list(WARDS))
def test_prices_are_the_slopes_of_the_bound(name: str) -> None:
    s = WARDS[name]
    episodes = draw_episodes(s, 0)
    found, total = savings(episodes), lowest_cost(episodes)
    for kind, parameter in (
        ("battery", "Cap"),
        ("cpu", "F_k"),
        ("bandwidth", "B_k"),
        ("own", "F_i"),
        ("deadline", "T_max"),
    ):
        value = getattr(s, parameter)
        changes = [{parameter: value * (1 + sign * NUDGE)} for sign in (1, -1)]
        if kind == "deadline":  # the scale of delay in the cost stays
            changes = [
                change | {"alpha_T": s.alpha_T * (1 + sign * NUDGE)}
                for change, sign in zip(changes, (1, -1), strict=True)
            ]
        up, down = (bound(s.changed(**change)) for change in changes)
        slope, price = (up - down) / (2 * NUDGE), sum(one.price for one in found if one.kind == kind) * value
        assert price == pytest.approx(slope, rel=0.15, abs=2e-3 * total), kind


def test_bars_and_table_are_in_percent_of_the_lowest_cost_and_in_return() -> None:
    episodes = draw_episodes(WARDS["both"], 0)
    found, total = savings(episodes), lowest_cost(episodes)
    figures, table = saving_bars(found), saving_table(found).set_index("resource")
    assert len(figures) == 4
    assert worthless(found) == []
    battery, deadline, servers, own = figures
    assert "0.01 mJ more charge" in battery.layout.title.text
    assert "0.1 ms later deadline" in deadline.layout.title.text
    assert [trace.name for trace in servers.data] == ["0.1 GHz more CPU", "100 MHz more bandwidth"]
    assert "10 MHz more own CPU" in own.layout.title.text
    for n, user in enumerate(WARDS["both"].user_numbers):
        row = table.loc[f"battery of user {user}"]
        assert row["more of it"] == "0.01 mJ"
        assert row["return gained"] == pytest.approx(row["return per unit"] * 0.01, rel=1e-2)
        assert battery.data[0].y[n] == pytest.approx(100 * row["return gained"] / total, rel=1e-2)
        assert "% of the lowest possible cost" in battery.data[0].hovertext[n]


def test_what_is_not_short_is_worth_nothing_and_said_so() -> None:
    found = savings(draw_episodes(WARDS["paper"], 0))
    assert len(saving_bars(found)) == 2
    assert worthless(found) == ["a larger battery", "a later deadline"]
    assert {one.price for one in found if one.kind in ("battery", "deadline")} == {0.0}


def test_a_ward_without_tasks_has_no_savings() -> None:
    tasks = (WorkloadTask(step=2, user=1, D=4e5, C=1e5, P=1),)
    some = savings(draw_episodes(with_workload(PRESETS["lecture"].changed(T=3), tasks), 0))
    assert some
    assert all(math.isfinite(one.percent) for one in some)
    assert len(saving_table([])) == 0
    assert saving_bars([]) == ()
