"""Files, links and tables: what is written is read back, and what cannot be used is explained."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest

from iomt_core.scenario import PRESETS, Places, ScenarioError, WorkloadTask
from iomt_core.scenario.files import (
    dump_scenario,
    from_query,
    parse_scenario,
    read_scenario,
    to_query,
    write_text_atomically,
)
from iomt_core.scenario.tables import read_places_csv, read_workload_csv, with_places, with_workload
from tests.wards import anywhere

OWN = with_workload(
    with_places(PRESETS["paper"], Places(users=((1.5, 2), (130, 7)), servers=((3, 4),))),
    (WorkloadTask(step=1, user=2, D=2e5, C=1.5e5, P=3), WorkloadTask(step=3, user=1, D=2.5e5, C=1.1e5, P=1)),
)
SCENARIOS = [*PRESETS.values(), OWN, *(anywhere(seed) for seed in range(12))]


@pytest.mark.parametrize("s", SCENARIOS, ids=lambda s: s.digest[:8])
def test_files_and_links_give_back_exactly_the_scenario(s) -> None:  # type: ignore[no-untyped-def]
    assert parse_scenario(dump_scenario(s, "yaml")) == s
    assert parse_scenario(dump_scenario(s, "json")) == s
    assert from_query(to_query(s)) == s


def test_a_link_names_only_what_differs() -> None:
    assert to_query(PRESETS["hospital"]) == {"preset": "hospital"}
    query = to_query(PRESETS["paper"].changed(servers=3))
    assert query == {"preset": "paper", "servers": "3"}


def test_a_file_may_start_from_a_preset_and_name_a_few_things() -> None:
    s = parse_scenario("preset: hospital\nservers: 3\nF_k: 2e9\nN0: 4e-21\n")
    assert s == PRESETS["hospital"].changed(servers=3, F_k=2e9)
    assert parse_scenario('{"users": 4}') == PRESETS["paper"].changed(users=4, name="my ward")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "a.yaml"
    write_text_atomically(place, "one")
    with pytest.raises(TypeError):
        write_text_atomically(place, 3)  # type: ignore[arg-type]
    assert place.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]
    with pytest.raises(ScenarioError, match="cannot be written"):
        write_text_atomically(tmp_path / "no" / "a.yaml", "x")


DEEP = "[" * 30_000
PACKED_BOMB = base64.urlsafe_b64encode(zlib.compress(b"[" + b" " * 30_000_000 + b"]")).decode()
BAD_FILES = [
    ("users: 99", "users = 99", "1 to 16"),
    ("users: -1", "users = -1", "1 to 16"),
    ("users: 3.5", "users = 3.5", "1 to 16"),
    ("users: many", "users = 'many'", "1 to 16"),
    ("users: true\nusers: 2", "users", "twice"),
    ("usres: 3", "usres", "Did you mean 'users'"),
    ("D: 5", "D = 5", "KB"),
    ("D: [1e5]", "D", "KB"),
    ("D: [4e5, 2e5]", "D = 50 KB to 25 KB", "backwards"),
    ("P: [0, 3]", "P (low end) = 0", "1 to 10"),
    ("N0: .nan", "N0", "1e-22"),
    ("F_k: .inf", "F_k", "0.01 GHz to 1000 GHz"),
    ("F_k: 1e6", "F_k = 0.001 GHz", "0.01 GHz to 1000 GHz"),
    ("alpha_T: 0", "alpha_T = 0", "0.01 to 1"),
    ("channel: fog", "channel = 'fog'", "'paper' or 'log-distance'"),
    ("T: 1000", "T = 1000", "1 to 100"),
    ("schema_version: 2", "schema_version = 2", "version 1"),
    ("preset: nowhere", "preset = 'nowhere'", "paper, lecture"),
    ("preset: [1]", "preset", "paper, lecture"),
    ("kinds: [{name: a, share: 0, D: [1e5, 2e5], C: [1e5, 1e5], P: [1, 1]}]", "kinds.0.share", "greater than 0"),
    ("kinds: [{name: a, share: 1, D: [1, 2e5], C: [1e5, 1e5], P: [1, 1]}]", "kinds[a].D (low end)", "0.1 KB"),
    (
        "kinds: [{name: a, share: 1, D: [1e5, 2e5], C: [1e5, 1e5], P: [1, 1]},"
        " {name: a, share: 1, D: [1e5, 2e5], C: [1e5, 1e5], P: [1, 1]}]",
        "'a'", "twice",
    ),
    ("kinds: heart", "kinds = 'heart'", "tuple"),
    ("workload: []", "workload", "at least one"),
    ("workload: [{step: 30, user: 1, D: 2e5, C: 1e5, P: 1}]", "T = 20", "30 to 100"),
    ("workload: [{step: 1, user: 12, D: 2e5, C: 1e5, P: 1}]", "users = 8", "12 to 16"),
    ("workload: [{step: 1, user: 17, D: 2e5, C: 1e5, P: 1}]", "workload.0.user = 17", "16"),
    ("places: {users: [[1, 2]], servers: [[1, 1]]}", "users = 8", "1 users"),
    ("users: 1\nservers: 1\nplaces: {users: [[1, 200]], servers: [[1, 1]]}", "places.users[1].y = 200 m", "0 to 100 m"),
    ("a: &x 1\nb: *x", "aliases", "line 2"),
    ("!!python/object/apply:os.system [ls]", "not YAML", "python/object"),
    ("users: [1,", "not YAML", "line"),
    ("{\"users\": 3,", "not JSON", "line 1"),
    ('{"users": NaN}', "NaN", "not a number"),
    ('{"users": 3, "users": 4}', "users", "twice"),
    ("- 1\n- 2", "list", "mapping"),
    ("just words", "str", "mapping"),
    ("", "empty", "mapping"),
    ("1: 2", "1", "not a parameter"),
    (DEEP, "nested", ""),
    (b"\xff\xfe\x00", "not UTF-8", ""),
    (b"users: 3\x00", "zero byte", ""),
    (b"#" * 2_000_001, "too large", "2 MB"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "what", "allowed"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_bad_file_is_explained(text: str | bytes, what: str, allowed: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_scenario(text, "ward.yaml")
    message = str(refusal.value)
    assert what in message
    assert allowed in message
    assert "pydantic" not in message
    assert len(message) < 2000


BAD_LINKS = [
    ({"users": "0"}, "users = 0"),
    ({"D": "1e5"}, "D"),
    ({"D": "a..b"}, "D"),
    ({"usres": "3"}, "Did you mean 'users'"),
    ({"workload": "%%%"}, "workload"),
    ({"workload": "AAAA"}, "workload"),
    ({"kinds": PACKED_BOMB}, "larger than 4 MB"),
    ({"gamma_t": "no"}, "gamma_t = 'no'"),
    ({"preset": "../x"}, "preset = '../x'"),
]


@pytest.mark.parametrize(("query", "what"), BAD_LINKS)
def test_a_bad_link_is_explained(query: dict[str, str], what: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        from_query(query)
    assert what in str(refusal.value)


def test_too_much_for_a_link_is_said() -> None:
    tasks = tuple(
        WorkloadTask(step=1 + n // 64, user=1 + n % 8, D=1e5 + 997 * n, C=1e5 + 13 * n, P=1 + n % 3)
        for n in range(1280)
    )
    with pytest.raises(ScenarioError, match="download the scenario file"):
        to_query(with_workload(PRESETS["paper"], tasks))


HEAD = "step,user,data_kb,cycles,priority\n"
BAD_WORKLOADS = [
    ("", "empty"),
    (HEAD, "no rows"),
    ("step,user,data_kb,cycles\n1,1,1,1\n", "lacks the column priority"),
    ("step,user,data_kb,cycles,priority,colour\n", "unknown column colour"),
    ("step,step,user,data_kb,cycles,priority\n", "has twice step"),
    (HEAD + "0,1,30,1e5,1\n", "line 2, column step: '0'"),
    (HEAD + "1,17,30,1e5,1\n", "line 2, column user: '17'"),
    (HEAD + "1,1,30,1e5,1\n1,1.5,30,1e5,1\n", "line 3, column user: '1.5'"),
    (HEAD + "1,1,lots,1e5,1\n", "line 2, column data_kb: 'lots'"),
    (HEAD + "1,1,nan,1e5,1\n", "line 2, column data_kb: 'nan'"),
    (HEAD + "1,1,30,inf,1\n", "line 2, column cycles: 'inf'"),
    (HEAD + "1,1,30,1e5,11\n", "line 2, column priority: '11'"),
    (HEAD + "1,1,30\n", "line 2: 3 cells"),
    (HEAD + "x,1,30,1e5,1\n" * 25, "… and 15 more"),
]
BAD_PLACES = [
    ("kind,x_m\nuser,1\n", "lacks the column y_m"),
    ("kind,x_m,y_m\ndoctor,1,1\n", "line 2, column kind: 'doctor'"),
    ("kind,x_m,y_m\nuser,-1,1\nserver,1,1\n", "line 2, column x_m: '-1'"),
    ("kind,x_m,y_m\nuser,1,1e9\nserver,1,1\n", "line 2, column y_m: '1e9'"),
    ("kind,x_m,y_m\nuser,1,1\n", "0 rows of kind server"),
    ("kind,x_m,y_m\n" + "user,1,1\n" * 17 + "server,1,1\n", "17 rows of kind user"),
]


@pytest.mark.parametrize(("text", "what"), BAD_WORKLOADS, ids=range(len(BAD_WORKLOADS)))
def test_a_bad_workload_is_named_by_line_and_column(text: str, what: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        read_workload_csv(text.encode(), "tasks.csv")
    assert what in str(refusal.value)
    assert "tasks.csv" in str(refusal.value)


@pytest.mark.parametrize(("text", "what"), BAD_PLACES, ids=range(len(BAD_PLACES)))
def test_bad_places_are_named_by_line_and_column(text: str, what: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        read_places_csv(text.encode(), "places.csv")
    assert what in str(refusal.value)


def test_tables_from_spreadsheets_are_read_as_they_come() -> None:
    text = "\ufeffUser;Step;Priority;Data_KB;Cycles\r\n1;1;3;30;150000\r\n\r\n2;1;1;20.5;1e5\r\n"
    assert read_workload_csv(text.encode(), "x.csv") == (
        WorkloadTask(step=1, user=1, D=240000, C=150000, P=3),
        WorkloadTask(step=1, user=2, D=164000, C=1e5, P=1),
    )


@pytest.mark.parametrize("source", ["nowhere", "missing.yaml", "/", "a\x00b.yaml"])
def test_a_source_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(ScenarioError, match=r"scenario =|cannot be read"):
        read_scenario(source)


def test_what_the_command_line_prints_can_be_read_back() -> None:
    for s in PRESETS.values():
        again = parse_scenario(json.dumps(s.resolved()))
        assert again.changed(gamma_t=None, gamma_e=None) == s
