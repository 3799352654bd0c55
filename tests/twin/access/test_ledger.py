"""The privacy budget: every answer is paid, once, also if the process is killed in between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from iomt_core.scenario import PRESETS, ScenarioError
from iomt_core.twin.access import AGGREGATES, AuditError, AuditLog, BudgetSpentError, Grant, RefusedError, verify_log
from iomt_core.twin.access.ledger import MICRO
from iomt_core.twin.access.privacy import QUERIES, clamps
from tests.twin.access.wards import WAREHOUSE, Source, aggregates, gate, token


def test_an_answer_is_paid_and_recorded(log: AuditLog) -> None:
    private, grant = aggregates(log)
    answer = private.query(grant, "mean-delay", 0.5)
    assert (answer.epsilon, answer.budget_left, answer.users, answer.repeated) == (0.5, 1.5, 8, False)
    assert answer.margin == pytest.approx(2.9957 / 8 / 0.5, rel=1e-4)
    record = log.latest(1).iloc[0]
    assert (record["subject"], record["object"], record["budget"]) == ("operator", "aggregates/mean-delay", -0.5)
    assert str(answer.value) not in record.to_string()


def test_a_spent_budget_refuses(log: AuditLog) -> None:
    private, grant = aggregates(log)
    for name in QUERIES:
        if private.budget_left >= 0.5:
            private.query(grant, name, 0.5)
    with pytest.raises(BudgetSpentError, match=r"costs ε = 0\.001, and ε = 0 is left"):
        private.query(grant, "mean-cost", 0.001)
    record = log.latest(1).iloc[0]
    assert (record["outcome"], record["budget"]) == ("refused: budget", 0)
    private.grant_budget(0.25)
    assert private.query(grant, "mean-cost", 0.25).budget_left == 0


def test_the_same_question_gets_the_same_answer_and_is_paid_once(log: AuditLog) -> None:
    source = Source()
    private, grant = aggregates(log, source)
    first, again = private.query(grant, "mean-cost", 0.5), private.query(grant, "mean-cost", 0.5)
    assert (again.value, again.budget_left, again.repeated) == (first.value, 1.5, True)
    assert log.latest(1).iloc[0]["outcome"] == "repeated"
    assert private.query(grant, "mean-cost", 0.4).value != first.value
    source.recorded += 1
    named = private.query(grant, "mean-cost", 0.5, "friday")
    source.recorded += 1
    assert private.query(grant, "mean-cost", 0.5, "friday").value == named.value != first.value
    assert private.budget_left == pytest.approx(0.6)
    with pytest.raises(ScenarioError, match="another query"):
        private.query(grant, "mean-delay", 0.5, "friday")


def test_the_budget_is_the_warehouses_and_granted_once(log: AuditLog) -> None:
    private, grant = aggregates(log)
    private.query(grant, "mean-cost", 2.0)
    other, other_grant = aggregates(log, budget=100.0)  # of another operator
    assert other.budget_left == 0
    with pytest.raises(BudgetSpentError):
        other.query(other_grant, "mean-delay", 0.5)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 1e-9, 11.0, float("nan"), float("inf")])
def test_epsilon_out_of_range(epsilon: float, log: AuditLog) -> None:
    private, grant = aggregates(log)
    with pytest.raises(ScenarioError, match=r"epsilon = .* is out of range: allowed is 0\.001 to 10"):
        private.query(grant, "mean-cost", epsilon)
    with pytest.raises(ScenarioError, match="budget"):
        private.grant_budget(-epsilon if epsilon > 0 else epsilon)
    assert private.budget_left == 2


def test_other_grants_and_queries(log: AuditLog) -> None:
    private, grant = aggregates(log)
    with pytest.raises(ScenarioError, match="Did you mean 'mean-delay'"):
        private.query(grant, "mean-dela", 0.5)
    foreign = Grant(grant.identity, "read", AGGREGATES, grant.expires)
    with pytest.raises(RefusedError):
        private.query(foreign, "mean-delay", 0.5)
    assert private.budget_left == 2


def test_sums_of_somebody_else_are_an_error(log: AuditLog) -> None:
    class Careless(Source):
        def aggregates(self, at: int) -> pd.DataFrame:
            return pd.concat([super().aggregates(at)] * 2)

    private, grant = aggregates(log, Careless())
    with pytest.raises(ValueError, match="one row a user"):
        private.query(grant, "mean-delay", 0.5)
    assert private.budget_left == 2


def test_no_answer_without_its_record(log: AuditLog) -> None:
    private, grant = aggregates(log)
    log._connection.execute("PRAGMA max_page_count = 1")  # what a full disk does
    log._connection.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON answer BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(AuditError, match="disk full"):
        private.query(grant, "mean-delay", 0.5)
    assert private.budget_left == 2


def test_clamps_and_queries_of_a_scenario() -> None:
    s = PRESETS["paper"]
    assert clamps(s)["mean-delay"] == (0, s.T_max)
    assert clamps(s)["mean-energy"] == (0, s.E_ref)
    assert set(clamps(s)) == set(QUERIES)


CLIENT = """
import sys, time
from pathlib import Path
from iomt_core.twin.access import AuditLog
from iomt_core.twin.access.privacy import Mechanism, mechanism
from tests.twin.access.wards import WAREHOUSE, aggregates
folder, pause, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def stop(*arguments):
    print("paused", flush=True)
    time.sleep(60)
