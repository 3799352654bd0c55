"""Files, links and tables: what is written is read back, and what cannot be used is explained."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iomt_core.scenario import (
    PRESETS,
    Places,
    Scenario,
    ScenarioError,
    ScenarioWarning,
    WorkloadTask,
    collect_notes,
    metadata,
    scenario,
)
from iomt_core.scenario.files import (
    dump_scenario,
    parse_scenario,
    read_scenario,
    write_atomically,
    write_text_atomically,
)
from iomt_core.scenario.links import from_query, to_query
from iomt_core.scenario.tables import (
    WORKLOAD_COLUMNS,
    Site,
    read_places_csv,
    read_workload_csv,
    with_places,
    with_workload,
)


@st.composite
def any_scenario(draw: st.DrawFn) -> Scenario:
    """A scenario from the whole allowed range, its ends included, with or without kinds, own data and switched off parts."""

    def number(name: str) -> float:
        meta = metadata()[name]
        assert meta.low is not None
        assert meta.high is not None
        if isinstance(getattr(PRESETS["paper"], name), int) or name == "P":
            return draw(st.integers(int(meta.low), int(meta.high)))
        return draw(st.floats(meta.low, meta.high) | st.sampled_from([meta.low, meta.high]))

    def pair(name: str) -> list[float]:
        return sorted((number(name), number(name)))

    def place() -> tuple[float, float]:
        return draw(st.floats(0, values["area"])), draw(st.floats(0, values["area"]))  # type: ignore[arg-type]

    values: dict[str, object] = {
        "name": draw(st.sampled_from(["my ward", "null", "1e3", "yes", "Ärzte: 'a' #1 \U0001f3e5"]))
    }
    for name, meta in metadata().items():
        if meta.low is not None and draw(st.booleans()):
            values[name] = pair(name) if isinstance(getattr(PRESETS["paper"], name), tuple) else number(name)
    values |= {"users": draw(st.integers(1, 4)), "servers": draw(st.integers(1, 3)), "area": number("area")}
    values["channel"] = draw(st.sampled_from(["paper", "log-distance"]))
    if draw(st.booleans()):
        values["kinds"] = [
            {"name": name, "share": draw(st.floats(0.001, 1000)), "D": pair("D"), "C": pair("C"), "P": pair("P")}
            for name in draw(st.sampled_from([["ECG"], ["a: b", "off"], ["null", "~", "{x}"]]))
        ]
    s = scenario(values)
    for kind, names in (("users", ("F_i", "P_tr", "Cap")), ("servers", ("F_k", "B_k", "latency"))):
        if draw(st.booleans()):
            own = {name: number(name) for name in names if draw(st.booleans())}
            device = {
                "number": draw(st.integers(1, getattr(s, kind))),
                "name": draw(st.none() | st.just("a: b")),
                **own,
            }
            s = s.changed(**{f"{kind[:-1]}_devices": [device]})
    if draw(st.booleans()):
        places = Places(users=tuple(place() for _ in range(s.users)), servers=tuple(place() for _ in range(s.servers)))
        s = with_places(s, Site(places, s.user_devices, s.server_devices))
    if draw(st.booleans()):
        tasks = [
            WorkloadTask(
                step=draw(st.integers(1, 10_000)),
                user=user + 1,
                D=number("D"),
                C=number("C"),
                P=int(number("P")),
                kind=draw(st.none() | st.just("ECG")),
                T_max=draw(st.none() | st.just(0.25)),
            )
            for user in range(s.users)
        ]
        s = with_workload(s, tuple(tasks))
    numbers = {count: st.lists(st.integers(1, getattr(s, count)), unique=True) for count in ("users", "servers")}
    off = {f"{count}_off": draw(some) for count, some in numbers.items() if draw(st.booleans())}
    return s.changed(**{name: some for name, some in off.items() if len(some) < getattr(s, name[:-4])})


@settings(max_examples=100, deadline=None)
@given(any_scenario())
@pytest.mark.filterwarnings("ignore::iomt_core.scenario.ScenarioWarning")
def test_files_and_links_give_back_exactly_the_scenario(s: Scenario) -> None:
    for again in (
        parse_scenario(dump_scenario(s, "yaml")), parse_scenario(dump_scenario(s, "json")), from_query(to_query(s))
    ):  # fmt: skip
        assert again == s
        assert again.digest == s.digest


@pytest.mark.parametrize("s", PRESETS.values(), ids=PRESETS)
def test_a_printed_preset_is_that_preset_and_automatic_values_stay_automatic(s: Scenario) -> None:
    values = json.loads(dump_scenario(s, "json"))
    assert values["gamma_t"] is None
    assert parse_scenario(json.dumps(values)).digest == s.digest
    # A changed deadline changes what is derived from it, however the file came about.
    changed = parse_scenario(json.dumps({**values, "T_max": 0.04}))
    assert changed == parse_scenario(f"preset: {s.name}\nT_max: 0.04")
    assert changed.delay_decay == 25


UNITS = {
    "T_max": "20 ms", "Cap": "10 mJ", "E_ref": "100 µJ", "F_i": "0.1 Gcycle/s", "F_k": "1 GHz", "B_k": "1000 MHz",
    "D": ["20 KB", "400 kbit"], "C": "100 kcycles to 200 kcycles", "P_tr": ["200 mW", "0.4"], "area": "0.1 km",
    "N0": "-174 dBm/Hz", "PL0": "40 dB", "speed": "0 km/h", "step_time": "1000 ms",
}  # fmt: skip


def test_numbers_may_have_units_in_files_and_links() -> None:
    expected = PRESETS["paper"].changed(N0=10**-17.4 * 1e-3)
    from_yaml = parse_scenario("preset: paper\n" + "".join(f"{k}: {json.dumps(v)}\n" for k, v in UNITS.items()))
    from_json = parse_scenario(json.dumps({"preset": "paper", **UNITS}))
    link = {k: "..".join(v) if isinstance(v, list) else v for k, v in UNITS.items()}
    for s in (from_yaml, from_json, from_query(link)):
        assert s.changed(N0=expected.N0) == expected
        assert pytest.approx(expected.N0, rel=1e-12) == s.N0
    assert parse_scenario(
        "places: {users: [[0.01 km, 2 m]], servers: [[1, 1]]}\nusers: 1\nservers: 1"
    ).places == Places(users=((10, 2),), servers=((1, 1),))


def test_a_bare_number_that_looks_like_another_unit_is_accepted_with_a_warning() -> None:
    with pytest.warns(ScenarioWarning) as found:
        s = parse_scenario("preset: paper\nT_max: 20\nCap: 10\nC: [1000, 2000]\nF_k: 2e9")
    assert (s.T_max, s.Cap) == (20, 10)
    assert [str(w.message) for w in found] == [
        "T_max = 20 was read as 20 s (20000 ms); a usual value is 20 ms. Write '20 ms' if that is meant.",
        "Cap = 10 was read as 10 J (10000 mJ); a usual value is 10 mJ. Write '10 mJ' if that is meant.",
        "C = 1000 was read as 1000 cycle (1 kcycles); a usual value is 150 kcycles. Write '1000 kcycles' if that is meant.",
    ]


def test_nothing_is_noted_where_the_unit_is_written_or_the_value_is_usual() -> None:
    with collect_notes() as notes:
        s = parse_scenario("preset: paper\nT_max: 20 s\nCap: 10 J\nE_ref: 1e-3\nF_k: 1e12")
        parse_scenario(dump_scenario(s, "yaml"))
        for preset in PRESETS.values():
            parse_scenario(dump_scenario(preset, "json"))
    assert notes == []
    with collect_notes() as notes:
        parse_scenario("kinds: [{name: a, share: 1, D: [1000, 1e5], C: [1e5, 1e5], P: [1, 1]}]")
    assert len(notes) == 1
    assert "D of kind 1 = 1000" in notes[0]


def test_a_link_names_only_what_differs() -> None:
    assert to_query(PRESETS["hospital"]) == {"preset": "hospital"}
    query = to_query(PRESETS["paper"].changed(servers=3))
    assert query == {"preset": "paper", "servers": "3"}
    query = to_query(PRESETS["paper"].changed(servers_off=(3,), users_off=(8, 2)))
    assert query == {"preset": "paper", "servers_off": "3", "users_off": "2,8"}


def test_a_file_may_start_from_a_preset_and_name_a_few_things() -> None:
    s = parse_scenario("preset: hospital\nservers: 3\nF_k: 2e9\nN0: 4e-21\n")
    assert s == PRESETS["hospital"].changed(servers=3, F_k=2e9)
    for text in ("preset: hospital\nservers_off: 3", '{"preset": "hospital", "servers": 3, "servers_off": [3]}'):
        s = parse_scenario(text)
        assert (s.servers, s.server_numbers) == (3, (1, 2, 4))
    assert parse_scenario('{"users": 4}') == PRESETS["paper"].changed(users=4, name="my ward")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "a.yaml"
    write_text_atomically(place, "one")
    with pytest.raises(TypeError):
        write_atomically(place, 3)  # type: ignore[arg-type]
    assert place.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]
    with pytest.raises(ScenarioError, match="cannot be written"):
        write_text_atomically(tmp_path / "no" / "a.yaml", "x")


DEEP = "[" * 30_000
PACKED_BOMB = base64.urlsafe_b64encode(zlib.compress(b"[" + b" " * 30_000_000 + b"]")).decode()
BAD_FILES = [
    ("users: 2001", "users = 2001", "1 to 2000"),
    ("users: -1", "users = -1", "1 to 2000"),
    ("users: 3.5", "users = 3.5", "1 to 2000"),
    ("users: many", "users = 'many'", "1 to 2000"),
    ("users: true\nusers: 2", "users", "twice"),
    ("users: yes", "users = 'yes'", "1 to 2000"),
    ("users: true", "users = True: a truth value", "1 to 2000"),
    ('{"users": true}', "users = True: a truth value", "1 to 2000"),
    ("area: off", "area = 'off'", "5 m to 50000 m"),
    ("users: 010", "users = '010'", "1 to 2000"),
    ("users: 0o10", "users = '0o10'", "1 to 2000"),
    ("users: 0x8", "users = '0x8'", "1 to 2000"),
    ("users: 1_0", "users = '1_0'", "1 to 2000"),
    ("T_max: 1:30", "T_max = '1:30'", "0.1 ms"),
    ("users: !!int 010", "not YAML", "line 1"),
    ("users: 8 m", "users = '8 m'", "no unit"),
    ("T_max: 20 J", "T_max = '20 J': 'J' is not a unit", "0.1 ms"),
    ("T_max: 20 furlongs", "'furlongs' is not a unit", "0.1 ms"),
    ("D: [20 KB, 5 s]", "D.1 = '5 s'", "0.000125 KB"),
    ("T_max: 25 h", "T_max = 9e+07 ms", "0.1 ms to 8.64e+07 ms"),
    ("P_tr: [1 W, 1e9999 dBm]", "P_tr (high end)", "10 W"),
    ("places: {users: [[1 s, 2]], servers: [[1, 1]]}", "places.users.0.0 = '1 s'", "not a unit"),
    ("workload: [{step: true, user: 1, D: 2e5, C: 1e5, P: 1}]", "workload.0.step = True", ""),
    ("servers_off: [3, 3]", "servers_off = 3, 3", "each once"),
    ("servers_off: 5", "servers_off = 5 is out of range", "1 to 4"),
    ("servers_off: [0]", "servers_off = 0 is out of range", "1 to 4"),
    ("servers_off: 1, 2, 3, 4", "servers = 0", "1 to 256"),
    ("servers_off: true", "servers_off.0 = True: a truth value", ""),
    ("servers_off: [[1]]", "servers_off.0 = [1]", ""),
    ("servers_off: {a: 1}", "servers_off = {'a': 1}", "tuple"),
    ("users: 2000\nusers_off: 2", "users_off = 2 makes a ward of 2001 users", "1 to 2000"),
    ("users_off: [1]\nworkload: [{step: 1, user: 1, D: 2e5, C: 1e5, P: 1}]", "users_off", "no user in operation"),
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
    ("T: 10001", "T = 10001", "1 to 10000"),
    ("schema_version: 2", "schema_version = 2", "version 1"),
    ("preset: nowhere", "preset = 'nowhere'", "paper, lecture"),
    ("preset: [1]", "preset", "paper, lecture"),
    ("kinds: [{name: a, share: 0, D: [1e5, 2e5], C: [1e5, 1e5], P: [1, 1]}]", "kinds.0.share", "greater than 0"),
    ("kinds: [{name: a, share: 1, D: [0.5, 2e5], C: [1e5, 1e5], P: [1, 1]}]", "kinds[a].D (low end)", "0.000125 KB"),
    (
        "kinds: [{name: a, share: 1, D: [1e5, 2e5], C: [1e5, 1e5], P: [1, 1]},"
        " {name: a, share: 1, D: [1e5, 2e5], C: [1e5, 1e5], P: [1, 1]}]",
        "'a'", "twice",
    ),
    ("kinds: heart", "kinds = 'heart'", "tuple"),
    ("workload: []", "workload", "at least one"),
    ("workload: [{step: 30, user: 1, D: 2e5, C: 1e5, P: 1}]", "T = 20", "30 to 10000"),
    ("workload: [{step: 1, user: 12, D: 2e5, C: 1e5, P: 1}]", "users = 8", "12 to 2000"),
    ("workload: [{step: 1, user: 2001, D: 2e5, C: 1e5, P: 1}]", "workload.0.user = 2001", "2000"),
    ("places: {users: [[1, 2]], servers: [[1, 1]]}", "users = 8", "1 users"),
    ("users: 1\nservers: 1\nplaces: {users: [[1, 200]], servers: [[1, 1]]}", "places.users[1].y = 200 m", "0 to 100 m"),
    ("users: 2000\ntasks: 64\nservers: 256", "x (servers + 1) = 32,896,000 needs too much memory", "at most 8,000,000"),
    ("users: 2000\ntasks: 64\nservers: 2\nT: 10000", "T x users x tasks = 1,280,000,000 needs", "at most 20,000,000"),
    ("server_devices: [{number: 300}]", "server_devices[300].number = 300", "1 to 256"),
    ("server_devices: [{number: 2}, {number: 2}]", "server_devices[2] stands twice", "at most once"),
    ("server_devices: [{number: 2, F_k: 1 MHz}]", "server_devices[2].F_k = 0.001 GHz", "0.01 GHz to 1000 GHz"),
    ("server_devices: [{number: 2, F_i: 1 GHz}]", "server_devices.0.F_i", "not a parameter"),
    ("server_devices: [{F_k: 1 GHz}]", "server_devices.0.number", "required"),
    ("user_devices: [{number: 1, Cap: -1}]", "user_devices[1].Cap = -1000 mJ", "0.001 mJ to 1e+09 mJ"),
    ("user_devices: [{number: 1, name: =1+1}]", "user_devices[1].name", "formula"),
    ("user_devices: 3", "user_devices = 3", "tuple"),
    ("workload: [{step: 1, user: 1, D: 2e5, C: 1e5, T_max: 2 days}]", "workload.0.T_max = '2 days'", "not a unit"),
    ("workload: [{step: 1, user: 1, D: 2e5, C: 1e5, T_max: 30 h}]", "workload[1].T_max = 1.08e+08 ms", "8.64e+07 ms"),
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
    ("step,user,data_kb,priority\n1,1,1,1\n", "lacks the column cycles"),
    ("step,user,data_kb,cycles,priority,colour\n", "unknown column colour"),
    ("step,step,user,data_kb,cycles,priority\n", "has twice step"),
    (HEAD + "0,1,30,1e5,1\n", "line 2, column step: '0'"),
    (HEAD + "1,2001,30,1e5,1\n", "line 2, column user: '2001'"),
    ("step,user,data_kb,cycles,deadline_ms\n1,1,30,1e5,0\n", "line 2, column deadline_ms: '0'"),
    ("step,user,data_kb,cycles,kind\n1,1,30,1e5," + "x" * 41 + "\n", "allowed are 40 characters"),
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
    ("kind,x_m,y_m\nuser,1,1\n", "0 servers, allowed 1 to 256."),
    ("kind,x_m,y_m\n" + "user,1,1\n" * 2001 + "server,1,1\n", "2001 users, allowed 1 to 2000."),
    ("kind,x_m,y_m,cpu_ghz\nuser,1,1,11\nserver,1,1,\n", "line 2, column cpu_ghz: '11'"),
    ("kind,x_m,y_m,latency_ms\nuser,1,1,5\nserver,1,1,5\n", "a user has no such value"),
    ("kind,x_m,y_m,colour\nuser,1,1,5\nserver,1,1,5\n", "unknown column colour"),
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


DIALECTS = [
    (";", ("20,5", "1500", "12,125"), (20.5, 1500, 12.125), "semicolons; numbers read with a decimal comma."),
    (";", ("1.500,5", "1.500", "2,5"), (1500.5, 1500, 2.5), "a decimal comma and points between thousands."),
    ("\t", ("1 500,5", "1\u00a0500", "2,5"), None, "does not fit line 2"),
    ("\t", ("1 500", "2.5", "12.125"), (1500, 2.5, 12.125), "tabs; numbers read with a decimal point and spaces"),
    (",", ("1.500", "2.5", "3"), (1.5, 2.5, 3), "commas; numbers read with a decimal point."),
    (",", ("1.500", "20", "3"), (1.5, 20, 3), "commas; numbers read with a decimal point."),
    (",", ('"1,500.5"', '"1,500"', "2.5"), (1500.5, 1500, 2.5), "a decimal point and commas between thousands."),
    (";", ("100.000.000", "1.500", "2"), None, "line 2, column data_kb: '100.000.000' cannot be used; allowed is 0.000125 to"),
    (";", ("20,5", "1.500", "3"), None, "line 3, column data_kb: '1.500' cannot be used; it may mean 1500 or 1.500"),
    (";", ("20,5", "7.5", "3"), None, "line 3, column data_kb: '7.5' does not fit line 2, column data_kb: '20,5'"),
    (";", ("1.500,5", "7.5", "3"), None, "line 3, column data_kb: '7.5' does not fit line 2, column data_kb: '1.500,5'"),
    (";", ("1,500", "20", "3"), None, "line 2, column data_kb: '1,500' cannot be used; it may mean 1500 or 1.500"),
    (";", ("12.34.56", "1", "3"), None, "'12.34.56' cannot be used; allowed is 0.000125 to 1e+07"),
]  # fmt: skip


@pytest.mark.parametrize(("delimiter", "cells", "values", "said"), DIALECTS, ids=range(len(DIALECTS)))
def test_a_file_has_one_dialect_and_says_which(
    delimiter: str, cells: tuple[str, ...], values: tuple[float, ...] | None, said: str
) -> None:
    lines = [WORKLOAD_COLUMNS, *(("1", "1", cell, "150000", "2") for cell in cells)]
    content = "\n".join(delimiter.join(line) for line in lines).encode()
    with collect_notes() as notes:
        if values is None:
            with pytest.raises(ScenarioError) as refusal:
                read_workload_csv(content, "x.csv")
            assert said in str(refusal.value)
        else:
            assert [task.D / 8000 for task in read_workload_csv(content, "x.csv")] == list(values)
            assert said in notes[0]


def test_an_ordinary_table_is_noted_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    content = (HEAD + "1,1,30.5,1e5,1\n").encode()
    read_workload_csv(content)
    assert not recwarn.list
    with pytest.warns(ScenarioWarning, match="decimal comma"):
        read_places_csv(b"kind;x_m;y_m\nuser;1,5;2\nserver;3;4\n")


@pytest.mark.parametrize("source", ["nowhere", "missing.yaml", "/", "a\x00b.yaml"])
def test_a_source_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(ScenarioError, match=r"scenario =|cannot be read"):
        read_scenario(source)
