"""Every path for every kind of identity, and that no path gives what the tasks of a user are to anybody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from iomt_core.twin.access import Identity, Resource, warehouse_of
from iomt_core.twin.access.identity import KEY, issue_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.access.table import PROMOTIONS, TABLE, is_permitted
from iomt_core.twin.http.permissions import Needs, NeedsOwn
from iomt_core.twin.http.service import Service
from iomt_core.twin.northbound import Twin
from iomt_core.twin.warehouse.reading import Warehouse
from tests.twin.http.conftest import WARD

IDENTITIES = ("agent:1", "agent:2", "agent:99", "management", "operator:anna", "operator:bob", "operator")
PUBLIC = {"/docs", "/openapi.json"}
QUERY = {"step": 1, "user": 1, "task": 1, "epsilon": 0.01}
RAW = {"data_bits", "cycles", "priority", "weight", "rate_bps", "cpu_hz", "bandwidth_hz", "delay_tx_s", "delay_exe_s"}
Bearer = Callable[..., dict[str, str]]


def api_routes(client: TestClient) -> list[APIRoute]:
    app = client.app
    assert isinstance(app, FastAPI)
    found: list[APIRoute] = []

    def collect(routes: Any) -> None:
        for route in routes:
            if isinstance(route, APIRoute):
                found.append(route)
            elif inner := getattr(getattr(route, "original_router", None), "routes", None):
                collect(inner)  # newer versions of FastAPI keep routers as they are

    collect(app.routes)
    return found


def needed(route: APIRoute) -> tuple[str, Resource] | None:
    """Action and resource that the route asks the gate for; of user 1 where it depends on the path."""
    for one in route.dependant.dependencies:
        if isinstance(one.call, Needs):
            return one.call.action, one.call.resource
        if isinstance(one.call, NeedsOwn):
            return one.call.action, warehouse_of(1)
    return None


def calls(client: TestClient, twin: str) -> Iterator[tuple[APIRoute, str, str]]:
    """Method and path of every route; those that close a twin are last."""
    for route in sorted(api_routes(client), key=lambda route: "DELETE" in route.methods):
        path = (
            route.path.replace("{twin}", twin)
            .replace("{user}", "1")
            .replace("{query}", "mean-delay")
            .replace("{alias}", "champion")
        )
        assert "{" not in path
        for method in sorted(route.methods):
            yield route, method, path


def call(client: TestClient, method: str, path: str, headers: dict[str, str] | None) -> Any:
    body = {"scenario": "lecture", "policy": "greedy"} if path == "/twins" and method == "POST" else None
    if path.endswith("/events"):
        # The whole stream, which ends with the twin: close it from another request first.
        return client.get(path, headers=headers, params=QUERY)
    return client.request(method, path, headers=headers, params=QUERY, json=body)


def finish(client: TestClient, twin: str, header: dict[str, str]) -> None:
    """Plays all steps, so that event streams end."""
    for _ in range(3):
        client.post(f"/twins/{twin}/step", headers=header)


def test_every_path_needs_a_permission_of_the_table(client: TestClient) -> None:
    found = api_routes(client)
    assert {route.path for route in found} >= {
        "/twins", "/twins/{twin}/step", "/twins/{twin}/fork", "/twins/{twin}/why", "/twins/{twin}/events", "/models",
        "/aggregates/{query}", "/audit", "/warehouse/{user}/tasks", "/twins/{twin}/observations", "/twins/{twin}/state",
        "/twins/{twin}/trace", "/models/{alias}/promote", "/models/{alias}/rollback",
    }  # fmt: skip
    for route in found:
        need = needed(route)
        if route.path in PUBLIC:
            assert need is None
            continue
        assert need is not None, route.path
        own = need[1].user is not None
        assert any((p.action, p.resource, p.own) == (need[0], need[1].kind, own) for p in TABLE | PROMOTIONS), (
            route.path
        )
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {route.path for route in found} - PUBLIC
    page = client.get("/docs").text
    assert all(path in page for path in schema["paths"])
    assert "<script" not in page


def test_every_path_for_every_identity(client: TestClient, twin: str, bearer: Bearer, service: Service) -> None:
    anna = bearer("operator:anna")
    finish(client, twin, anna)
    decided = 0
    for (route, method, path), identity in product(list(calls(client, twin)), IDENTITIES):
        need = needed(route)
        if need is None:
            continue
        answer = call(client, method, path, bearer(identity))
        permitted = is_permitted(Identity.parse(identity), *need)
        if not permitted:
            expected = {403} if need[1].user is None else {404}
        elif "{twin}" in route.path and identity.startswith("operator") and identity != "operator:anna":
            expected = {404}
        elif route.path.endswith("/step"):
            expected = {422}  # the episode is over
        else:
            expected = {200, 201}
        assert answer.status_code in expected, (method, path, identity, answer.text)
        if answer.status_code >= 400:
            assert list(answer.json()) == ["problems"]
        if permitted and answer.status_code == 201 and "twin" in answer.json():
            assert client.delete(f"/twins/{answer.json()['twin']}", headers=bearer(identity)).status_code == 200
        decided += 1
    assert decided == 16 * len(IDENTITIES)


def test_absent_and_forbidden_look_alike(client: TestClient, twin: str, bearer: Bearer) -> None:
    bob = bearer("operator:bob")
    for path in ("why", "events"):
        foreign, absent = (client.get(f"/twins/{name}/{path}", headers=bob, params=QUERY) for name in (twin, "nothing"))
        assert (foreign.status_code, foreign.json()) == (absent.status_code, absent.json()) == (404, foreign.json())
    stranger = bearer("agent:2")
    texts = [
        client.get(f"/warehouse/{user}/tasks", headers=stranger).text.replace(f"/{user} ", "/… ") for user in (1, 77)
    ]
    assert texts[0] == texts[1]
    owner = client.get("/warehouse/99/tasks", headers=bearer("agent:99"))
    assert owner.status_code == 404
    assert "nothing of this user was recorded" in owner.text


def unsigned(service: Service) -> str:
    """A token of algorithm "none"."""
    claims = {"iss": "iomt", "sub": "operator:anna", "aud": service.identity, "iat": 0, "exp": 2**33}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."


def test_tokens_that_are_not_accepted(
    client: TestClient, twin: str, bearer: Bearer, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = issue_token(Identity.parse("operator:anna"), service.identity, 60, signing_key(KEY, tmp_path / "other"))
    bad = [
        None, {"Authorization": "Bearer "}, {"Authorization": "Basic YTpi"}, {"Authorization": f"Bearer {foreign}"},
        {"Authorization": f"Bearer {unsigned(service)}"}, bearer("operator:anna", audience="another-warehouse"),
    ]  # fmt: skip
    with monkeypatch.context() as changed:
        changed.setattr("iomt_core.twin.access.identity.time.time", lambda: 1e9)
        bad.append(bearer("operator:anna"))  # has expired
    for (route, method, path), header in product(list(calls(client, twin)), bad):
        if route.path in PUBLIC:
            continue
        answer = call(client, method, path, header)
        assert answer.status_code == 401, (method, path, header, answer.text)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert list(answer.json()) == ["problems"]


def test_a_token_that_expires_ends_its_session(
    client: TestClient, twin: str, bearer: Bearer, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = bearer("operator:anna")
    assert client.get("/twins", headers=anna).status_code == 200
    monkeypatch.setattr("iomt_core.twin.access.gate.time.time", lambda: 2e10)
    assert client.get("/twins", headers=anna).status_code == 401


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, float):
        yield value


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from keys(one)


def answered(text: str, kind: str) -> list[Any]:
    """The JSON of a response, or of every event of a stream."""
    if kind.startswith("text/event-stream"):
        return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(text)]


def test_no_path_gives_the_tasks_of_a_user_to_others(
    client: TestClient, twin: str, bearer: Bearer, service: Service
) -> None:
    anna = bearer("operator:anna")
    finish(client, twin, anna)
    table = Twin(WARD, "greedy", 3).run()
    recorded = Warehouse(service.folder).log(1).tasks().to_pandas()
    secret = np.concatenate([frame[name] for frame in (table, recorded) for name in ("data_bits", "cycles")])
    scaled = [secret, secret / 8, secret / 8e3, secret / WARD.data_span[1], secret / WARD.cycle_span[1]]
    raw = np.concatenate(scaled)
    others = [identity for identity in IDENTITIES if identity != "agent:1"]
    seen = 0
    for (route, method, path), identity in product(list(calls(client, twin)), others):
        if route.path in PUBLIC or method == "DELETE":
            continue
        answer = call(client, method, path, bearer(identity))
        for content in answered(answer.text, answer.headers["content-type"]):
            assert not RAW & set(keys(content)), path
            values = np.array([*numbers(content)])
            seen += len(values)
            assert not np.isclose(values[:, None], raw[None], rtol=1e-9, atol=0).any(), (path, identity)
    assert seen > 150
    # Neither by one multiplication or division of two columns of a step.
    shown = client.get(f"/twins/{twin}/events", headers=anna).text
    columns = answered(shown, "text/event-stream")[0]["tasks"]
    first = table[table["step"] == 1]
    floats = {name: np.array(x, float) for name, x in columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        for (one, a), (other, b) in product(floats.items(), repeat=2):
            for hidden in ("data_bits", "cycles"):
                want = first[hidden].to_numpy()
                assert not (np.isclose(a * b, want, rtol=1e-6) | np.isclose(a / b, want, rtol=1e-6)).any(), (one, other)
    # The owner does get them.
    own = client.get("/warehouse/1/tasks", headers=bearer("agent:1")).json()["tasks"]
    assert own["data_bits"] == recorded["data_bits"].tolist()


def test_management_does_not_get_a_single_task(client: TestClient, bearer: Bearer) -> None:
    """ô is a sum over tasks: of a user with one task it would be that task."""
    anna, manager = bearer("operator:anna"), bearer("management")
    for tasks, hidden in ((1, True), (3, False)):
        ward = {"preset": "lecture", "tasks": tasks, "users": 2, "T": 2}
        name = client.post("/twins", json={"scenario": ward, "policy": "greedy"}, headers=anna).json()["twin"]
        assert client.get(f"/twins/{name}/state", headers=manager, params={"step": 1}).status_code == 422
        client.post(f"/twins/{name}/step", headers=anna)
        found = client.get(f"/twins/{name}/observations", headers=manager, params={"step": 1}).json()
        assert found["users"] == [1, 2]
        assert all((row[:3] == [None] * 3) == hidden for row in found["observations"])
        assert all(x is not None for row in found["observations"] for x in row[3:])
        traced = client.get(f"/twins/{name}/trace", headers=manager, params={"step": 1}).json()
        assert traced["observations"]["values"] == found["observations"]
        assert [agent["ô data"] for agent in traced["agents"]] == [row[0] for row in found["observations"]]
        assert {border["counted"] for border in traced["borders"]} == {"encoded"}  # no task data
    one_user = {"preset": "lecture", "tasks": 1, "users": 1, "T": 2}
    name = client.post("/twins", json={"scenario": one_user, "policy": "greedy"}, headers=anna).json()["twin"]
    client.post(f"/twins/{name}/step", headers=anna)
    state = client.get(f"/twins/{name}/state", headers=manager, params={"step": 1}).json()
    assert [n for n, x in zip(state["names"], state["state"], strict=True) if x is None] == ["data", "cycles", "weight"]
