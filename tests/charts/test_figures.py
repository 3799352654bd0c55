"""What drawings show is what the ward's record says, in the units that their axes name."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

from iomt_core.charts.devices import used_shares, utilisation
from iomt_core.charts.fading import fading
from iomt_core.charts.forest import episode_pairs, flow_map, forest
from iomt_core.charts.inspection import by_device, regret_map, share_bars
from iomt_core.charts.tables import alternatives_table, delay_table, kind_table
from iomt_core.charts.tasks import alternatives, delay_bars, kind_bars
from iomt_core.experiments.comparison.sides import Comparison, Side, compare
from iomt_core.scenario import PRESETS, Scenario
from iomt_core.twin.northbound import play, why
from iomt_core.twin.northbound_inspect import regrets

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


def test_alternatives_are_in_milliseconds_and_microjoules_and_the_chosen_one_is_marked(ward: Scenario) -> None:
    answer = why(play(ward, "greedy", 0), "greedy", "own", 1, 1, 1)
    frame, (delay, energy) = answer.alternatives, alternatives(answer.alternatives)
    assert values(delay) == [pytest.approx((frame["delay_s"] * 1e3).tolist(), rel=1e-5)]
    assert values(energy) == [pytest.approx((frame["energy_j"] * 1e6).tolist(), rel=1e-5)]
    assert [n for n, name in enumerate(delay.data[0].x) if "chosen" in name] == [answer.chosen]


def test_alternatives_have_the_deadline_the_latency_and_which_device_would_be_late() -> None:
    s = PRESETS["lecture"].changed(T_max=5e-3, server_devices=({"number": 2, "latency": 6e-3},))
    frame = why(play(s, "greedy", 0), "greedy", "own", 1, 1, 1).alternatives
    table, late = alternatives_table(frame), (frame["delay_s"] > 5e-3).tolist()
    assert late[2]
    assert not all(late)
    assert table["late"].tolist() == late
    assert set(table["deadline (ms)"]) == {5.0}
    assert table["latency (ms)"].tolist() == pytest.approx([float("nan"), 0, 6], nan_ok=True)
    delay, energy = alternatives(frame)
    assert ["late" in name for name in delay.data[0].x] == late
    (line,) = delay.layout.shapes
    assert (line.name, line.y0) == ("deadline 5 ms", 5.0)
    assert "deadline 5 ms" in delay.layout.meta["alt"]
    assert not energy.layout.shapes
    usual = alternatives_table(why(play(PRESETS["lecture"], "greedy", 0), "greedy", "own", 1, 1, 1).alternatives)
    assert "latency (ms)" not in usual


@pytest.mark.parametrize("policy", ["optimum", "greedy-saving"])
def test_delays_are_those_of_the_table_slowest_first_and_a_click_sends_the_task(ward: Scenario, policy: str) -> None:
    record = play(ward, policy, 0)
    table = record.table()
    table = table[table["step"] == 2].sort_values("delay_s", ascending=False, kind="stable")
    done, skipped = table[~table["skipped"]], table[table["skipped"]]
    figure = delay_bars(record, 1)
    execution = {}
    for trace in (one for one in figure.data if one.type == "bar" and not one.name.startswith("transmission")):
        execution |= dict(zip(trace.x, trace.y, strict=True))
    (transmission,) = (one for one in figure.data if one.name.startswith("transmission"))
    total = [execution[name] + tx for name, tx in zip(transmission.x, transmission.y, strict=True)]
    assert total == pytest.approx((done["delay_s"] * 1e3).tolist(), rel=1e-4)
    assert [tuple(point) for point in transmission.customdata] == [
        tuple(row) for row in done[["step", "user", "task"]].to_numpy().tolist()
    ]
    crosses = [tuple(point) for one in figure.data if one.name == "skipped" for point in one.customdata]
    assert crosses == [tuple(row) for row in skipped[["step", "user", "task"]].to_numpy().tolist()]
    assert f"{len(skipped)} are skipped" in figure.layout.meta["alt"]
    numbers = delay_table(record, 1)
    assert numbers["delay (ms)"][~numbers["skipped"]].tolist() == pytest.approx(total, abs=2e-4)
    due = (table["deadline_s"] * 1e3).tolist()
    assert numbers["deadline (ms)"].tolist() == pytest.approx(due)


def own_deadlines() -> Scenario:
    """Two kinds of tasks, of which one has a deadline that a slow ward misses."""
    urgent, patient = PRESETS["hospital"].kinds[0], PRESETS["hospital"].kinds[1]
    kinds = (urgent.model_copy(update={"T_max": 5e-3}), patient.model_copy(update={"T_max": 60e-3}))
    return PRESETS["hospital"].changed(kinds=kinds)


def test_each_task_is_measured_by_its_own_deadline() -> None:
    s = own_deadlines()
    record = play(s, "all-local", 0)
    table = record.table()
    figure = delay_bars(record, 0)
    (marks,) = (one for one in figure.data if one.name == "deadline of the task")
    assert not figure.layout.shapes
    step = table[table["step"] == 1].assign(name=lambda t: t["user"].astype(str) + "." + t["task"].astype(str))
    due = dict(zip(step["name"], step["deadline_s"] * 1e3, strict=True))
    assert set(marks.y) <= {5.0, 60.0}
    assert all(due[name] == y for name, y in zip(marks.x, marks.y, strict=True))
    _, missed = kind_bars(table)
    for n, (name, deadline) in enumerate(((s.kind_names[0], "5 ms"), (s.kind_names[1], "60 ms"))):
        mine = table[table["kind"] == name]
        late = int((mine["delay_s"] > mine["deadline_s"]).sum())
        assert missed.data[0].x[n].replace("\u00a0", " ") == f"{name}, {deadline}"
        assert missed.data[0].y[n] == pytest.approx(100 * late / len(mine), rel=1e-5)
        assert missed.data[0].text[n] == f"{late} of {len(mine)}"
    numbers = kind_table(table).set_index("kind")
    assert numbers["deadline (ms)"].tolist() == [5, 60]
    assert numbers["late or skipped"].sum() == int(record.outcome.missed.sum()) > 0


def test_a_kind_keeps_its_colour_where_others_are_missing() -> None:
    table = play(PRESETS["hospital"], "greedy", 0).table()
    last = table["kind"].cat.categories[-1]
    colours = {
        name: kind_bars(part)[0].data[0].marker.color[-1]
        for name, part in (("all", table), ("one", table[table["kind"] == last]))
    }
    assert colours["all"] == colours["one"]


def test_what_energy_costs_later_is_in_the_table_of_alternatives() -> None:
    s = PRESETS["drained"].changed(Cap=7.5e-4)
    frame = why(play(s, "optimum", 0), "optimum", "own", 1, 1, 1).alternatives
    table = alternatives_table(frame)
    assert table["its energy costs later"].tolist() == pytest.approx(frame["energy_later"].tolist(), abs=1e-4)
    assert table["and later by"].tolist() == pytest.approx(frame["later_change"].tolist(), abs=1e-4)
    assert (frame["energy_later"] > 0).all()


def test_shares_are_in_percent_of_their_device_and_a_click_sends_the_task() -> None:
    frame = pd.DataFrame(
        {
            "user": [4, 4], "task": [1, 2], "choice": [0, 3], "cpu_requested": [0.2, 0.5], "cpu_granted": [0.2, 0.25],
            "bandwidth_requested": [float("nan"), 0.1], "bandwidth_granted": [float("nan"), 0.05],
        }
    )  # fmt: skip
    cpu, bandwidth = (share_bars(frame, kind, 2, 7, "") for kind in ("cpu", "bandwidth"))
    assert values(cpu) == [[20, 50], [20, 25]]
    assert values(bandwidth) == [[None, 10], [None, 5]]
    assert [tuple(point) for point in cpu.data[1].customdata] == [(7, 4, 1), (7, 4, 2)]


@pytest.mark.parametrize("bandwidth", [1e3, 77e6, 1e9])
@pytest.mark.parametrize("beta", [1e4, 1e10, 1e16])
def test_the_fading_view_is_a_density_around_its_expectation(bandwidth: float, beta: float) -> None:
    figure = fading(bandwidth, beta, "a link")
    (curve,), (mean,) = figure.data, figure.layout.shapes
    x, y = curve.x, curve.y
    area = sum((b - a) * (p + q) / 2 for a, b, p, q in zip(x, x[1:], y, y[1:], strict=False))
    assert area == pytest.approx(1, abs=0.02)
    assert x[0] < mean.x0 == mean.x1 < x[-1]


def test_nearly_equal_values_have_nearly_equal_colours_and_a_cell_sends_its_task() -> None:
    points = [(2, 3, 1), (2, 3, 4)]
    figure = by_device([[0.1244, 0.5], [0.1259, 0.3]], points, 4, (0, 2), 1, 0.5 * 0.13, False, "")
    (cells,), (outline,) = figure.data, figure.layout.shapes
    shade = [[value / cells.zmax for value in line] for line in cells.z]
    assert max(shade[0][0], shade[1][0]) < 0.05
    assert [shade[0][1] >= 1, shade[1][1]] == [True, 0]
    assert list(cells.y) == ["own device", "server 2"]
    assert outline.y0 < 1 < outline.y1
    assert [tuple(point) for point in cells.customdata[0]] == points
    assert cells.meta["values"][0][0] == 0.1244  # what is saved as CSV


def test_the_regret_of_every_task_is_in_its_cell_and_the_selected_task_is_outlined() -> None:
    frame = regrets(PRESETS["lecture"], "greedy", 0, "own", 2)
    figure = regret_map(frame, "regret_best", (2, 3, 2), 0.1, "Regret", "")
    (cells,), (outline,) = figure.data, figure.layout.shapes
    for row in frame.to_dict("records"):
        at = cells.y.index(str(row["user"])), cells.x.index(str(row["task"]))
        assert cells.z[at[0]][at[1]] == row["regret_best"]
        assert tuple(cells.customdata[at[0]][at[1]]) == (2, row["user"], row["task"])
    assert (outline.y0 + 0.5, outline.x0 + 0.5) == (cells.y.index("3"), cells.x.index("2"))


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(Side(PRESETS["lecture"], "price-response"), Side(PRESETS["lecture"], "greedy"), 0, 3)


def test_the_forest_shows_every_change_within_its_axis(compared: Comparison) -> None:
    figure = forest(compared.pairs, "")
    low, high = figure.layout.xaxis.range
    drawn = {
        name.split("</b>")[0].removeprefix("<b>"): x
        for trace in figure.data
        for name, x in zip(trace.y, trace.x, strict=True)
    }
    for pair in compared.pairs:
        if pair.relative is None:
            assert pair.metric.label not in drawn
            continue
        x = drawn[pair.metric.label]
        assert low < x < high
        assert x == pytest.approx(100 * pair.relative) or abs(x) < abs(100 * pair.relative)
        assert pair.change_words in figure.layout.meta["alt"]
    assert "B worse" in {trace.name for trace in figure.data}
    assert not {"B worse", "B better"} & {trace.name for trace in forest(compared.pairs, "", graded=False).data}


def test_every_episode_has_its_pair(compared: Comparison) -> None:
    for pair in compared.pairs:
        _, a, b = episode_pairs(pair, "").data
        factor = pair.metric.factor
        assert list(a.y) == [value * factor for value in pair.a]
        assert list(b.y) == [value * factor for value in pair.b]


def test_the_map_of_flows_tells_counts_and_colours_only_changes() -> None:
    counts = pd.DataFrame([[12, 3], [0, 5]], index=["own device", "server 1"], columns=["own device", "server 1"])
    (cells,) = flow_map(counts, "").data
    assert [list(line) for line in cells.text] == [["12", "3"], ["0", "5"]]
    assert [list(line) for line in cells.z] == [[0, 3], [0, 0]]
