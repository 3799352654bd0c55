"""The Twin page: nothing yet, recording, the tiers, questions with their price, and both futures of a fork."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import person
from dashboard.twin import warehouses
from dashboard.twin.state import View, from_view, link_view
from iomt_core.runs.owner import OPERATOR
from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.twin.access.ledger import BUDGET
from iomt_core.twin.management import registry
from iomt_core.twin.warehouse.checks import status
from iomt_core.twin.warehouse.recorder import record
from iomt_core.twin.warehouse.writer import WarehouseWriter
from tests.twin.warehouse.test_damage import flip_block

ROOT = Path(__file__).resolve().parents[2]
WARD = PRESETS["lecture"].changed(T=5)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IOMT_WAREHOUSES", str(tmp_path / "warehouses"))
    monkeypatch.setenv("IOMT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("IOMT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr(warehouses, "_recordings", {})
    monkeypatch.setattr(person, "_is_operator", lambda token: True)
    return tmp_path / "warehouses"


@pytest.fixture
def ward(root: Path) -> Path:
    record(WARD, "greedy", 3, 0, root / "lecture-1")
    return root / "lecture-1"


def opened(tab: str = "storage", **entries: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages/twin/twin.py"), default_timeout=120)
    entries |= {"tab": tab}
    for name, value in {
        "page": "twin",
        "preset": "lecture",
        "T": "5",
        **{f"v_{n}": v for n, v in entries.items()},
    }.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.error, app.success, app.warning)
    return " ".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def figures(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def wait(name: str) -> warehouses.Recording:
    job = warehouses.recording_of(name)
    assert job is not None
    for _ in range(600):
        if job.state != "running":
            return job
        time.sleep(0.05)
    raise AssertionError("the recording did not end within half a minute")


def test_a_ward_is_recorded_and_its_tiers_are_shown(root: Path) -> None:
    app = opened()
    assert "There is no data warehouse yet" in words(app)
    app.number_input(key="twin_episodes").set_value(2)
    app.button(key="twin_record").click().run()
    (name,) = warehouses._recordings
    assert wait(name).state == "finished"
    assert name in warehouses.known()
    app.run()
    found = figures(app)
    assert found["Records"] == str(2 * WARD.T * WARD.users * (WARD.tasks + 1))
    assert (found["Recordings"], found["Missing records"]) == ("1", "0")
    app.button(key="twin_verify").click().run()
    assert "Intact" in words(app)


def test_what_cannot_be_recorded_is_said(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(name: str | None, episodes: int = 1) -> None:
        warehouses.start(name, WARD, "greedy", 0, "own", episodes, OPERATOR)

    with pytest.raises(ScenarioError, match="episodes = 1001 is out of range"):
        begin(None, 1001)
    with pytest.raises(ScenarioError, match="is not there any more"):
        begin("another")
    monkeypatch.setattr(warehouses, "MOST_WAREHOUSES", 1)
    with pytest.raises(ScenarioError, match="there are 1 warehouses"):
        begin(None)
    warehouses._recordings["lecture-1"] = warehouses.Recording("lecture-1", 5, OPERATOR)
    with pytest.raises(ScenarioError, match="lecture-1 is being recorded"):
        begin("lecture-1")


def test_a_recording_that_is_cancelled_keeps_what_it_has(ward: Path) -> None:
    job = warehouses.start("lecture-1", WARD, "greedy", 0, "own", 500, OPERATOR)
    job.cancel.set()
    assert wait("lecture-1").state == "cancelled"
    assert 0 < job.done < 500
    assert f"Cancelled: {job.done} of 500 episodes are kept" in words(opened())


def test_a_question_is_paid_once_and_recorded(ward: Path) -> None:
    app = opened("query", epsilon="0.5")
    app.button(key="twin_ask").click().run()
    first = figures(app)
    assert first["Paid"] == "ε = 0.5"
    app.button(key="twin_ask").click().run()
    again = figures(app)
    assert (again["Paid"], again["Mean delay"]) == ("ε = 0", first["Mean delay"])
    log = opened("audit")
    table = log.dataframe[0].value
    assert set(table["subject"]) >= {"operator:dashboard"}
    assert table["budget (ε)"].sum() == pytest.approx(BUDGET - 0.5)
    log.button(key="twin_verify_log").click().run()
    assert "Valid:" in words(log)


def test_a_changed_warehouse_and_a_changed_log_are_found(ward: Path) -> None:
    app = opened("query", epsilon="0.5")
    app.button(key="twin_ask").click().run()
    file = ward / "access" / "audit.sqlite"
    file.write_bytes(file.read_bytes().replace(b"operator:dashboard", b"operator:dashboarx"))
    log = opened("audit")
    log.button(key="twin_verify_log").click().run()
    assert "Invalid, first bad record" in words(log)
    flip_block(ward)
    storage = opened()
    storage.button(key="twin_verify").click().run()
    assert "Damaged" in words(storage)


def test_both_futures_of_a_fork_are_shown(ward: Path) -> None:
    app = opened("fork", episode="2", at="3", set="servers_off=1")
    assert "From step 3 on: servers_off = 1" in words(app)
    table = app.table[0].value
    assert list(table.columns) == ["metric", "what happened", "fork", "difference"]
    app.multiselect(key=f"twin_servers_off_{WARD.servers}").set_value([]).run()
    assert "nothing changed" in words(app)
    assert set(app.table[0].value["difference"]) == {"±0"}
    app.text_input(key="twin_other").set_value("tasks=2").run()
    assert "tasks would change what happened before the fork" in words(app)
    app.text_input(key="twin_other").set_value("").run()
    app.selectbox(key="twin_policy").set_value("optimum").run()
    assert "policy = optimum" in words(app)


def test_staleness_is_shown_at_once_and_its_price_when_it_is_measured(ward: Path) -> None:
    app = opened("stale", delay="2", policy="price-response")
    assert "Not measured yet" in words(app)
    assert set(app.table[0].value["age"]) == {"1.4 steps", "0 steps"}
    app.button(key="twin_measure").click().run()
    assert "This twin costs nothing" in words(app)
    assert "set background" in words(app)
    app.slider(key="twin_noise").set_value(40).run()
    assert "This twin costs something" in words(app)
    assert figures(app)["Cost, change"].startswith("+")
    app.selectbox(key="twin_over").set_value("noise").run()
    app.selectbox(key="policy").set_value("optimum").run()
    assert "plans the whole episode in advance" in words(app)


def test_only_the_owner_forks_what_is_recorded(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "_is_operator", lambda token: False)
    app = opened("fork")
    assert "only the owner of this warehouse" in words(app)
    assert not app.table


def test_a_warehouse_without_keys_is_said(ward: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "keys")
    assert "key" in words(opened("fork"))
    assert figures(opened())["Missing records"] == "0"


def test_a_link_restores_the_page_and_a_bad_entry_is_said() -> None:
    entries = {
        "tab": "fork", "warehouse": "lecture-1", "recording": "2", "episode": "3", "at": "4", "policy": "greedy",
        "set": "B_k=200MHz;servers_off=1,2",
    }  # fmt: skip
    assert link_view(from_view(entries)) == entries
    entries = {"tab": "stale", "interval": "3", "delay": "4", "noise": "5", "over": "noise", "late": "tasks"}
    assert link_view(from_view(entries)) == entries
    for name, value in {
        "tab": "x",
        "warehouse": "../x",
        "query": "x",
        "epsilon": "9",
        "at": "0",
        "set": "x",
        "policy": "x",
        "interval": "0",
        "over": "x",
    }.items():
        view = from_view({name: value})
        assert len(view.problems) == 1
        assert view == View(problems=view.problems) or name == "warehouse"


def test_a_version_is_promoted_with_a_reason_and_rolled_back() -> None:
    app = opened("models")
    assert "No alias has been set yet" in words(app)
    assert app.button(key="twin_promote").disabled
    names = [one.version for one in registry.models()]
    for name, reason in ((names[0], "lowest gap"), (names[1], "shorter")):
        app.selectbox(key="twin_version").set_value(name).run()
        app.text_input(key="twin_reason").set_value(reason).run()
        app.button(key="twin_promote").click().run()
        assert f"champion (everywhere) now means version {name[:12]}" in words(app)
    app.text_input(key="twin_reason").set_value("worse").run()
    app.button(key="twin_rollback").click().run()
    assert f"now means version {names[0][:12]}" in words(app)
    log = app.dataframe[1].value
    assert log["action"].tolist() == ["rollback", "promote", "promote"]
    assert log["reason"].tolist() == ["worse", "shorter", "lowest gap"]
    app.text_input(key="twin_reason").set_value("again").run()
    app.button(key="twin_rollback").click().run()
    assert "no earlier version" in words(app)


def test_only_the_operator_changes_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "_is_operator", lambda token: False)
    app = opened("models")
    assert "Only the operator" in words(app)
    assert "twin_promote" not in {button.key for button in app.button}


def test_the_coordination_of_a_recorded_step_is_shown(root: Path) -> None:
    record(WARD, "sae-mt-qmix", 2, 0, root / "lecture-1")
    app = opened("trace", episode="2", at="3")
    assert "step 3 of episode 2" in words(app)
    assert "Joint value Q_tot" in words(app)
    observed, decided, crossed = (table.value for table in app.dataframe)
    assert observed["agent"].tolist() == ["1", "2", "3"]
    assert "weight in Q_tot" in decided
    assert "device → server" in crossed["border"].tolist()


def test_an_owner_looks_after_a_warehouse(ward: Path) -> None:
    app = opened()
    before = int(figures(app)["Records"].replace(",", ""))
    app.button(key="twin_really_rotate").click().run()
    assert "Rotated:" in words(app)
    app.number_input(key="twin_limit_lecture-1_device_mb").set_value(0.001)
    app.button(key="twin_really_limit").click().run()
    assert "The limits are set. 0 records dropped" in words(app)
    assert status(ward)["tiers"]["edge"]["rows"] > 0
    assert app.button(key="twin_really_forget").disabled
    app.text_input(key="twin_forget_words_lecture-1").set_value("forget 1").run()
    app.button(key="twin_really_forget").click().run()
    assert "User 1 is forgotten" in words(app)
    assert figures(app)["Users"] == str(WARD.users - 1)
    app.number_input(key="twin_free_lecture-1").set_value(0.001).run()
    app.button(key="twin_really_tidy").click().run()
    assert "dropped" in words(app)
    assert int(figures(app)["Records"].replace(",", "")) < before
    table = opened("audit").dataframe[0].value
    assert set(table["action"]) >= {"rotate", "limit", "forget", "drop"}


def test_a_warehouse_is_deleted_with_its_keys_after_its_name_was_typed(ward: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys" / status(ward)["warehouse"]
    assert list(keys.iterdir())
    app = opened()
    app.text_input(key="twin_delete_words_lecture-1").set_value("lecture").run()
    assert app.button(key="twin_really_delete").disabled
    with WarehouseWriter(ward):
        app.text_input(key="twin_delete_words_lecture-1").set_value("lecture-1").run()
        app.button(key="twin_really_delete").click().run()
        assert "another process writes" in words(app)
    app.text_input(key="twin_delete_words_lecture-1").set_value("lecture-1").run()
    app.button(key="twin_really_delete").click().run()
    assert "There is no data warehouse yet" in words(app)
    assert not ward.exists()
    assert not list(keys.iterdir())


def test_only_the_owner_looks_after_a_warehouse(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "_is_operator", lambda token: False)
    app = opened()
    assert "Only the owner" in words(app)
    assert not {"twin_really_forget", "twin_really_delete"} & {button.key for button in app.button}
    assert "only the owner of this warehouse" in words(opened("trace"))
