"""The server as it runs: it is reached from this machine only, and takes no upload from another site or of any size."""

from __future__ import annotations

import asyncio
import ipaddress
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import psutil
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

pytestmark = pytest.mark.browser
LIMIT = 2 * 1024 * 1024  # bytes
EDGE = "edge"
TRIES = 8


def test_it_listens_on_loopback_only(lab: str) -> None:
    port = urlsplit(lab).port
    listening = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # browsers' processes come and go
            connections = process.net_connections(kind="inet")
            listening += [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
    assert listening
    assert all(ipaddress.ip_address(ip).is_loopback for ip in listening), listening


def put(lab: str, session: str, size: int, headers: dict[str, str]) -> int:
    """The HTTP status of an upload."""
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a.yaml"\r\n\r\n'
        + b"#" * size
        + b"\r\n--edge--\r\n"
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={EDGE}"}
    request = urllib.request.Request(f"{lab}/_stcore/upload_file/{session}/1", body, {**kind, **headers}, method="PUT")
    for _ in range(TRIES):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError as error:
            # A server that refuses an upload does not wait for its end: the answer may be lost with the connection.
            if not isinstance(error.reason, ConnectionError):
                raise
    raise AssertionError(f"no answer in {TRIES} tries")


def test_an_upload_needs_the_token_and_ends_at_the_limit(lab: str) -> None:
    with urllib.request.urlopen(f"{lab}/_stcore/health", timeout=20) as answer:
        cookie = next(v for k, v in answer.headers.items() if k.lower() == "set-cookie" and "xsrf" in v).split(";")[0]
    token = cookie.partition("=")[2]

    async def session() -> tuple[int, int, int, int]:
        begin = BackMsg()
        begin.rerun_script.query_string = "page=start"
        address = f"{lab.replace('http', 'ws', 1)}/_stcore/stream"
        async with connect(
            address, subprotocols=["streamlit", token], additional_headers={"Cookie": cookie, "Origin": lab}, max_size=None
        ) as socket:  # fmt: skip
            await socket.send(begin.SerializeToString())
            message = ForwardMsg()
            while message.WhichOneof("type") != "new_session":
                message.ParseFromString(await asyncio.wait_for(socket.recv(), 60))
            mine = message.new_session.initialize.session_id
            known = {"Cookie": cookie, "X-Xsrftoken": token}
            tries = ((100, {}), (100, {"Cookie": cookie}), (100, known), (LIMIT + 1, known))
            return tuple([await asyncio.to_thread(put, lab, mine, size, headers) for size, headers in tries])  # type: ignore[return-value]

    with ThreadPoolExecutor(1) as thread:  # this one's event loop may be Playwright's
        assert thread.submit(lambda: asyncio.run(session())).result(timeout=120) == (403, 403, 204, 413)
