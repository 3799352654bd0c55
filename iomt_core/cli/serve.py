"""`iomt serve`: the northbound interface over HTTP."""

from __future__ import annotations

import ipaddress
import ssl
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from iomt_core.cli.common import notes
from iomt_core.scenario import ScenarioError
from iomt_core.twin.access.ledger import BUDGET
from iomt_core.twin.http.app import create_app
from iomt_core.twin.http.service import Service
from iomt_core.twin.http.twins import HttpLimits

LIMITS = HttpLimits()
CONNECTIONS = 1000
MINUTE = 60.0
KEEP_ALIVE = 75  # seconds; a client that pauses longer than this may lose its next request
SWITCH = 0.001  # seconds; Python's 5 ms let the threads that step hold up the one that answers


def serve(
    directory: Annotated[Path, typer.Argument(help="Directory of the warehouse for which tokens are.", metavar="DIR")],
    host: Annotated[str, typer.Option(help="Address; other ones than this machine's own need TLS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8600,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate for TLS, with its chain.", metavar="PEM")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Private key of the certificate.", metavar="PEM")] = None,
    twins: Annotated[int, typer.Option(help="Twins that one identity may have open.", min=1)] = LIMITS.twins_each,
    all_twins: Annotated[int, typer.Option(help="Twins that all may have open.", min=1)] = LIMITS.twins,
    idle: Annotated[float, typer.Option(help="Minutes after which an idle twin is closed.", min=0.1)] = (
        LIMITS.idle / MINUTE
    ),
    budget: Annotated[float, typer.Option(help="Privacy budget of the warehouse, where it has none yet.")] = BUDGET,
    promotions: Annotated[
        bool, typer.Option("--promotions", help="Let operators change which version an alias such as champion means.")
    ] = False,
) -> None:
    """Serve twins, private means, models and the audit proof over HTTP, with the tokens of `iomt warehouse token`."""
    check_tls(host, certificate, key)
    service = Service(directory, HttpLimits(twins_each=twins, twins=all_twins, idle=idle * MINUTE), budget, promotions)
    sys.setswitchinterval(SWITCH)
    scheme = "https" if certificate else "http"
    notes.print(f"{scheme}://{host}:{port}/docs describes the interface. Ctrl-C stops it.", soft_wrap=True)
    uvicorn.run(
        create_app(service),
        host=host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_level="warning",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=5,  # event streams do not end by themselves
    )


def check_tls(host: str, certificate: Path | None, key: Path | None) -> None:
    """Raises `ScenarioError` if tokens would cross a network unencrypted, or certificate and key cannot be used."""
    if (certificate is None) != (key is None):
        raise ScenarioError("certificate and key belong together: give both.")
    if certificate is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, lambda: "")
        except (OSError, ValueError) as error:
            raise ScenarioError(f"certificate and key cannot be used: {error}.") from None
    elif not is_loopback(host):
        raise ScenarioError(f"host = {host!r} is not this machine only: give --certificate and --key.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
