"""Twins over HTTP: the same as in Python, independent forks, limits, and bad requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from iomt_core.cli.serve import check_tls, is_loopback
from iomt_core.scenario import ScenarioError
from iomt_core.twin.http.service import Service
from iomt_core.twin.http.views import STEP_COLUMNS, WHY_COLUMNS
from iomt_core.twin.mapping.synchronisation import Synchronisation
from iomt_core.twin.northbound import Twin
from iomt_core.twin.warehouse.errors import DamagedError
from tests.twin.http.conftest import LIMITS, WARD

Bearer = Callable[..., dict[str, str]]


def same(shown: dict[str, Any], expected: pd.DataFrame) -> None:
    frame = pd.DataFrame(shown)
    assert list(frame) == list(expected)
    for name in frame:
        assert frame[name].astype(object).where(frame[name].notna(), None).tolist() == (
            expected[name].astype(object).where(expected[name].notna(), None).tolist()
        ), name


def test_a_step_is_that_of_the_python_twin(client: TestClient, twin: str, bearer: Bearer) -> None:
    anna, python = bearer("operator:anna"), Twin(WARD, "greedy", 3)
    python.step()
    while not python.done:
        answer = client.post(f"/twins/{twin}/step", headers=anna).json()
        table = python.step()
        same(answer["tasks"], table[list(STEP_COLUMNS)])
        assert answer["total"] == pytest.approx(float(python.record().totals[-1]), rel=1e-12)
        assert answer["bound"] == float(table["bound"].iloc[0])
        assert answer["done"] == python.done
    over = client.post(f"/twins/{twin}/step", headers=anna)
    assert over.status_code == 422
    assert "the episode ended in step 4" in over.text
    asked = client.get(f"/twins/{twin}/why", headers=anna, params={"step": 2, "user": 1, "task": 1}).json()
    why = python.why(2, 1, 1)
    assert (asked["chosen"], asked["rule"]) == (why.chosen, why.rule)
    same(asked["alternatives"], why.alternatives[list(WHY_COLUMNS)])


def test_a_fork_leaves_the_original(client: TestClient, twin: str, bearer: Bearer) -> None:
    anna = bearer("operator:anna")
    forked = client.post(f"/twins/{twin}/fork", headers=anna, json={"policy": "all-local"})
    assert forked.status_code == 201
    other = forked.json()["twin"]
    assert (forked.json()["policy"], forked.json()["steps"], forked.json()["parent"]) == ("all-local", 1, twin)
    for _ in range(3):
        client.post(f"/twins/{other}/step", headers=anna)
    python = Twin(WARD, "greedy", 3)
    python.step()
    fork = python.fork("all-local")
    same(_last(client, other, anna), fork.run().query("step == 4")[list(STEP_COLUMNS)])
    listed = {one["twin"]: one["steps"] for one in client.get("/twins", headers=anna).json()["twins"]}
    assert listed == {twin: 1, other: 4}
    same(client.post(f"/twins/{twin}/step", headers=anna).json()["tasks"], python.step()[list(STEP_COLUMNS)])
    plain = client.post(f"/twins/{twin}/fork", headers=anna)
    assert plain.json()["policy"] == "greedy"


def test_a_twin_decides_on_what_it_is_synchronised_with(client: TestClient, bearer: Bearer) -> None:
    anna, ward = bearer("operator:anna"), {"preset": "lecture", "T": 4, "background": 0.4}
    body = {"scenario": ward, "policy": "greedy", "seed": 3, "synchronisation": {"delay": 2, "noise": 0.2}}
    twin = client.post("/twins", headers=anna, json=body).json()
    assert twin["synchronisation"] == {
        "interval": 1, "delay": 2, "noise": 0.2, "groups": ["servers", "links", "batteries"]
    }  # fmt: skip
    python = Twin(WARD.changed(background=0.4), "greedy", 3, synchronisation=Synchronisation(delay=2, noise=0.2))
    same(client.post(f"/twins/{twin['twin']}/step", headers=anna).json()["tasks"], python.step()[list(STEP_COLUMNS)])
    for wrong in ({"interval": 0}, {"noise": 2}, {"groups": ["x"]}, {"groups": []}, {"late": 1}):
        refused = client.post("/twins", headers=anna, json={**body, "synchronisation": wrong})
        assert refused.status_code == 422, wrong
        assert refused.json()["problems"]


def _last(client: TestClient, name: str, header: dict[str, str]) -> dict[str, Any]:
    """The tasks of the last step in the event stream of a finished twin."""
    text = client.get(f"/twins/{name}/events", headers=header).text
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    assert [block["event"] for block in blocks] == ["step"] * (len(blocks) - 1) + ["end"]
    assert [block["id"] for block in blocks[:-1]] == [str(n) for n in range(1, len(blocks))]
    tasks: dict[str, Any] = json.loads(blocks[-2]["data"])["tasks"]
    return tasks


def test_an_event_stream_continues_after_a_step(client: TestClient, twin: str, bearer: Bearer) -> None:
    anna = bearer("operator:anna")
    for _ in range(3):
        client.post(f"/twins/{twin}/step", headers=anna)
    answer = client.get(f"/twins/{twin}/events", headers={**anna, "Last-Event-ID": "3"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("event: step") == 1
    assert client.get(f"/twins/{twin}/events", headers={**anna, "Last-Event-ID": "x"}).text.count("event: step") == 4


def test_limits(client: TestClient, twin: str, bearer: Bearer, service: Service) -> None:
    anna, body = bearer("operator:anna"), {"scenario": "lecture", "policy": "greedy"}
    for _ in range(LIMITS.twins_each - 1):
        assert client.post("/twins", json=body, headers=anna).status_code == 201
    again = bearer("operator:anna", lifetime=61.0)  # another token of the same identity
    assert client.post("/twins", json=body, headers=again).status_code == 429
    assert client.post(f"/twins/{twin}/fork", headers=anna).status_code == 429
    bob = bearer("operator:bob")
    for expected in (201, 201, 503):
        assert client.post("/twins", json=body, headers=bob).status_code == expected
    assert client.delete(f"/twins/{twin}", headers=anna).status_code == 200
    assert client.post(f"/twins/{twin}/step", headers=anna).status_code == 404
    # A request that fails gives its place back.
    for _ in range(3):
        assert client.post("/twins", json={**body, "policy": "nonsense"}, headers=anna).status_code == 422
    assert client.post("/twins", json=body, headers=anna).status_code == 201
    later = service.twins._clock() + LIMITS.idle
    service.twins._clock = lambda: later
    assert client.get("/twins", headers=anna).json() == {"twins": []}
    assert len(service.twins) == 0


BAD: list[tuple[Any, str]] = [
    (b"", "required"), (b"{", "json"), (b"[]", "dictionary"), (b"{}", "scenario"), (b'{"scenario": 3}', "scenario"),
    (b'{"scenario": "/etc/passwd"}', "not known"), (b'{"scenario": "../paper.yaml"}', "not known"),
    (b'{"scenario": "lecture", "policy": "run:../../x"}', "not known"),
    (b'{"scenario": "lecture", "seed": -1}', "seed"), (b'{"scenario": "lecture", "seed": true}', "seed"),
    (b'{"scenario": "lecture", "seed": 1e400}', "seed"), (b'{"scenario": "lecture", "shares": "x"}', "shares"),
    (b'{"scenario": "lecture", "episode": 0}', "episode"), (b'{"scenario": "lecture", "extra": 1}', "extra"),
    (b'{"scenario": {"users": 1000}}', "users"), (b'{"scenario": {"users": NaN}}', "NaN"),
    (b'{"scenario": {"preset": "nothing"}}', "preset"), (b'{"scenario": {"users": "\\ud800"}}', "users"),
    (b'{"scenario": {"\\ud800": 1}}', "unicode"), (b'{"scenario": "\\ud800"}', "not known"),
    (b'{"scenario": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}", "deeply"),
    (b'{"scenario": ' + b'{"a":' * 3000 + b"1" + b"}" * 3001, ""),
    (b'{"scenario": {"T": ' + b"9" * 6000 + b"}}", ""),
    (b'{"scenario": {"users": 16, "tasks": 16, "servers": 8, "T": 100}}', "allowed over HTTP"),
    (b"\xff\xfe", ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "says"), BAD)
def test_bad_bodies(client: TestClient, bearer: Bearer, body: bytes, says: str) -> None:
    header = {**bearer("operator"), "Content-Type": "application/json"}
    answer = client.post("/twins", content=body, headers=header)
    assert answer.status_code in (400, 422), answer.text
    assert says.lower() in answer.text.lower()
    assert list(answer.json()) == ["problems"]
    assert len(answer.content) < 5000


def test_other_bad_requests(client: TestClient, twin: str, bearer: Bearer) -> None:
    anna = bearer("operator:anna")
    cases = [
        ("GET", f"/twins/{twin}/why?step=9&user=1&task=1", 422), ("GET", f"/twins/{twin}/why?step=x&user=1&task=1", 422),
        ("GET", f"/twins/{twin}/why?step=1&user=99&task=1", 422), ("GET", f"/twins/{twin}/why", 422),
        ("GET", "/aggregates/nothing?epsilon=1", 422), ("GET", "/aggregates/mean-delay?epsilon=nan", 422),
        ("GET", "/aggregates/mean-delay?epsilon=0", 422), ("GET", "/aggregates/mean-delay", 422),
        ("GET", "/nothing", 404), ("PUT", "/twins", 405), ("GET", "/warehouse/0/tasks", 422),
        ("GET", "/warehouse/..%2f..%2fetc/tasks", 404),
    ]  # fmt: skip
    for method, path, status in cases:
        answer = client.request(method, path, headers=anna)
        assert answer.status_code == status, (path, answer.text)
        assert list(answer.json()) == ["problems"]
        assert answer.headers["Cache-Control"] == "no-store"
    large = client.post("/twins", content=b" " * (LIMITS.body + 1), headers=anna)
    assert (large.status_code, list(large.json())) == (413, ["problems"])
    chunks = client.post("/twins", content=(b" " * 1000 for _ in range(30)), headers=anna)
    assert (chunks.status_code, list(chunks.json())) == (413, ["problems"])


def test_private_means_and_their_budget(client: TestClient, bearer: Bearer) -> None:
    anna = bearer("operator:anna")
    first = client.get("/aggregates/mean-delay", params={"epsilon": 1, "request": "q1"}, headers=anna).json()
    assert (first["metric"], first["epsilon"], first["repeated"]) == ("mean_delay_s", 1.0, False)
    again = client.get("/aggregates/mean-delay", params={"epsilon": 1, "request": "q1"}, headers=anna).json()
    assert (again["value"], again["repeated"]) == (first["value"], True)
    spent = client.get("/aggregates/mean-delay", params={"epsilon": 9.9, "request": "q2"}, headers=anna)
    assert spent.status_code == 403
    proof = client.get("/audit", headers=anna).json()
    assert proof["valid"]
    assert proof["records"] > 0


def test_pages_of_an_agents_tasks(client: TestClient, bearer: Bearer) -> None:
    own = bearer("agent:1")
    whole = client.get("/warehouse/1/tasks", headers=own).json()
    assert (whole["more"], set(whole["tasks"]["user"])) == (False, {1})
    page = client.get("/warehouse/1/tasks", headers=own, params={"after": 2, "limit": 3}).json()
    assert (page["more"], page["tasks"]["sequence"]) == (True, [3, 4, 5])


def test_errors_of_the_store_name_no_files(
    client: TestClient, bearer: Bearer, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*arguments: Any) -> Any:
        raise DamagedError(service.folder, "it was changed.")

    monkeypatch.setattr(service, "tasks", damaged)
    answer = client.get("/warehouse/1/tasks", headers=bearer("agent:1"))
    assert answer.status_code == 503
    assert str(service.folder) not in answer.text


def test_without_tls_only_on_this_machine() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert is_loopback(host)
        check_tls(host, None, None)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""):
        with pytest.raises(ScenarioError, match="certificate"):
            check_tls(host, None, None)
    with pytest.raises(ScenarioError, match="give both"):
        check_tls("127.0.0.1", None, Path("key.pem"))
    with pytest.raises(ScenarioError, match="cannot be used"):
        check_tls("0.0.0.0", *[Path(__file__)] * 2)
