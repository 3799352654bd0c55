"""Aliases over HTTP: only where whoever serves permits it, and then a twin can have an alias as its policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi.testclient import TestClient

from iomt_core.twin.http.app import create_app
from iomt_core.twin.http.service import Service

Bearer = Callable[..., dict[str, str]]


def test_promotions_are_denied_by_default(client: TestClient, bearer: Bearer) -> None:
    body = {"model": "qmix", "reason": "better"}
    for action in ("promote", "rollback"):
        for identity in ("operator:anna", "management", "agent:1"):
            answer = client.post(f"/models/champion/{action}", headers=bearer(identity), json=body)
            assert answer.status_code == 403, answer.text


def test_an_alias_is_promoted_used_and_rolled_back(folder: Path, bearer: Bearer) -> None:
    with TestClient(create_app(Service(folder, promotions=True)), raise_server_exceptions=False) as client:
        anna, path = bearer("operator:anna"), "/models/champion"
        first, second = (
            client.post(f"{path}/promote", headers=anna, json={"model": model, "reason": "because"}).json()
            for model in ("sae-mt-qmix", "qmix")
        )
        assert (first["before"], second["before"], second["who"]) == ("", first["after"][:12], "operator:anna")
        opened = client.post("/twins", headers=anna, json={"scenario": "lecture", "policy": "champion"}).json()
        assert opened["policy"] == f"model:{second['after'][:12]}"
        listed = {one["name"]: one for one in client.get("/models", headers=anna).json()["models"]}
        assert (listed["qmix"]["version"], listed["qmix"]["aliases"]) == (second["after"], {"champion": ["everywhere"]})
        assert listed["greedy"]["version"] is None
        back = client.post(f"{path}/rollback", headers=anna, json={"reason": "worse"}).json()
        assert back["after"] == first["after"]
        for body in ({"model": "greedy", "reason": "x"}, {"model": "qmix"}, {"model": "qmix", "reason": ""}):
            assert client.post(f"{path}/promote", headers=anna, json=body).status_code == 422
        manager = client.post(f"{path}/promote", headers=bearer("management"), json={"model": "qmix", "reason": "x"})
        assert manager.status_code == 403