with AuditLog(folder, WAREHOUSE) as log:
    private, grant = aggregates(log, budget=1000.0)
    if pause == "before commit":
        Mechanism.release = stop
    elif pause == "after commit":
        log._checkpoint = stop
    mechanism(0.0, 1.0, 8, 0.5)  # imports OpenDP
    print("ready", flush=True)
    for number in range(count):
        answer = private.query(grant, "mean-cost", 0.5, f"{sys.argv[4]}-{number}")
        print(f"{answer.request} {answer.value!r}", flush=True)
"""


def client(folder: Path, pause: str, count: int, name: str = "request") -> subprocess.Popen[str]:
    call = [sys.executable, "-c", CLIENT, str(folder), pause, str(count), name]
    return subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=os.environ.copy())


def kill(process: subprocess.Popen[str]) -> list[str]:
    """Returns what it has printed since."""
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    return rest.splitlines()


@pytest.mark.parametrize("pause", ["before commit", "after commit"])
def test_a_kill_between_debit_and_answer(pause: str, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    process = client(folder, pause, 1)
    assert process.stdout is not None
    assert [process.stdout.readline().strip() for _ in range(2)] == ["ready", "paused"]
    assert kill(process) == []  # no answer left
    with AuditLog(folder, WAREHOUSE) as log:
        private, grant = aggregates(log)
        paid = pause == "after commit"
        assert private.budget_left == (999.5 if paid else 1000)
        stored = log._connection.execute("SELECT value FROM answer").fetchall()
        assert len(stored) == paid
        answer = private.query(grant, "mean-cost", 0.5, "request-0")
        assert (answer.repeated, answer.budget_left) == (paid, 999.5)
        assert not paid or stored == [(answer.value,)]
    assert verify_log(folder, WAREHOUSE).valid


def test_kills_at_random_instants(tmp_path: Path) -> None:
    folder, given, rng = tmp_path / "log", {}, random.Random()
    for attempt in range(3):
        process = client(folder, "never", 100_000, f"try{attempt}")
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        lines = [process.stdout.readline() for _ in range(3)]
        time.sleep(rng.uniform(0, 0.005))  # about the time of a query
        lines += kill(process)
        given |= dict(line.split() for line in lines if line.count(" ") == 1)
    assert len(given) >= 9
    with AuditLog(folder, WAREHOUSE) as log:
        execute = log._connection.execute
        stored = {r.removeprefix("named:"): repr(v) for r, v in execute("SELECT request, value FROM answer")}
        assert given.items() <= stored.items()
        debits = execute("SELECT sequence FROM record WHERE budget = ?", (-MICRO // 2,)).fetchall()
        assert debits == execute("SELECT sequence FROM answer ORDER BY sequence").fetchall()
        assert log.balance() == 1000 * MICRO - len(debits) * MICRO // 2
        assert gate(log).authorise(token("operator"), "query", AGGREGATES)
    assert verify_log(folder, WAREHOUSE).valid
