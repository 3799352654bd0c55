"""A server for a small recorded ward, and tokens for every kind of identity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from iomt_core.scenario import PRESETS
from iomt_core.twin.access import Identity
from iomt_core.twin.access.identity import KEY, issue_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.http.app import create_app
from iomt_core.twin.http.service import Service
from iomt_core.twin.http.twins import HttpLimits
from iomt_core.twin.warehouse.recorder import record

WARD = PRESETS["lecture"].changed(T=4)
LIMITS = HttpLimits(twins_each=4, twins=6, body=20_000, streams=1)
Headers = dict[str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, folder_of_keys: None) -> Path:
    folder: Path = tmp_path_factory.mktemp("warehouse") / "store"
    record(WARD, "greedy", 1, 7, folder)
    return folder


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of models of the tests' own."""
    monkeypatch.setenv("IOMT_MODELS", str(tmp_path / "models"))


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Service(folder, LIMITS)), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def service(client: TestClient) -> Service:
    found: Service = client.app.state.service  # type: ignore[attr-defined]
    return found


@pytest.fixture
def bearer(service: Service) -> Callable[..., Headers]:
    """The header of an identity."""

    def header(identity: str, audience: str = service.identity, lifetime: float = 60.0) -> Headers:
        token = issue_token(Identity.parse(identity), audience, lifetime, signing_key(KEY))
        return {"Authorization": f"Bearer {token}"}

    return header


@pytest.fixture
def twin(client: TestClient, bearer: Callable[..., Headers]) -> str:
    """A twin of operator:anna with one played step."""
    body = {"scenario": {"preset": "lecture", "T": 4}, "policy": "greedy", "seed": 3}
    opened = client.post("/twins", json=body, headers=bearer("operator:anna"))
    assert opened.status_code == 201, opened.text
    name: str = opened.json()["twin"]
    assert client.post(f"/twins/{name}/step", headers=bearer("operator:anna")).status_code == 200
    return name
