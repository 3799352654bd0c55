"""`iomt warehouse token`, `query` and `audit` as a person uses them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from iomt_core.cli import warehouse_access
from iomt_core.scenario import PRESETS, Scenario, ScenarioError
from iomt_core.twin.access.audit import FILE
from tests.twin.access.wards import Source


@dataclass
class Warehouse(Source):
    """In memory."""

    identity: str = "ward-1"
    scenario: Scenario = PRESETS["paper"]


@pytest.fixture(autouse=True)
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IOMT_KEYS", str(tmp_path / "keys"))
    monkeypatch.delenv("IOMT_TOKEN", raising=False)
    monkeypatch.setattr(warehouse_access, "Warehouse", lambda folder, **options: Warehouse())
    return tmp_path / "warehouse"


def run(*words: object) -> Result:
    app = typer.Typer()
    for command in (warehouse_access.token, warehouse_access.query, warehouse_access.audit):
        app.command()(command)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_queries_are_paid_and_the_log_proves_it(warehouse: Path) -> None:
    first, again = (run("query", "mean-delay", warehouse, "--epsilon", 0.5, "--budget", 1, "--json") for _ in range(2))
    answers = [json.loads(result.stdout) for result in (first, again)]
    assert answers[0]["value"] == answers[1]["value"]
    assert [answer["budget_left"] for answer in answers] == [0.5, 0.5]
    assert "ε = 0.5 paid, ε = 0 left" in run("query", "mean-cost", "--epsilon", "0.5", warehouse).stdout
    refused = run("query", "miss-share", warehouse, "--epsilon", 0.5)
    assert (refused.exit_code, "budget is too small" in str(refused.exception)) == (1, True)
    proof = run("audit", warehouse, "--json")
    assert (proof.exit_code, json.loads(proof.stdout)["valid"]) == (0, True)
    path = warehouse / "access" / FILE
    path.write_bytes(path.read_bytes().replace(b"refused: budget", b"granted: budget"))
    proof = run("audit", warehouse)
    assert proof.exit_code == 1
    assert "Invalid, first bad record 9" in proof.stdout


def test_a_token_of_somebody_else_gets_no_answer(warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("query", "mean-delay", warehouse, "--epsilon", 0.5).exit_code == 0
    monkeypatch.setenv("IOMT_TOKEN", run("token", "agent:3", warehouse).stdout.strip())
    refused = run("query", "mean-delay", warehouse, "--epsilon", 0.5)
    assert isinstance(refused.exception, ScenarioError)
    assert "agent:3 may not query it" in str(refused.exception)
    monkeypatch.setenv("IOMT_TOKEN", run("token", "operator:anna", warehouse, "--hours", 1).stdout.strip())
    assert run("query", "mean-delay", warehouse, "--epsilon", 0.5).exit_code == 0
