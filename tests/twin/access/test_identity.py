"""Tokens: only ours, only for this warehouse, only until they expire."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iomt_core.paths import keys_folder
from iomt_core.scenario import ScenarioError
from iomt_core.twin.access import AGGREGATES, AuditLog, Identity, KeyFileError, TokenError, warehouse_of
from iomt_core.twin.access.identity import ALGORITHM, ISSUER, KEY, issue_token, verify_token
from iomt_core.twin.access.keys import signing_key
from tests.twin.access.wards import WAREHOUSE, gate, token


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": ISSUER, "sub": "operator", "aud": WAREHOUSE, "iat": now, "exp": now + 60, **changes}
    return {name: value for name, value in said.items() if value is not None}


def signed(**changes: Any) -> str:
    return jwt.encode(claims(**changes), signing_key(KEY), algorithm=ALGORITHM)


def without_signature() -> str:
    return jwt.encode(claims(), None, algorithm="none")


def symmetric() -> str:
    """The public key, which many may know, misused as the secret of HS256."""
    public = signing_key(KEY).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode(claims(), public, algorithm="HS256")


def other_algorithm_in_the_header() -> str:
    """An honest token of which the header says that no signature is needed."""
    header = encoded(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return ".".join([header, *signed().split(".")[1:]])


def promoted() -> str:
    """An agent's token with another payload."""
    first, _, last = signed(sub="agent:3").split(".")
    return ".".join([first, signed(sub="management").split(".")[1], last])


REFUSED = {
    "expired": (lambda: signed(exp=int(time.time()) - 1), "expired"),
    "expires now": (lambda: signed(exp=int(time.time())), "expired"),
    "dated in the future": (lambda: signed(iat=int(time.time()) + 3600), "future"),
    "for another warehouse": (lambda: signed(aud="ward-2"), "another warehouse"),
    "of another key": (lambda: jwt.encode(claims(), Ed25519PrivateKey.generate(), algorithm=ALGORITHM), "another key"),
    "of another program": (lambda: signed(iss="other"), "another program"),
    "without signature": (without_signature, "algorithm"),
    "symmetric": (symmetric, "algorithm"),
    "with a changed header": (other_algorithm_in_the_header, "algorithm"),
    "with a changed payload": (promoted, "another key"),
    "without expiry": (lambda: signed(exp=None), "no exp"),
    "without audience": (lambda: signed(aud=None), "no aud"),
    "without subject": (lambda: signed(sub=None), "no sub"),
    "of an unknown kind": (lambda: signed(sub="root"), "not known"),
    "of agent 0": (lambda: signed(sub="agent:0"), "not known"),
    "of an agent with two numbers": (lambda: signed(sub="agent:03"), "not known"),
    "with a subject that is no text": (lambda: signed(sub=3), "Subject"),
    "damaged": (lambda: signed()[:-20], "another key|damaged"),
    "empty": (lambda: "", "damaged"),
    "no token": (lambda: "a.b.c", "damaged"),
    "that is no text": (lambda: "\ud800.\ud800.a", "damaged"),
    "nested": (lambda: f"{encoded(b'[' * 1500)}.e30.e30", "damaged"),
    "with an endless expiry": (lambda: signed(exp=float("inf")), "damaged"),
    "with a long subject": (lambda: signed(sub="operator:" + "ab " * 300), "only an operator has a name"),
    "endless": (lambda: "a" * 100_000, "longer"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_token_is_refused_with_the_reason_and_a_record(name: str, log: AuditLog) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(TokenError, match=reason):
        gate(log).authorise(make(), "query", AGGREGATES)
    record = log.latest(1).iloc[0]
    assert (record["subject"], record["object"]) == ("unknown", "aggregates")
    assert record["outcome"].startswith("refused: the token")


@pytest.mark.parametrize("text", ["agent:3", "management", "operator", "operator:anna"])
def test_a_token_says_who_has_it(text: str) -> None:
    found = verify_token(token(text), WAREHOUSE, signing_key(KEY).public_key())
    assert str(found.identity) == text
    assert 58 <= found.expires - time.time() <= 60


@pytest.mark.parametrize(
    "text", ["", "agent", "agent:", "agent:-1", "agent:x", "management:1", "operator:", "operator:a b"]
)
def test_an_identity_that_is_none(text: str) -> None:
    with pytest.raises(ScenarioError):
        Identity.parse(text)


@pytest.mark.parametrize("lifetime", [0.0, -1.0, 1e9, float("nan"), float("inf")])
def test_every_token_expires(lifetime: float) -> None:
    with pytest.raises(ScenarioError, match="lifetime"):
        issue_token(Identity("operator"), WAREHOUSE, lifetime, signing_key(KEY))


def test_a_session_ends_when_its_token_does(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = gate(log)
    grant = opened.authorise(token("operator"), "query", AGGREGATES)
    opened.require(grant, "query", AGGREGATES)
    monkeypatch.setattr("iomt_core.twin.access.gate.time.time", lambda: grant.expires)
    with pytest.raises(TokenError, match="expired"):
        opened.require(grant, "query", AGGREGATES)


def test_keys_are_their_owners_only(keys: Path) -> None:
    signing_key(KEY)
    path = keys / f"{KEY}.pem"
    assert (path.stat().st_mode & 0o777, keys.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not [entry for entry in keys.iterdir() if entry != path]
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        signing_key(KEY)


def test_a_damaged_key_is_not_replaced(keys: Path) -> None:
    signing_key(KEY)
    (keys / f"{KEY}.pem").write_text("nonsense")
    with pytest.raises(KeyFileError, match="Ed25519"):
        signing_key(KEY)


def test_keys_are_the_users_own_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IOMT_KEYS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert keys_folder() == tmp_path / "data" / "iomt" / "keys"
    monkeypatch.setenv("IOMT_KEYS", os.devnull)
    with pytest.raises(KeyFileError, match="IOMT_KEYS"):
        signing_key(KEY)


def test_a_flood_of_unknown_tokens_hardly_grows_the_log(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every minute one record, and the number of the others; none is lost."""
    opened, now, refused = gate(log), 1000.0, 0
    monkeypatch.setattr("iomt_core.twin.access.gate.time.monotonic", lambda: now)
    for _ in range(5 * 60):  # a minute is 60 of these
        for resource in (AGGREGATES, warehouse_of(refused + 1)):  # they cannot spread it over many objects either
            with pytest.raises(TokenError):
                opened.authorise("a.b.c", "query", resource)
            refused += 1
        now += 1.0
    opened.authorise(token("operator"), "query", AGGREGATES)  # others are recorded as always
    opened.close()
    records = log.latest(1000)
    strangers = records[records["subject"] == "unknown"]["outcome"]
    counted = strangers.str.extract(r"refused: (\d+) more tokens")[0].dropna().astype(int)
    assert len(strangers) <= 2 * 5
    assert counted.sum() + (len(strangers) - len(counted)) == refused
    assert (records["outcome"] == "granted").sum() == 1
    opened.close()
    assert len(log.latest(1000)) == len(records)
