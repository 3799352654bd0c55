"""What drawings show is what the ward's record says, in the units that their axes name."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

from iomt_core.charts.devices import price_bars, used_shares, utilisation
from iomt_core.charts.fading import fading
from iomt_core.charts.forest import episode_pairs, flow_map
from iomt_core.charts.inspection import share_bars
from iomt_core.charts.tables import delay_table, price_table
from iomt_core.charts.tasks import alternatives, delay_bars, kind_costs
from iomt_core.experiments.comparison.sides import Side, compare
from iomt_core.scenario import PRESETS, Scenario, WorkloadTask
from iomt_core.scenario.tables import with_workload
from iomt_core.twin.northbound import play, why

EDGES = {
    "paper": PRESETS["paper"],
    "hospital": PRESETS["hospital"],
    "least": PRESETS["paper"].changed(users=1, tasks=1, servers=1),
    "many": PRESETS["paper"].changed(users=16, tasks=16, servers=8, T=2),
}


def values(figure: go.Figure) -> list[list[float]]:
    return [list(trace.y) for trace in figure.data]


@pytest.fixture(params=list(EDGES))
def ward(request: pytest.FixtureRequest) -> Scenario:
    return EDGES[request.param]


def test_utilisation_is_the_used_share_in_percent(ward: Scenario) -> None:
    record = play(ward, "optimum", 0)
    cpu, band, own = (100 * share[1] for share in used_shares(record))
    servers, users = utilisation(record, 1)
    assert values(servers) == [pytest.approx(cpu.tolist(), rel=1e-5), pytest.approx(band.tolist(), rel=1e-5)]
    assert values(users) == [pytest.approx(own.tolist(), rel=1e-5)]


def test_shadow_prices_are_those_of_the_table(ward: Scenario) -> None:
    record = play(ward, "optimum", 0)
    prices = price_table(record, 1).set_index("resource")["cost saved (% of the step's, per GHz)"]
    (cpu, band), (own,) = (values(figure) for figure in price_bars(record, 1))
    for k in range(ward.servers):
        assert cpu[k] == pytest.approx(prices[f"CPU of server {k + 1}"], abs=1e-4)
        assert band[k] == pytest.approx(prices[f"bandwidth of server {k + 1}"], abs=1e-4)
    for u in range(ward.users):  # drawn for 10 MHz more
        assert own[u] == pytest.approx(prices[f"own CPU of user {u + 1}"] / 100, abs=1e-4)


def test_a_step_in_which_nobody_has_a_task_has_no_prices() -> None:
    tasks = tuple(WorkloadTask(step=step, user=1, D=4e5, C=1e5, P=1) for step in (1, 3))
    record = play(with_workload(PRESETS["lecture"].changed(T=3), tasks), "optimum", 0)
    assert [len(price_bars(record, row)) for row in range(3)] == [2, 0, 2]
    assert [len(price_table(record, row)) > 0 for row in range(3)] == [True, False, True]


def test_alternatives_are_in_milliseconds_and_microjoules_and_the_chosen_one_is_marked(ward: Scenario) -> None:
    answer = why(play(ward, "greedy", 0), "greedy", "own", 1, 1, 1)
    frame, (delay, energy) = answer.alternatives, alternatives(answer.alternatives)
    assert values(delay) == [pytest.approx((frame["delay_s"] * 1e3).tolist(), rel=1e-5)]
    assert values(energy) == [pytest.approx((frame["energy_j"] * 1e6).tolist(), rel=1e-5)]
    assert [n for n, name in enumerate(delay.data[0].x) if "chosen" in name] == [answer.chosen]


def test_delays_are_those_of_the_table_slowest_first_and_a_click_sends_the_task(ward: Scenario) -> None:
    record = play(ward, "optimum", 0)
    table = record.table()
    table = table[table["step"] == 2].sort_values("delay_s", ascending=False, kind="stable")
    figure = delay_bars(record, 1)
    execution, transmission = {}, figure.data[-1]
    for trace in figure.data[:-1]:
        execution |= dict(zip(trace.x, trace.y, strict=True))
    total = [execution[name] + tx for name, tx in zip(transmission.x, transmission.y, strict=True)]
    assert total == pytest.approx((table["delay_s"] * 1e3).tolist(), rel=1e-4)
    assert [tuple(point) for point in transmission.customdata] == [
        tuple(row) for row in table[["step", "user", "task"]].to_numpy().tolist()
    ]
    assert delay_table(record, 1)["delay (ms)"].tolist() == pytest.approx(total, abs=2e-4)


def test_a_kind_keeps_its_colour_where_others_are_missing() -> None:
    table = play(PRESETS["hospital"], "greedy", 0).table()
    last = table["kind"].cat.categories[-1]
    colours = {
        name: kind_costs(part).data[0].marker.color[-1]
        for name, part in (("all", table), ("one", table[table["kind"] == last]))
    }
    assert colours["all"] == colours["one"]


def test_shares_are_in_percent_of_their_device() -> None:
    frame = pd.DataFrame(
        {
            "task": [1, 2], "choice": [0, 3], "cpu_requested": [0.2, 0.5], "cpu_granted": [0.2, 0.25],
            "bandwidth_requested": [float("nan"), 0.1], "bandwidth_granted": [float("nan"), 0.05],
        }
    )  # fmt: skip
    drawn = share_bars(frame, picked=2)
    assert values(drawn, 0) == [[20, 50], [20, 25]]
    assert values(drawn, 1) == [[None, 10], [None, 5]]


@pytest.mark.parametrize("bandwidth", [1e3, 77e6, 1e9])
@pytest.mark.parametrize("beta", [1e4, 1e10, 1e16])
def test_the_fading_view_is_a_density_around_its_expectation(bandwidth: float, beta: float) -> None:
    figure = fading(bandwidth, beta, "a link")
    (curve,), (mean,) = figure.data, figure.layout.shapes
    x, y = curve.x, curve.y
    area = sum((b - a) * (p + q) / 2 for a, b, p, q in zip(x, x[1:], y, y[1:], strict=False))
    assert area == pytest.approx(1, abs=0.02)
    assert x[0] < mean.x0 == mean.x1 < x[-1]


def test_episode_pairs_stand_between_the_ends_of_their_axis_with_different_ticks() -> None:
    found = compare(Side(PRESETS["lecture"], "optimum"), Side(PRESETS["lecture"], "optimum", "optimal"), 0, 2)
    for pair in found.pairs:
        drawn = episode_pairs(pair)
        every = [value for side in drawn["sides"] for value in side["values"]]
        assert drawn["low"] < min(every, default=0) <= max(every, default=0) < drawn["high"]
        assert len(set(drawn["ticks"])) == len(drawn["ticks"]) >= 2


def test_the_map_of_flows_tells_counts() -> None:
    counts = pd.DataFrame([[12, 3], [0, 5]], index=["own device", "server 1"], columns=["own device", "server 1"])
    html = flow_map(counts)
    assert [html.count(f">{n}</td>") for n in (12, 3, 0, 5)] == [1, 1, 1, 1]
