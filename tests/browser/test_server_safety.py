"""The server as it runs: it is reached from this machine only, and takes no upload from another site or of any size."""

from __future__ import annotations

import asyncio
import ipaddress
import urllib.request
from contextlib import closing, suppress
from http.client import HTTPConnection
from urllib.parse import urlsplit

import psutil
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

from tests.own_loop import run_coroutine

pytestmark = pytest.mark.browser
LIMIT = 10 * 1024 * 1024  # bytes
FIRST = 1024  # bytes; a server that refuses an upload does not wait for its end


def test_it_listens_on_loopback_only(lab: str) -> None:
    port = urlsplit(lab).port
    listening = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # browsers' processes come and go
            connections = process.net_connections(kind="inet")
            listening += [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
    assert listening
    assert all(ipaddress.ip_address(ip).is_loopback for ip in listening), listening


def upload(lab: str, session: str, size: int, headers: dict[str, str]) -> int:
    """The HTTP status of an upload of a file of so many bytes, of which no more than `FIRST` are sent before the answer."""
    begin, end = b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a.yaml"\r\n\r\n', b"\r\n--edge--\r\n"
    body = begin + b"#" * size + end
    with closing(HTTPConnection(urlsplit(lab).netloc, timeout=20)) as connection:
        connection.putrequest("PUT", f"/_stcore/upload_file/{session}/1")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Type", "multipart/form-data; boundary=edge")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:FIRST])
        return int(connection.getresponse().status)


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
            return tuple([await asyncio.to_thread(upload, lab, mine, size, headers) for size, headers in tries])  # type: ignore[return-value]

    assert run_coroutine(session()) == (403, 403, 204, 413)
