"""The northbound interface under load: `python -m benchmarks.http [SECONDS [PAUSE]]`.

100 clients at once, by default for a minute. Each opens a twin of the paper's ward, plays its steps with a pause of on average
PAUSE seconds after each, asks why, forks, and begins again. The server is another process, so clients and server share the
machine's cores. Targets: no error, 99 % of the steps within 250 ms, memory flat.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil

CLIENTS = 100
PAUSE = 2.0  # seconds between the steps of a client, on average, unless given
TARGET = 0.25  # s
POLICIES = ("greedy", "price-response", "sae-mt-qmix")
WARM_UP = 0.3  # share of the time after which memory is taken as the level to compare with


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def iomt(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "iomt_core", *arguments]


async def client(
    number: int, url: str, token: str, until: float, pause: float, times: dict[str, list[float]], errors: list[str]
) -> None:
    draw = random.Random(number)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as http:

        async def call(what: str, method: str, path: str, **body: object) -> dict[str, object]:
            start = time.perf_counter()
            answer = await http.request(method, path, json=body or None)
            times.setdefault(what, []).append(time.perf_counter() - start)
            if answer.is_error:
                errors.append(f"{what}: {answer.status_code} {answer.text[:200]}")
                return {}
            found: dict[str, object] = answer.json()
            return found

        await asyncio.sleep(draw.uniform(0, pause))
        while time.time() < until:
            policy = POLICIES[number % len(POLICIES)]
            twin = (await call("open", "POST", "/twins", scenario="paper", policy=policy, seed=draw.randrange(1000)))[
                "twin"
            ]
            for step in range(1, 21):
                await call("step", "POST", f"/twins/{twin}/step")
                if step == 5:
                    await call("why", "GET", f"/twins/{twin}/why?step=5&user=1&task=1")
                    fork = (await call("fork", "POST", f"/twins/{twin}/fork", policy="greedy"))["twin"]
                    await call("step", "POST", f"/twins/{fork}/step")
                    await call("close", "DELETE", f"/twins/{fork}")
                await asyncio.sleep(draw.uniform(0, 2 * pause))
                if time.time() >= until:
                    break
            await call("close", "DELETE", f"/twins/{twin}")


async def watch(process: psutil.Process, memory: list[int]) -> None:
    while True:
        memory.append(process.memory_info().rss)
        await asyncio.sleep(0.5)


async def load(url: str, tokens: list[str], seconds: float, pause: float, server: psutil.Process) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for _ in range(300):
            try:
                if (await http.get("/openapi.json")).is_success:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.2)
    times: dict[str, list[float]] = {}
    errors: list[str] = []
    memory: list[int] = []
    cpu, start = server.cpu_times(), time.time()
    watching = asyncio.create_task(watch(server, memory))
    until = time.time() + seconds
    found = await asyncio.gather(
        *(client(n, url, token, until, pause, times, errors) for n, token in enumerate(tokens)), return_exceptions=True
    )
    watching.cancel()
    used = sum(server.cpu_times()[:2]) - sum(cpu[:2])
    print(f"{CLIENTS} clients, {seconds:g} s, pause {pause:g} s")
    print(f"server: {used / (time.time() - start):.2f} cores; load of the machine {os.getloadavg()[0]:.1f}")
    errors += [repr(one) for one in found if one is not None]
    for what, values in times.items():
        median, high = np.quantile(values, (0.5, 0.99)) * 1e3
        goal = (
            f"   target {TARGET * 1e3:.0f} ms: {'met' if high <= TARGET * 1e3 else 'MISSED'}" if what == "step" else ""
        )
        print(f"{what:<8}{len(values):>8,} requests, median {median:>7.1f} ms, 99 %: {high:>7.1f} ms{goal}")
    first, last = memory[int(len(memory) * WARM_UP)] / 1e6, memory[-1] / 1e6
    print(f"memory of the server: {first:,.0f} MB after {WARM_UP:.0%} of the time, {last:,.0f} MB at the end")
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
            asyncio.run(load(f"http://127.0.0.1:{port}", tokens, seconds, pause, psutil.Process(server.pid)))
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
