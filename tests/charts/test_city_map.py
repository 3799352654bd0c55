"""The map of a ward of a city's size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from iomt_core.charts.city_map import city_map, is_crowded, site_loads
from iomt_core.charts.tasks import delay_bars
from iomt_core.record import Record
from iomt_core.scenario import PRESETS
from iomt_core.twin.northbound import play

CITY = PRESETS["city"].changed(T=2)


@pytest.fixture(scope="module")
def record() -> Record:
    return play(CITY, "nearest", 0, certify=False)


def traces(figure: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in figure.to_dict()["data"]}


def test_only_large_wards_are_drawn_as_a_density() -> None:
    assert is_crowded(CITY)
    assert not any(is_crowded(s) for name, s in PRESETS.items() if name != "city")
    assert not is_crowded(PRESETS["paper"].changed(users=16, tasks=16, servers=8))


def test_the_map_counts_every_user_and_every_task(record: Record) -> None:
    drawn, loads = traces(city_map(CITY, record, 1)), site_loads(record, 1)
    assert sum(n or 0 for line in drawn["users"]["z"] for n in line) == CITY.users
    offloaded = int(((record.action.choice[1] > 0) & record.snapshot.active[1]).sum())
    assert sum(loads["tasks"]) == offloaded
    sizes, tasks = drawn["sites"]["marker"]["size"], loads["tasks"]
    assert sizes.index(max(sizes)) == tasks.index(max(tasks))
    work = float((record.snapshot.C[1] / CITY.F_k).sum())
    assert sum(loads["work"]) == pytest.approx(work, rel=1e-6)


def test_a_site_shows_its_users_and_no_others(record: Record) -> None:
    site = 4
    figure = city_map(CITY, record, 0, site)
    users = figure.to_dict()["data"][2]
    sent = (record.action.choice[0] == site).any(-1).nonzero().flatten() + 1
    assert [point[1] for point in users["customdata"]] == sent.tolist()
    wide = city_map(CITY, record, 0).to_dict()["layout"]["xaxis"]["range"]
    near = figure.to_dict()["layout"]["xaxis"]["range"]
    assert near[1] - near[0] < wide[1] - wide[0]
    assert f"Zoomed to server {site}" in figure.to_dict()["layout"]["meta"]["alt"]


def test_a_site_that_differs_says_what_it_has(record: Record) -> None:
    differing = CITY.changed(server_devices=({"number": 4, "F_k": 2.5e9, "B_k": 3e8, "latency": 0.02},))
    seen = replace(record, scenario=differing)
    for found in (city_map(differing, None), city_map(differing, seen, 1)):
        assert "; 2.5 GHz CPU, 0.3 GHz bandwidth, 20 ms latency" in traces(found)["sites"]["hovertext"][3]
    assert not any("latency" in words for words in traces(city_map(CITY, record, 1))["sites"]["hovertext"])


def test_places_are_shown_before_anything_is_decided() -> None:
    figure = city_map(CITY, None).to_dict()
    assert "nothing is decided yet" in figure["layout"]["meta"]["alt"]
    assert len(figure["data"][1]["x"]) == CITY.servers


def test_a_chart_of_tasks_has_at_most_so_many(record: Record) -> None:
    everything, few = (delay_bars(record, 0, most=most).to_dict() for most in (None, 10))
    names = [figure["layout"]["xaxis"]["categoryarray"] for figure in (everything, few)]
    assert len(names[0]) == CITY.users * CITY.tasks
    assert names[1] == names[0][:10]
