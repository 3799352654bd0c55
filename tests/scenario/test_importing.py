"""Tables as people have them are read right, or refused with the place and what would be right; none is misread."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from iomt_core.scenario import KILOBYTE, PRESETS, Scenario, ScenarioError
from iomt_core.scenario.files import read_scenario
from iomt_core.scenario.importing import Imported, Options, open_tables, run
from iomt_core.scenario.importing.write import write_import
from iomt_core.scenario.tables import read_places_csv, read_workload_csv, with_places, with_workload
from iomt_core.twin.northbound import play
from tests.scenario.dirty_tables import CASES, SERVERS, TEXT, large


def imported(*files: tuple[str, bytes], roles: dict[str, str] | None = None, **options: Any) -> Imported:
    chosen = Options(**options)
    return run(open_tables(files, chosen, roles), chosen)


def tasks_of(s: Scenario) -> list[tuple[float, ...]]:
    assert s.workload is not None
    return [(t.step, t.user, t.D / KILOBYTE, t.C, t.P) for t in s.workload]


def words(found: Imported, kind: str) -> str:
    return "\n".join(line.text for line in found.report if line.kind == kind)


@pytest.mark.parametrize("name", CASES)
def test_a_dirty_table_is_read_right_or_refused_with_what_would_be_right(name: str) -> None:
    case = CASES[name]
    roles = {case.name: "tasks"}
    if case.refused:
        with pytest.raises(ScenarioError) as refusal:
            imported((case.name, case.content), roles=roles, **case.options)
        for word in case.refused:
            assert word in str(refusal.value), str(refusal.value)
        return
    found = imported((case.name, case.content), roles=roles, **case.options)
    np.testing.assert_allclose(tasks_of(found.scenario), case.tasks, rtol=1e-12)


def test_there_are_enough_dirty_tables() -> None:
    assert len(CASES) >= 60


def test_a_hundred_thousand_rows_are_read_right() -> None:
    content, tasks = large()
    found = imported(("tasks.csv", content))
    order = np.lexsort((np.arange(len(tasks)), tasks[:, 1], tasks[:, 0]))
    np.testing.assert_allclose(tasks_of(found.scenario), tasks[order], rtol=1e-12)


def test_latitude_and_longitude_become_metres_whose_error_is_said() -> None:
    lines = [f"{n};{lat};{lon};{2 + n / 10:g};edge {n}" for n, (lat, lon) in enumerate(SERVERS, 7)]
    servers = "\n".join(["SITE_ID;LATITUDE;LONGITUDE;CPU (GHz);NAME", *lines]).encode()
    users = b"Latitude,Longitude,power_mW\n-37.8140,144.9640,200\n-37.8190,144.9690,150\n"
    found = imported(("edge-servers.csv", servers), ("users.csv", users))
    s = found.scenario
    assert s.places is not None
    assert (s.users, s.servers) == (2, 3)
    assert [d.F_k for d in s.server_devices] == pytest.approx([2.7e9, 2.8e9, 2.9e9])
    assert [d.P_tr for d in s.user_devices] == pytest.approx([0.2, 0.15])
    assert s.server_devices[2].name == "edge 9"
    # Great circle by the haversine formula on a sphere of the mean radius: within 0.5 % of the ellipsoid everywhere.
    (lat_a, lon_a), (lat_b, lon_b) = (np.radians(SERVERS[n]) for n in (0, 2))
    half = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    assert math.dist(s.places.servers[0], s.places.servers[2]) == pytest.approx(
        2 * 6_371_008.8 * math.asin(math.sqrt(half)), rel=5e-3
    )
    assert "off by at most" in words(found, "changed")
    north = [y for _, y in s.places.servers]
    assert north[0] > north[1] > north[2]
    assert dict(found.ids[found.ids["kind"] == "server"][["number", "id"]].values.tolist()) == {1: "7", 2: "8", 3: "9"}


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        (("1,144.96,-37.81", "2,144.97,-37.82"), ("line 2", "exchanged", "latitude=lon")),
        (("1,-37.81,144.96", "2,0,0"), ("km from the middle", "square of 50 km")),
        (("1,-37.81,144.96", "1,-37.82,144.97"), ("line 3", "stands twice")),
        (("1,-37.81,1440.96",), ("line 2", "lon", "-180 to 180")),
        (("1,37°48'51\"S,144°57'47\"E", "2,37°48'52\"S,144°57'48\"E"), ("line 2", "lon", "as one number, such as")),
    ],
)
def test_wrong_places_are_refused(rows: tuple[str, ...], refused: tuple[str, ...]) -> None:
    with pytest.raises(ScenarioError) as refusal:
        imported(("servers.csv", "\n".join(["site,lat,lon", *rows]).encode()))
    for word in refused:
        assert word in str(refusal.value)


def test_the_minus_of_typesetting_is_a_minus() -> None:
    rows = "\n1;\u221237,81;144,96\n2;\u221237,82;144,97\n"
    typeset, plain = (
        imported(("servers.csv", f"site;lat;lon{text}".encode())) for text in (rows, rows.replace("\u2212", "-"))
    )
    assert typeset.scenario == plain.scenario
    assert PRESETS["paper"].changed(N0="\u2212174 dBm/Hz").N0 == PRESETS["paper"].changed(N0="-174 dBm/Hz").N0


def test_an_operators_records_become_sites_users_and_tasks() -> None:
    sites = ("31.2379/121.4703", "31.2400/121.4800", "31.2300/121.4600")
    rows = [f"2014/6/1 0:0{n % 10},{sites[n * n % 3]},user-{n % 4}" for n in range(40)]
    text = "\n".join(["start time,location(latitude/lontitude),user id", *rows]).encode()
    found = imported(
        ("shanghai.csv", text), locations="sites", values={"data": "30 KB", "cycles": "2 per bit"}, step=60.0
    )
    s = found.scenario
    assert (s.users, s.servers, s.T) == (4, len({rows[n].split(",")[1] for n in range(40)}), 10)
    assert {task.C for task in s.workload or ()} == {480_000.0}
    assert s.step_time == 60.0
    assert len(s.workload or ()) == 40


def test_the_busiest_users_and_nearest_servers_are_those(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    owners = generator.choice(50, 3000, p=generator.dirichlet(np.full(50, 0.5)))
    steps = 1 + np.arange(3000) // 30
    tasks = pd.DataFrame({"step": steps, "user": [f"u{n}" for n in owners], "data_kb": 20.0, "cycles": 1e5})
    users = pd.DataFrame({"id": [f"u{n}" for n in range(50)], "x_m": generator.uniform(0, 10, 50), "y_m": 5.0})
    servers = pd.DataFrame({"id": range(20), "x_m": np.linspace(0, 900, 20), "y_m": 5.0})
    files = [
        (f"{name}.csv", frame.to_csv(index=False).encode())
        for name, frame in (("tasks", tasks), ("users", users), ("servers", servers))
    ]
    found = imported(*files, busiest_users=5, nearest_servers=3)
    busiest = {f"u{n}" for n in np.argsort(-np.bincount(owners, minlength=50))[:5]}
    assert set(found.ids[found.ids["kind"] == "user"]["id"]) == busiest
    assert found.ids[found.ids["kind"] == "server"]["id"].tolist() == ["0", "1", "2"]
    assert len(found.scenario.workload or ()) == sum(f"u{n}" in busiest for n in owners)
    assert "45 of 50 users" in words(found, "dropped")


def test_what_an_import_writes_reads_back_as_the_same_ward(tmp_path: Path) -> None:
    tasks = (
        TEXT.replace("priority", "priority,kind,deadline_ms")
        .replace(",1\n", ",1,ECG,300\n")
        .replace(",2\n", ",2,EEG,\n")
    )
    tasks = tasks.replace(",3\n", ",3,ECG,20\n")
    places = b"kind,x_m,y_m,cpu_ghz,name\nuser,1,2,,\nuser,3,4,0.2,=watch\nuser,5,6,,\nserver,7.5,8,3,rack\n"
    found = imported(("tasks.csv", tasks.encode()), ("places.csv", places))
    write_import(found, tmp_path / "out")
    s = read_scenario(tmp_path / "out" / "scenario.json")
    assert s == found.scenario
    assert s.user_devices[0].name == "watch"
    again = with_places(PRESETS["paper"], read_places_csv(tmp_path / "out" / "places.csv"))
    again = with_workload(again, read_workload_csv(tmp_path / "out" / "workload.csv"))
    assert again.changed(step_time=s.step_time).digest == s.digest
    with pytest.raises(ScenarioError, match="already there"):
        write_import(found, tmp_path / "out")
    write_import(found, tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ScenarioError, match="holds other files"):
        write_import(found, tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_ids_of_servers_become_names_that_tables_show_and_those_of_users_stay_out(tmp_path: Path) -> None:
    files = {
        "tasks": b"step,user,data_kb,cycles\n1,P-7,20,100000\n1,P-12,30,100000\n",
        "users": b"id,name,x_m,y_m\nP-7,,1,2\nP-12,ECG patch,3,4\n",
        "servers": b"id,x_m,y_m,cpu_ghz\n1,5,6,\n=edge,7,8,2\n",
    }
    found = imported(*((f"{kind}.csv", files[kind]) for kind in files))
    s = found.scenario
    assert [s.user_label(n) for n in (1, 2)] == ["user 1", "user 2, ECG patch"]
    assert [s.device_label(n) for n in (1, 2)] == ["server 1", "server 2, edge"]
    assert s.server_devices[0].F_k == 2e9
    assert "as their names" in words(found, "taken")
    write_import(found, tmp_path / "out")
    assert read_scenario(tmp_path / "out" / "scenario.json") == s
    assert "P-7" not in (tmp_path / "out" / "scenario.json").read_text()


def test_a_name_changes_no_decision() -> None:
    named = PRESETS["paper"].changed(server_devices=({"number": 3, "name": "rack"},))
    with_name, without = (play(s, "price-response", 0, certify=False) for s in (named, PRESETS["paper"]))
    assert torch.equal(with_name.action.choice, without.action.choice)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_exported_decisions_are_read_back_as_the_tasks_they_were_about(form: str, tmp_path: Path) -> None:
    from iomt_core.experiments.evaluation import evaluate

    s = imported(("tasks.csv", TEXT.encode())).scenario
    evaluate(s, "greedy", 2, 0, tmp_path, csv=form == "csv")
    name = f"decisions.{form}"
    back = imported((name, (tmp_path / name).read_bytes()), base=s)
    assert back.scenario.digest == s.digest
    assert "all episodes but 1" in words(back, "dropped")


def test_a_table_of_the_labs_own_form_is_read_as_the_strict_reader_reads_it() -> None:
    found = imported(("tasks.csv", TEXT.encode()))
    assert found.scenario.workload == read_workload_csv(TEXT.encode(), "tasks.csv")
    assert not words(found, "changed")
    assert not words(found, "dropped")


def test_what_is_too_much_is_refused_with_what_would_fit() -> None:
    long = "time,user,data_kb,cycles\n2024-01-01 00:00:00,a,20,100000\n2024-06-01 00:00:00,a,20,100000\n"
    with pytest.raises(ScenarioError, match="a step of 30 min fits"):
        imported(("tasks.csv", long.encode()), step=1.0)
    crowd = "\n".join(["user,lat,lon", *(f"u{n},-37.8,{144 + n / 1e5}" for n in range(2100))])
    with pytest.raises(ScenarioError, match="2100 users, allowed 1 to 2000"):
        imported(("users.csv", crowd.encode()), ("servers.csv", b"site,lat,lon\n1,-37.8,144.01\n"))
    dense = "\n".join(["time,user,data_kb,cycles", *("2024-01-01 00:00:00,a,20,100000",) * 65])
    with pytest.raises(ScenarioError, match="more than 64 tasks"):
        imported(("tasks.csv", dense.encode()))
