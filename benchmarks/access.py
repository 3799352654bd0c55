"""Access to the data warehouse: token and policy check, audit records, verification: `python -m benchmarks.access`.

Times are medians of single calls: while another process has the core, a mean says nothing about the call.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from iomt_core.twin.access import AuditLog, Event, Gate, Grant, Identity, verify_log, warehouse_of
from iomt_core.twin.access.identity import issue_token, verify_token
from iomt_core.twin.access.keys import signing_key
from iomt_core.twin.access.privacy import mechanism
from iomt_core.twin.access.table import is_permitted

CHECK_TARGET = 150e-6  # s
VERIFY_TARGET = 5.0  # s
RECORDS = 1_000_000
BATCH = 10_000
WAREHOUSE = "benchmark"


def measure(what: str, call: Callable[[], object], count: int, repeat: int = 1, target: float | None = None) -> None:
    """Prints median and 95th percentile of `count` calls, each of which does the thing `repeat` times."""
    call()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) / repeat)
    median, high = np.quantile(times, (0.5, 0.95)) * 1e6
    goal = (
        "" if target is None else f"   target {target * 1e6:,.0f} µs: {'met' if median <= target * 1e6 else 'MISSED'}"
    )
    print(f"{what:<58}{median:>10,.1f} µs, 95 %: {high:>8,.1f} µs{goal}", flush=True)


def repeated(gate: Gate, grant: Grant) -> None:
    for _ in range(100):
        gate.require(grant, grant.action, grant.resource)


def run(folder: Path) -> None:
    key = signing_key("tokens", folder / "keys")
    public, own = key.public_key(), warehouse_of(3)
    token = issue_token(Identity("agent", 3), WAREHOUSE, 3600, key)

    def check() -> bool:
        return is_permitted(verify_token(token, WAREHOUSE, public).identity, "read", own)

    measure("token and policy check, once a session or batch", check, 2000, target=CHECK_TARGET)
    event = Event("agent:3", "read", "warehouse/3", "granted")
    with AuditLog(folder / "log", WAREHOUSE, folder / "keys") as log:
        gate = Gate(log, public)
        grant = gate.authorise(token, "read", own)
        thousand, noise = [event] * 1000, mechanism(0.0, 1.0, 8, 0.5)
        measure("the same with its audit record", lambda: gate.authorise(token, "read", own), 2000)
        measure("a grant checked again inside a session", lambda: repeated(gate, grant), 200, 100)
        measure("audit record, survives the end of the process", lambda: log.append(event), 2000)
        measure("audit record, survives a power loss, with a checkpoint", lambda: log.append(event, durable=True), 200)
        measure("audit record in batches of 1000", lambda: log.append(*thousand), 20, 1000)
        measure("noise of an answer (OpenDP)", lambda: noise.release([0.5] * 8), 1000)
        missing = RECORDS - log.append(event)
        for start in range(0, missing, BATCH):
            log.append(*[event] * min(BATCH, missing - start))
    start = time.perf_counter()
    found = verify_log(folder / "log", WAREHOUSE, folder / "keys")
    seconds = time.perf_counter() - start
    assert found.valid, found.text()
    assert found.records == RECORDS
    verdict = "met" if seconds <= VERIFY_TARGET else "MISSED"
    print(
        f"{f'verification of {found.records:,} records, {found.checkpoints} checkpoints':<58}{seconds:>11.2f} s   ",
        end="",
    )
    print(f"target {VERIFY_TARGET:.0f} s: {verdict}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        run(Path(place))
