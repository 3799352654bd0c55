"""The northbound interface under load: `python -m benchmarks.http [SECONDS [PAUSE]]`.

100 clients at once, by default for a minute. Each opens a twin of the paper's ward, plays its steps with a pause of on average
PAUSE seconds after each, asks why, forks, and begins again. The server is another process, so clients and server share the
machine's cores. The clients write and read HTTP/1.1 themselves, over one connection each: a client library takes as much of a
core as the server does. Targets: no error, 99 % of the steps within 250 ms, memory flat.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

CLIENTS = 100
PAUSE = 2.0  # seconds between the steps of a client, on average, unless given
TARGET = 0.25  # s
POLICIES = ("greedy", "price-response", "sae-mt-qmix")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def iomt(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "iomt_core", *arguments]


class Connection:
    """One connection of a client, which stays open; requests follow each other."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and content of the response."""
        kind = "Content-Type: application/json\r\n" * bool(body)
        head = f"{method} {path} HTTP/1.1\r\n{self.head}{kind}Content-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        answered = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(answered[9:12]), await self.reader.readexactly(length)

    def close(self) -> None:
        self.writer.close()


async def client(
    number: int, port: int, token: str, until: float, pause: float, times: dict[str, list[float]], errors: list[str]
) -> None:
    draw, connection = random.Random(number), Connection(port, token)

    async def call(what: str, method: str, path: str, **body: object) -> bytes:
        content = json.dumps(body).encode() if body else b""
        start = time.perf_counter()
        status, answer = await connection.request(method, path, content)
        times.setdefault(what, []).append(time.perf_counter() - start)
        if status >= 400:
            errors.append(f"{what}: {status} {answer[:200]!r}")
        return answer

    await asyncio.sleep(draw.uniform(0, pause))
    await connection.open()
    while time.time() < until:
        policy = POLICIES[number % len(POLICIES)]
        opened = await call("open", "POST", "/twins", scenario="paper", policy=policy, seed=draw.randrange(1000))
        twin, done, step = json.loads(opened)["twin"], False, 0
        while not done and time.time() < until:
            step += 1
            done = b'"done":true' in (await call("step", "POST", f"/twins/{twin}/step"))[:100]
            if step == 5 and not done:
                await call("why", "GET", f"/twins/{twin}/why?step=5&user=1&task=1")
                forked = await call("fork", "POST", f"/twins/{twin}/fork", policy="greedy")
                fork = json.loads(forked)["twin"]
                await call("step", "POST", f"/twins/{fork}/step")
                await call("close", "DELETE", f"/twins/{fork}")
            await asyncio.sleep(draw.uniform(0, 2 * pause))
        await call("close", "DELETE", f"/twins/{twin}")
    connection.close()


async def watch(process: psutil.Process, memory: list[int]) -> None:
    while True:
        memory.append(process.memory_info().rss)
        await asyncio.sleep(0.5)


async def started(port: int, token: str) -> None:
    """Waits until the server answers."""
    connection = Connection(port, token)
    for _ in range(300):
        try:
            await connection.open()
        except OSError:
            await asyncio.sleep(0.2)
        else:
            await connection.request("GET", "/openapi.json")
            return connection.close()


async def load(port: int, tokens: list[str], seconds: float, pause: float, server: psutil.Process) -> None:
    await started(port, tokens[0])
    times: dict[str, list[float]] = {}
    errors: list[str] = []
    memory: list[int] = []
    cpu, own, start = server.cpu_times(), time.process_time(), time.time()
    watching = asyncio.create_task(watch(server, memory))
    until = time.time() + seconds
    found = await asyncio.gather(
        *(client(n, port, token, until, pause, times, errors) for n, token in enumerate(tokens)), return_exceptions=True
    )
    watching.cancel()
    used = sum(server.cpu_times()[:2]) - sum(cpu[:2])
    print(f"{CLIENTS} clients, {seconds:g} s, pause {pause:g} s")
    length = time.time() - start
    print(
        f"server: {used / length:.2f} cores; clients: {(time.process_time() - own) / length:.2f} cores; "
        f"load of the machine {os.getloadavg()[0]:.1f}"
    )
    errors += [repr(one) for one in found if one is not None]
    for what, values in times.items():
        median, high = np.quantile(values, (0.5, 0.99)) * 1e3
        goal = (
            f"   target {TARGET * 1e3:.0f} ms: {'met' if high <= TARGET * 1e3 else 'MISSED'}" if what == "step" else ""
        )
        print(f"{what:<8}{len(values):>8,} requests, median {median:>7.1f} ms, 99 %: {high:>7.1f} ms{goal}")
    marks = [memory[min(len(memory) - 1, round(len(memory) * part / 6))] / 1e6 for part in range(1, 7)]
    print(f"memory of the server after each sixth of the time: {', '.join(f'{mark:,.0f}' for mark in marks)} MB")
    print(f"errors: {len(errors)}" + "".join(f"\n  {text}" for text in errors[:5]))


def run(seconds: float, pause: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["IOMT_KEYS"], store = f"{name}/keys", f"{name}/store"
        os.environ["OMP_NUM_THREADS"] = "1"
        record = iomt("warehouse", "record", "--scenario", "lecture", "--policy", "greedy", "--episodes", "1", store)
        subprocess.run(record, check=True, capture_output=True)
        tokens = make_tokens(Path(store))
        port = free_port()
        server = subprocess.Popen(iomt("serve", store, "--port", str(port)), stderr=subprocess.DEVNULL)
        try:
            asyncio.run(load(port, tokens, seconds, pause, psutil.Process(server.pid)))
        finally:
            server.terminate()
            server.wait()


def make_tokens(store: Path) -> list[str]:
    from iomt_core.twin.access import Identity
    from iomt_core.twin.access.identity import KEY, issue_token
    from iomt_core.twin.access.keys import signing_key
    from iomt_core.twin.warehouse.reading import Warehouse

    audience, key = Warehouse(store).identity, signing_key(KEY)
    return [issue_token(Identity("operator", name=f"client{n}"), audience, 3600, key) for n in range(CLIENTS)]


if __name__ == "__main__":
    given = [float(text) for text in sys.argv[1:]]
    run(*(given + [60.0, PAUSE][len(given) :]))
